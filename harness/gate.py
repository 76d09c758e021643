"""The gate: may this candidate take the place of what is there? Pure: scores in, a verdict with its reasons out.

| verdict      | when                                                                                                  |
|--------------|-------------------------------------------------------------------------------------------------------|
| INVALID      | some row's evidence cannot be trusted, or the primary has nothing to be compared with. Overrides all. |
| BLOCK        | some row's upper bound lies below its line                                                            |
| SHIP         | every row's lower bound lies above its line                                                           |
| INCONCLUSIVE | anything else                                                                                         |

A row is one metric against one comparator; its line is `min_gain` for the primary, `-max_loss` for a guardrail. Bounds
are one-sided 97.5 % bounds of the paired difference on `release`, in the metric's unit, positive = better.

A row is INVALID when an evaluation is missing or not of `release`; when the two sides differ in evalset, direction,
unit or clusters; when more than 2 % of the items cannot be paired; or when both sides are the same subject.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from harness.core.errors import EvaluationError
from harness.core.records import MetricInfo, Record, SubjectScores, Verdict
from harness.spec import Gate
from harness.stats import Interval, figures, items_to_settle, paired_difference

EXIT_CODES: dict[Verdict, int] = {"SHIP": 0, "BLOCK": 10, "INCONCLUSIVE": 11, "INVALID": 12}
DECIDING_SPLIT = "release"
CHOOSING_SPLIT = "dev"
# Items fail to pair because an answer errored or was cut, which is rarely by chance: x % of them can hide a loss of
# x points. Margins are commonly 2 points.
MAX_UNPAIRED_SHARE = 0.02
# The one comparator that may not exist yet; what it would have guarded is then guarded by the others.
MAY_BE_ABSENT = "incumbent"
ALWAYS_GUARDED = "base"

Role = Literal["primary", "guardrail"]


class Comparison(Record):
    """One metric, a candidate against another subject, item by item. `problem` says why it cannot be trusted, if so."""

    metric: str
    info: MetricInfo
    split: str
    candidate: str
    against: str
    candidate_eval: str
    against_eval: str
    paired: int
    left_out: dict[str, int]
    candidate_mean: float | None
    against_mean: float | None
    difference: Interval
    problem: str = ""


class Row(Record):
    """One line of the gate. `verdict` None: the comparator does not exist yet, so the row does not count."""

    role: Role
    metric: str
    comparator: str
    line: float
    comparison: Comparison | None
    verdict: Verdict | None
    reason: str


class GateResult(Record):
    """A verdict and what it rests on."""

    verdict: Verdict
    reason: str
    rows: list[Row]


def judge(
    gate: Gate,
    scores: Mapping[str, SubjectScores],
    comparators: Mapping[str, Mapping[str, SubjectScores] | None],
) -> GateResult:
    """Judge one candidate. See the module's table.

    `scores`: the candidate's, metric -> release scores. `comparators`: name as in the gate -> the same of that subject;
    None for an incumbent that does not exist yet, or is the candidate itself. `base` always guards, named or not.
    """
    rows = [
        _row(role, metric, name, line, scores.get(metric), comparators) for role, metric, name, line in _lines(gate)
    ]
    counted = [row for row in rows if row.verdict is not None]
    if not any(row.role == "primary" for row in counted):
        reason = "the primary has nothing to be compared with: add base or best_baseline to gate.primary.better_than"
        return GateResult(verdict="INVALID", reason=reason, rows=rows)
    verdict = overall([row.verdict for row in counted if row.verdict is not None])
    decisive = [row for row in counted if row.verdict == verdict]
    if verdict == "SHIP":
        return GateResult(verdict=verdict, reason=_ship_reason(decisive), rows=rows)
    more = f" (and {len(decisive) - 1} more)" if len(decisive) > 1 else ""
    return GateResult(verdict=verdict, reason=f"{decisive[0].role} {decisive[0].reason}{more}", rows=rows)


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """The gate's verdict from those of its rows; without any there is no evidence: INVALID."""
    if not verdicts or "INVALID" in verdicts:
        return "INVALID"
    if "BLOCK" in verdicts:
        return "BLOCK"
    return "SHIP" if set(verdicts) == {"SHIP"} else "INCONCLUSIVE"


def row_verdict(difference: Interval, line: float) -> Verdict:
    """Where a difference stands to its line. A bound that lies on the line is not beyond it."""
    if difference.low is None or difference.high is None:
        return "INCONCLUSIVE"
    if difference.low > line:
        return "SHIP"
    return "BLOCK" if difference.high < line else "INCONCLUSIVE"


