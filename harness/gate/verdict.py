"""Rows and what they add up to. See the package's table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from harness.core.records import Record, SubjectScores, Verdict
from harness.gate.pairing import DECIDING_SPLIT, Comparison, own_interval, pair
from harness.spec import Gate
from harness.stats import ALPHA, UNIT_RANGE, Interval, figures, items_to_settle
from harness.stats.flips import FEW

EXIT_CODES: dict[Verdict, int] = {"SHIP": 0, "BLOCK": 10, "INCONCLUSIVE": 11, "INVALID": 12}
# The one comparator that may not exist yet; what it would have guarded is then guarded by the others.
MAY_BE_ABSENT = "incumbent"
ALWAYS_GUARDED = "base"
KNOWS_ITS_SPREAD = "tango"  # an interval that does not take its clusters to be spread evenly

Role = Literal["primary", "guardrail"]
Scores = Mapping[str, SubjectScores]
Comparators = Mapping[str, Scores | None]


class Row(Record):
    """One line of the gate. `verdict` None: the comparator does not exist yet, so the row does not count.

    `level` is the one-sided error of its bounds. `sign_flip` is the p-value of that check, where clusters are few, and
    `skewness` of the other one, where the interval takes clusters to be spread evenly.
    """

    role: Role
    metric: str
    comparator: str
    line: float
    comparison: Comparison | None
    verdict: Verdict | None
    reason: str
    level: float = ALPHA
    sign_flip: float | None = None
    skewness: float | None = None


class GateResult(Record):
    """A verdict and what it rests on."""

    verdict: Verdict
    reason: str
    rows: list[Row]


def judge(gate: Gate, scores: Scores, comparators: Comparators, alpha: float = ALPHA) -> GateResult:
    """Judge one candidate. See the package's table.

    `scores`: the candidate's, metric -> release scores. `comparators`: name as in the gate -> the same of that subject;
    None for an incumbent that does not exist yet, or is the candidate itself. `base` always guards, named or not.
    `alpha` is the one-sided error of every row. All rows must pass (an intersection-union test), so a candidate that is
    not better ships with a chance of `alpha` at most, however many rows there are.
    """
    rows = [_row(line, scores.get(line.metric), comparators, alpha) for line in _lines(gate)]
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


def judge_all(
    gate: Gate, candidates: Mapping[str, tuple[Scores, Comparators]], alpha: float = ALPHA
) -> dict[str, GateResult]:
    """Judge several candidates on one release split: the chance that any one ships wrongly is `alpha` at most.

    Holm's step-down (1979) over candidates. A candidate's p-value is the largest of its rows', so it is at most a iff
    the candidate ships with every row at level a: judge all r that are left at alpha/r, take out those that ship, and
    go on until nobody does. Each result is the one at the last level that its candidate was judged at.
    """
    done: dict[str, GateResult] = {}
    left = dict(candidates)
    while left:
        found = {name: judge(gate, *one, alpha / len(left)) for name, one in left.items()}
        done |= found
        shipped = [name for name, result in found.items() if result.verdict == "SHIP"]
        if not shipped:
            break
        left = {name: one for name, one in left.items() if name not in shipped}
    return {name: done[name] for name in candidates}


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
    return sorted({line.at for line in _lines(gate) if line.metric == metric})


def metrics_of(gate: Gate) -> list[str]:
    """Every metric the gate looks at, the primary first."""
    return list(dict.fromkeys([gate.primary.metric, *(guardrail.metric for guardrail in gate.guardrails)]))


# --- inside -----------------------------------------------------------------------------------------------------


class _Line(NamedTuple):
    role: Role
    metric: str
    comparator: str
    at: float


def _lines(gate: Gate) -> Iterator[_Line]:
    for name in dict.fromkeys(gate.primary.better_than):
        yield _Line("primary", gate.primary.metric, name, gate.primary.min_gain)
    for guardrail in gate.guardrails:
        for name in dict.fromkeys([*guardrail.against, ALWAYS_GUARDED]):
            yield _Line("guardrail", guardrail.metric, name, 0.0 - guardrail.max_loss)


def _row(line: _Line, candidate: SubjectScores | None, comparators: Comparators, alpha: float) -> Row:
    metric, name = line.metric, line.comparator
    against = comparators.get(name) or {}
    if name == MAY_BE_ABSENT and name in comparators and comparators[name] is None:
        return _bare_row(line, alpha, None, f"{metric}: there is no {name} yet, or it is this one, so it is left out")
    if candidate is None:
        return _bare_row(line, alpha, "INVALID", f"{metric}: the candidate has no evaluation of it on {DECIDING_SPLIT}")
    if metric not in against:
        return _bare_row(line, alpha, "INVALID", f"{metric}: {name} has no evaluation of it on {DECIDING_SPLIT}")
    return _compared_row(line, candidate, against[metric], alpha)


def _bare_row(line: _Line, alpha: float, verdict: Verdict | None, reason: str) -> Row:
    return Row(
        role=line.role,
        metric=line.metric,
        comparator=line.comparator,
        line=line.at,
        comparison=None,
        verdict=verdict,
        reason=reason,
        level=alpha,
    )


def _compared_row(line: _Line, candidate: SubjectScores, against: SubjectScores, alpha: float) -> Row:
    pairing = pair(candidate, against)
    comparison = pairing.comparison(1 - 2 * alpha)
    guards_base = line.role == "guardrail" and line.comparator == ALWAYS_GUARDED
    told = candidate.problem or against.problem
    problem = (
        told or comparison.problem or _unfit(candidate, against) or (_at_chance(against, alpha) if guards_base else "")
    )
    found = {"comparison": comparison}
    if problem:
        bare = _bare_row(line, alpha, "INVALID", f"{line.metric} against {line.comparator}: {problem}")
        return bare.model_copy(update=found)
    verdict, checks = row_verdict(comparison.difference, line.at), _Checks()
    if verdict == "SHIP":
        flip = pairing.sign_flip(line.at) if comparison.difference.clusters < FEW else None
        known = comparison.difference.method == KNOWS_ITS_SPREAD
        checks = _Checks(flip, None if known else pairing.skewness_p(line.at))
        verdict = "INCONCLUSIVE" if max(flip or 0.0, checks.skewness or 0.0) > alpha else "SHIP"
    reason = _reason(comparison, line, verdict, alpha, checks)
    return _bare_row(line, alpha, verdict, reason).model_copy(update=found | checks._asdict())


class _Checks(NamedTuple):
    """p-values of what must agree with the bound before a row ships; None: not asked."""

    sign_flip: float | None = None
    skewness: float | None = None


def _unfit(candidate: SubjectScores, against: SubjectScores) -> str:
    """Why a comparison that is sound as such must not decide."""
    if candidate.split != DECIDING_SPLIT:
        return f"it is of split {candidate.split}; only {DECIDING_SPLIT} decides"
    if candidate.subject.identity == against.subject.identity:
        return "candidate and comparator are the same subject, so there is nothing to decide"
    return ""


def _at_chance(base: SubjectScores, alpha: float) -> str:
    """Why a guardrail could not notice a loss, or ''. Not asked where less is better: there the worst has no end.

    Clearly above chance means at the row's own level: a stricter look must be surer of this as well.
    """
    chance = base.info.chance
    if chance is None and base.info.unit in UNIT_RANGE:
        chance = UNIT_RANGE[base.info.unit][0]
    found = own_interval(base, 1 - 2 * alpha)
    if base.info.direction == "down" or chance is None or found.estimate is None or found.low is None:
        return ""
    if found.low > chance:
        return ""
    mean, low, mark = figures(found.estimate, found.low, chance)
    return (
        f"the base itself is not clearly above chance ({mean}, lower bound {low}, chance {mark}), so a loss could not "
        "be noticed; use a metric that the base can do"
    )


def _reason(comparison: Comparison, line: _Line, verdict: Verdict, alpha: float, checks: _Checks) -> str:
    """One sentence: what was found, where the line lies, and what is missing."""
    difference, unit = comparison.difference, comparison.info.unit
    who = line.comparator if line.comparator == comparison.against else f"{line.comparator} ({comparison.against})"
    found = f"{comparison.metric} against {who}"
    if difference.estimate is None or difference.low is None or difference.high is None:
        return f"{found}: no interval ({difference.note})"
    estimate, low, high, mark = figures(difference.estimate, difference.low, difference.high, line.at, sign=True)
    suffix = "" if unit == "share" else f" {unit}"
    text = f"{found}: {estimate}{suffix}"
    at = "" if alpha == ALPHA else f" (one-sided {100 * (1 - alpha):.5g} %)"
    flip, skew = checks
    if verdict == "SHIP":
        agrees = (
            "" if flip is None else f", as the sign-flip test of {difference.clusters} clusters agrees (p {flip:.2g})"
        )
        return f"{text}, and its lower bound {low}{at} lies above the line at {mark}{agrees}"
    if flip is not None and flip > alpha:
        return (
            f"{text}, and its lower bound {low}{at} lies above the line at {mark}, but the sign-flip test of "
            f"{difference.clusters} clusters does not agree (p {flip:.2g}, {alpha:.2g} needed); it needs more clusters"
        )
    if skew is not None and skew > alpha:
        return (
            f"{text}, and its lower bound {low}{at} lies above the line at {mark}, but some of the "
            f"{difference.clusters} clusters lose far more than the others, and allowing for that it is not sure "
            f"(p {skew:.2g}, {alpha:.2g} needed); it needs more clusters"
        )
    if verdict == "BLOCK":
        return f"{text}, and its upper bound {high}{at} lies below the line at {mark}"
    return f"{text}, and {low} to {high}{at} holds the line at {mark}; {_what_is_missing(difference, line.at)}"


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
