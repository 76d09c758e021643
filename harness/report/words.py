"""A report in sentences, for whoever decides and has a minute. Pure: words out of figures, nothing is judged here."""

from __future__ import annotations

from typing import Literal

from harness.core.records import MetricInfo, Verdict
from harness.gate import Row, metrics_of
from harness.report.build import CandidateReport, Report
from harness.report.extras import Extras
from harness.stats import Interval, figures

Mark = Literal["yes", "no", "open", "invalid", "none"]
MARKS: dict[Verdict | None, Mark] = {
    "SHIP": "yes", "BLOCK": "no", "INCONCLUSIVE": "open", "INVALID": "invalid", None: "none",
}  # fmt: skip
SIGNS: dict[Mark, str] = {"yes": "✓", "no": "✗", "open": "?", "invalid": "!", "none": "–"}


def chosen_of(report: Report) -> CandidateReport | None:
    """The candidate to look at first; the only one where there is but one."""
    chosen = next((one for one in report.candidates if one.chosen), None)
    return chosen or (report.candidates[0] if len(report.candidates) == 1 else None)


def headline(report: Report, extras: Extras) -> str:
    """The verdict in one sentence without figures."""
    found = chosen_of(report)
    if report.gate is None or report.verdict is None:
        return "Nothing is decided: this plan has no gate"
    if found is None:
        return "No candidate could be chosen, so nothing may ship"
    if extras.serving and is_incumbent(found):
        return {
            "SHIP": f"{found.candidate} is what is served now, and holds against all others",
            "BLOCK": f"{found.candidate} is what is served now, and would not ship today",
            "INCONCLUSIVE": f"{found.candidate} is what is served now; more is not known yet",
            "INVALID": f"{found.candidate} is what is served now, and what was measured cannot judge it",
        }[report.verdict]
    place = f"take the place of {extras.serving}" if extras.serving else "ship"
    return {
        "SHIP": f"{found.candidate} may {place}",
        "BLOCK": f"{found.candidate} must not {place}",
        "INCONCLUSIVE": f"It is not known yet whether {found.candidate} may {place}",
        "INVALID": f"What was measured cannot decide whether {found.candidate} may {place}",
    }[report.verdict]


def is_incumbent(candidate: CandidateReport) -> bool:
    """Whether the gate compares it with an incumbent that it is itself (or that does not exist)."""
    return any(row.comparator == "incumbent" and row.verdict is None for row in candidate.rows)


def what_changes(report: Report, extras: Extras) -> list[str]:
    """What a promotion would do, and what its users would notice on the primary metric."""
    found = chosen_of(report)
    if found is None:
        return []
    sentences = []
    if extras.alias and extras.serving and is_incumbent(found):
        sentences.append(f"Nothing: {extras.alias} serves {extras.serving}, and that is {found.candidate}.")
    elif extras.alias:
        now_served = f"it serves {extras.serving} now" if extras.serving else "it serves nothing yet"
        command = f"ratchet promote {found.run_id} --as {extras.alias}" if found.run_id else ""
        how = f" The command is: {command}" if command and report.verdict == "SHIP" else ""
        sentences.append(f"{extras.alias} would serve {found.candidate}; {now_served}.{how}")
    sentences += [_gain(row) for row in found.rows if row.role == "primary" and row.comparison]
    return sentences


def _gain(row: Row) -> str:
    one = row.comparison
    assert one is not None
    who = _who(row)
    if one.difference.estimate is None or one.candidate_mean is None or one.against_mean is None:
        return f"{one.metric} could not be compared with {who}: {one.problem or one.difference.note}."
    mine, theirs = figures(one.candidate_mean, one.against_mean)
    return f"On {one.metric} it reaches {mine} where {who} reaches {theirs}: {_change(one.difference, one.info)}."


def guardrails(report: Report) -> list[tuple[Mark, str]]:
    """One sentence for each guardrail of the chosen candidate, with its mark."""
    found = chosen_of(report)
    return [(MARKS[row.verdict], _held(row)) for row in (found.rows if found else []) if row.role == "guardrail"]


def unguarded(report: Report) -> list[str]:
    """What the chosen candidate does worse beyond doubt on metrics that no row of the gate looks at."""
    found = chosen_of(report)
    guarded = metrics_of(report.gate) if report.gate else []
    return [
        f"{one.metric}, which the gate does not look at, against {one.against}: {_change(one.difference, one.info)}."
        for one in (found.comparisons if found else [])
        if one.metric not in guarded and one.difference.high is not None and one.difference.high < 0
    ]


def _held(row: Row) -> str:
    one, who = row.comparison, _who(row)
    if row.verdict is None:
        return f"{row.metric} against {who} does not count here ({row.reason.removeprefix(f'{row.metric}: ')})."
    if row.verdict == "INVALID" or one is None or one.difference.low is None or one.difference.high is None:
        return f"{row.metric} against {who} cannot be judged: {row.reason}."
    found, allowed = _change(one.difference, one.info), _amount(abs(row.line), one.info)
    line = f"A loss of up to {allowed} is allowed" if row.line < 0 else f"A gain of {allowed} is asked for"
    return {
        "SHIP": f"{row.metric} holds against {who}: {found}. {line}.",
        "BLOCK": f"{row.metric} loses too much against {who}: {found}. {line}.",
        "INCONCLUSIVE": f"{row.metric} may or may not hold against {who}: {found}. {line}.",
    }[row.verdict]


def _change(difference: Interval, info: MetricInfo) -> str:
    """'2.3 percentage points worse (95 % sure: from 5.8 worse to 1.3 better)'."""
    estimate, low, high = difference.estimate or 0.0, difference.low, difference.high
    found = f"{_amount(abs(estimate), info)} {_side(estimate)}"
    if low is None or high is None:
        return f"{found} (without an interval)"
    sure = f"{100 * difference.confidence:.4g} %"
    lower, upper = (_figure(bound, info) for bound in (low, high))
    return f"{found} ({sure} sure: from {lower} {_side(low)} to {upper} {_side(high)})"


def _side(value: float) -> str:
    return "worse" if value < 0 else "better"


def _who(row: Row) -> str:
    against = row.comparison.against if row.comparison else row.comparator
    names = {"incumbent": "what is served now", "base": "the base", "best_baseline": "the best baseline"}
    name = names.get(row.comparator, row.comparator)
    return name if against in (row.comparator, name) else f"{name} ({against})"


def _amount(value: float, info: MetricInfo) -> str:
    """'2.3 percentage points', '57.6 points', '0.12 s'."""
    return f"{_figure(value, info)} {'percentage points' if info.unit == 'share' else info.unit}"


def _figure(value: float, info: MetricInfo) -> str:
    return figures(abs(100 * value if info.unit == "share" else value))[0]