def lines_of(gate: Gate, metric: str) -> list[float]:
    """The lines that the gate draws for a metric, for plots."""
    return sorted({line for _, name, _, line in _lines(gate) if name == metric})


def metrics_of(gate: Gate) -> list[str]:
    """Every metric the gate looks at, the primary first."""
    return list(dict.fromkeys([gate.primary.metric, *(guardrail.metric for guardrail in gate.guardrails)]))


def compare(candidate: SubjectScores, against: SubjectScores) -> Comparison:
    """Pair two subjects' scores on one metric by item and compare them.

    Items that only one side (or neither) has a value for are left out and counted. Where the two cannot be paired at
    all, the difference is empty. Never raises for evidence that does not fit: it says so in `problem`.
    """
    mismatch = _mismatch(candidate, against)
    everything = set(candidate.clusters) | set(against.clusters)
    shared = [] if mismatch else sorted(candidate.values.keys() & against.values.keys())
    ours, theirs = [candidate.values[item] for item in shared], [against.values[item] for item in shared]
    groups, info = [candidate.clusters[item] for item in shared], candidate.info
    left_out = {} if mismatch else _left_out(everything, candidate, against)
    return Comparison(
        metric=candidate.metric,
        info=info,
        split=candidate.split,
        candidate=candidate.subject.label,
        against=against.subject.label,
        candidate_eval=candidate.eval_id,
        against_eval=against.eval_id,
        paired=len(shared),
        left_out=left_out,
        candidate_mean=sum(ours) / len(ours) if ours else None,
        against_mean=sum(theirs) / len(theirs) if theirs else None,
        difference=paired_difference(ours, theirs, groups, info.direction, info.unit),
        problem=mismatch or _too_few_pairs(len(shared), left_out),
    )


def choose_best(subjects: Sequence[SubjectScores]) -> SubjectScores:
    """The best of several subjects by one metric on `dev`, over the items that all have values for; first of equals.

    This is how `best_baseline` and the candidate to look at first are chosen: never on `release`, or the choice itself
    would look like a gain. Raises EvaluationError where there is nothing fair to choose on.
    """
    if not subjects:
        raise EvaluationError("there is nothing to choose from")
    first = subjects[0]
    if len(subjects) == 1:
        return first
    for other in subjects:
        problem = _mismatch(first, other)
        if other.split != CHOOSING_SPLIT or problem:
            raise EvaluationError(
                f"{other.subject.label} cannot be chosen by {first.metric}: {problem or f'scores of {other.split}'}",
                f"evaluate every subject on split {CHOOSING_SPLIT} of the same evalset",
            )
    shared = set.intersection(*(set(subject.values) for subject in subjects))
    if 2 * len(shared) < len(first.clusters) or not shared:
        emptiest = min(subjects, key=lambda subject: len(subject.values))
        total = len(first.clusters)
        raise EvaluationError(
            f"only {len(shared)} of {total} {CHOOSING_SPLIT} items have a {first.metric} from every subject",
            f"look at the answers of {emptiest.subject.label}, which has {len(emptiest.values)}",
        )
    sign = 1 if first.info.direction == "up" else -1
    # Summed in one order, so that equals are equal to the last bit.
    items = sorted(shared)
    return max(subjects, key=lambda subject: sign * sum(subject.values[item] for item in items))


# --- inside -----------------------------------------------------------------------------------------------------


def _lines(gate: Gate) -> Iterator[tuple[Role, str, str, float]]:
    """(role, metric, comparator, line) of every row."""
    for name in dict.fromkeys(gate.primary.better_than):
        yield "primary", gate.primary.metric, name, gate.primary.min_gain
    for guardrail in gate.guardrails:
        for name in dict.fromkeys([*guardrail.against, ALWAYS_GUARDED]):
            yield "guardrail", guardrail.metric, name, 0.0 - guardrail.max_loss


def _row(
    role: Role,
    metric: str,
    name: str,
    line: float,
    candidate: SubjectScores | None,
    comparators: Mapping[str, Mapping[str, SubjectScores] | None],
) -> Row:
    comparison: Comparison | None = None
    verdict: Verdict | None = "INVALID"
    against = comparators.get(name) or {}
    if name == MAY_BE_ABSENT and name in comparators and comparators[name] is None:
        verdict, reason = None, f"{metric}: there is no {name} yet, or it is this one, so it is left out"
    elif candidate is None:
        reason = f"{metric}: the candidate has no evaluation of it on {DECIDING_SPLIT}"
    elif metric not in against:
        reason = f"{metric}: {name} has no evaluation of it on {DECIDING_SPLIT}"
    else:
        comparison = compare(candidate, against[metric])
        problem = comparison.problem or _unfit(candidate, against[metric])
        if problem:
            reason = f"{metric} against {name}: {problem}"
        else:
            verdict = row_verdict(comparison.difference, line)
            reason = _reason(comparison, name, line, verdict)
    return Row(
        role=role, metric=metric, comparator=name, line=line, comparison=comparison, verdict=verdict, reason=reason
    )


def _unfit(candidate: SubjectScores, against: SubjectScores) -> str:
    """Why a comparison that is sound as such must not decide."""
    if candidate.split != DECIDING_SPLIT:
        return f"it is of split {candidate.split}; only {DECIDING_SPLIT} decides"
    if candidate.subject.identity == against.subject.identity:
        return "candidate and comparator are the same subject, so there is nothing to decide"
    return ""


def _mismatch(candidate: SubjectScores, against: SubjectScores) -> str:
    """Why the items of two evaluations cannot be paired, or ''."""
    if candidate.metric != against.metric or candidate.info != against.info:
        return f"{candidate.metric} and {against.metric} are not one metric with one direction and unit"
    if candidate.split != against.split:
        return f"the sides are of different splits, {candidate.split} and {against.split}"
    if candidate.evalset_sha256 != against.evalset_sha256:
        return "the sides were scored on different contents of the evalset; evaluate both again"
    for scores in (candidate, against):
        astray = scores.values.keys() - scores.clusters.keys()
        if astray:
            return f"{scores.subject.label} has a value for {min(astray)!r}, which is not an item of {scores.split}"
        unreal = [item for item, value in scores.values.items() if not math.isfinite(value)]
        if unreal:
            return f"{scores.subject.label} has a value for {min(unreal)!r} that is not a finite number"
    moved = [item for item, group in candidate.clusters.items() if against.clusters.get(item, group) != group]
    return f"the sides put item {min(moved)!r} into different clusters" if moved else ""


def _left_out(everything: set[str], candidate: SubjectScores, against: SubjectScores) -> dict[str, int]:
    """Items that could not be paired, by who has no value for them."""
    reasons = Counter[str]()
    for item in everything:
        has = (item in candidate.values, item in against.values)
        if has != (True, True):
            reasons[{(False, True): "candidate", (True, False): "comparator", (False, False): "both"}[has]] += 1
    return dict(sorted(reasons.items()))


def _too_few_pairs(paired: int, left_out: dict[str, int]) -> str:
    missing = sum(left_out.values())
    if not paired:
        return "no item has a value on both sides"
    if missing <= MAX_UNPAIRED_SHARE * (paired + missing):
        return ""
    who = ", ".join(f"{name} {count}" for name, count in left_out.items())
    return (
        f"{missing} of {paired + missing} items could not be paired (no value from: {who}); "
        f"more than {MAX_UNPAIRED_SHARE:.0%} can hide a loss"
    )


def _reason(comparison: Comparison, name: str, line: float, verdict: Verdict) -> str:
    """One sentence: what was found, where the line lies, and what is missing."""
    difference, unit = comparison.difference, comparison.info.unit
    who = name if name == comparison.against else f"{name} ({comparison.against})"
    found = f"{comparison.metric} against {who}"
    if difference.estimate is None or difference.low is None or difference.high is None:
        return f"{found}: no interval ({difference.note})"
    estimate, low, high, mark = figures(difference.estimate, difference.low, difference.high, line, sign=True)
    suffix = "" if unit == "share" else f" {unit}"
    text = f"{found}: {estimate}{suffix}"
    if verdict == "SHIP":
        return f"{text}, and its lower bound {low} lies above the line at {mark}"
    if verdict == "BLOCK":
        return f"{text}, and its upper bound {high} lies below the line at {mark}"
    return f"{text}, and {low} to {high} holds the line at {mark}; {_what_is_missing(difference, line)}"


def _what_is_missing(difference: Interval, line: float) -> str:
    needed = items_to_settle(difference, line)
    if needed is None or difference.estimate is None:
        return "it lies on the line itself, so no number of items settles it"
    if difference.estimate < line:
        return "it lies below the line, so a better candidate is missing, not more items"
    return f"if it stays, about {needed:,} items settle it (now {difference.items:,})"


def _ship_reason(rows: list[Row]) -> str:
    primary = next(row for row in rows if row.role == "primary")
    return f"primary {primary.reason}; {len(rows)} of {len(rows)} rows clear their lines"
