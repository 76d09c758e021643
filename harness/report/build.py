"""From scores to a report: who is compared with whom, on which split, and what the gate says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import Field

from harness.core.records import MetricInfo, PlanRecord, Record, Subject, SubjectScores, Verdict, now
from harness.gate import (
    CHOOSING_SPLIT,
    DECIDING_SPLIT,
    Comparison,
    GateResult,
    Row,
    compare,
    judge,
    judge_all,
    metrics_of,
    own_interval,
)
from harness.gate.verdict import Comparators
from harness.report.beyond import Optimism, Recipe, Repeat, optimism, recipes, repeats
from harness.report.evidence import Cast, Evidence, Excluded, Role, cast_of, choose, comparators_of, resolve
from harness.spec import Gate
from harness.stats import ALPHA, Interval, alpha_at
from harness.stats.looks import MOST_LOOKS

NOT_CHOSEN = f"not chosen on {CHOOSING_SPLIT}; gate.decide: all tests every candidate"
SPENT = (
    f"items of this release split were decided on {MOST_LOOKS} times, which spends their error budget; a further "
    "verdict needs new release items in their place"
)


class CandidateReport(Record):
    """One candidate: the gate's verdict with its rows, and every comparison on `release`, the gate's or not.

    `chosen`: best by the primary on `dev` (of those that ship, where every candidate is tested). `verdict` is None
    without a gate, and for those not chosen unless the gate says `decide: all`; then `reason` says so.
    """

    candidate: str
    run_id: str | None
    identity: str
    chosen: bool
    verdict: Verdict | None
    reason: str
    rows: list[Row]
    comparisons: list[Comparison]


class BoardRow(Record):
    """One subject's own mean on one metric; `counts` are items per bucket."""

    subject: str
    role: Role
    mean: Interval
    counts: dict[str, int]


class Board(Record):
    """A leaderboard: one metric on one split, best first. For looking; verdicts rest on paired differences."""

    metric: str
    split: str
    info: MetricInfo
    rows: list[BoardRow]


class Report(Record):
    """All that a plan's evaluations show. `verdict` is that of the chosen candidate, None without a gate."""

    plan_id: str
    name: str
    gate: Gate | None
    verdict: Verdict | None
    reason: str
    incumbent_sha256: str | None = Field(
        description="adapter that the alias served when this was judged; a promotion needs it"
    )
    candidates: list[CandidateReport]
    boards: list[Board]
    optimism: list[Optimism] = Field([])
    recipes: list[Recipe] = Field([])
    repeats: list[Repeat] = Field([])
    look: int = Field(1, description="which look at the release items this is, see harness.looks")
    alpha: float | None = Field(ALPHA, description="one-sided error of the verdict; None: the split's budget is spent")
    advisory: str | None = Field(None, description="why a gate that could not be decided was used: gate.overrule")
    excluded: dict[str, int] = Field({}, description="items left out as found in training data, by evalset")
    standalone: bool = Field(False, description="made of two results of other tools: no choice on dev, no looks kept")
    notes: list[str]
    created: str


def build_report(
    plan: PlanRecord,
    scores: Sequence[SubjectScores],
    gate: Gate | None,
    incumbent: Subject | None = None,
    candidates: Sequence[Subject] | None = None,
    *,
    baselines: Sequence[Subject] = (),
    look: int = 1,
    advisory: str | None = None,
    exclude: Excluded | None = None,
) -> Report:
    """Compare every candidate with every other subject on `release`, choose one on `dev`, and judge it (or all).

    `incumbent`: what the alias serves now; None: nothing yet. `candidates`: by default what the plan's runs made.
    `baselines`: every planned one, also those without scores, what plays the base first.
    `look`: which look at the release items this is; see harness.looks and harness.stats.looks. `advisory`: why the
    verdict is only advice. `exclude`: 'aac' or 'lm_eval/tiny' -> items found in training data: no figure rests on them,
    and each comparison also says what it would be with them.
    Raises EvaluationError where the plan has no candidate or one thing was evaluated twice.
    """
    evidence = Evidence(scores, exclude)
    cast = cast_of(plan, evidence, incumbent, candidates, baselines)
    desk = _Desk(gate, evidence, cast, alpha_at(look), advisory)
    chosen, results = desk.decide()
    reports = [_candidate(desk, identity, results.get(identity), chosen == identity) for identity in cast.candidates]
    verdict, reason = _verdict(gate, next((report for report in reports if report.chosen), None))
    others = desk.rivals(chosen or cast.candidates[0])
    primary = gate.primary.metric if gate else ""
    return Report(
        plan_id=plan.plan_id,
        name=plan.name,
        gate=gate,
        verdict=verdict,
        reason=reason,
        incumbent_sha256=incumbent.adapter_sha256 if incumbent else None,
        candidates=reports,
        boards=_boards(evidence, cast, metrics_of(gate) if gate else []),
        optimism=optimism(evidence, primary, chosen, others) if chosen else [],
        recipes=recipes(plan, evidence, primary, others),
        repeats=repeats(evidence),
        look=look,
        alpha=alpha_at(look),
        advisory=advisory,
        excluded={name: len(items) for name, items in (exclude or {}).items() if items},
        notes=list(dict.fromkeys(desk.notes)),
        created=now(),
    )


def _verdict(gate: Gate | None, chosen: CandidateReport | None) -> tuple[Verdict | None, str]:
    if gate is None:
        return None, "no gate: nothing is decided"
    if chosen is None:
        return "INVALID", f"no candidate could be chosen on {CHOOSING_SPLIT}"
    return chosen.verdict, chosen.reason


@dataclass(frozen=True)
class _Desk:
    """What is needed to decide: the gate, the evidence, who is who, and at which level (None: no look is left)."""

    gate: Gate | None
    evidence: Evidence
    cast: Cast
    alpha: float | None
    advisory: str | None
    notes: list[str] = field(default_factory=list)

    def decide(self) -> tuple[str | None, dict[str, GateResult]]:
        """(the chosen candidate, the verdicts of those that were judged), by identity."""
        if self.gate is None or self.gate.decide == "chosen":
            chosen = self._choose(self.cast.candidates)
            if self.gate is None or chosen is None:
                return chosen, {}
            return chosen, {chosen: self._said(judge(self.gate, *self._case(self.gate, chosen), self._level()))}
        cases = {identity: self._case(self.gate, identity) for identity in self.cast.candidates}
        results = judge_all(self.gate, cases, self._level())
        shipping = [identity for identity, result in results.items() if result.verdict == "SHIP"]
        count = len(results)
        self.notes.append(f"{count} candidates were tested on {DECIDING_SPLIT}, with Holm's correction for {count}")
        chosen = self._choose(shipping or self.cast.candidates)
        return chosen, {identity: self._said(result) for identity, result in results.items()}

    def rivals(self, identity: str) -> list[str]:
        """Identities of the base and of what the primary is compared with, for one candidate."""
        if self.gate is None:
            return []
        names = dict.fromkeys(["base", *self.gate.primary.better_than])
        found = [resolve(name, self.gate, self.evidence, self.cast, identity, []) for name in names]
        return [other for other in dict.fromkeys(found) if other is not None]

    def _choose(self, candidates: Sequence[str]) -> str | None:
        chosen, notes = choose(self.gate, self.evidence, candidates)
        self.notes.extend(notes)
        return chosen

    def _level(self) -> float:
        """Bounds are still shown when no look is left: those of the last one."""
        return self.alpha or alpha_at(MOST_LOOKS) or ALPHA

    def _case(self, gate: Gate, identity: str) -> tuple[dict[str, SubjectScores], Comparators]:
        comparators = comparators_of(gate, self.evidence, self.cast, identity, self.notes)
        return self.evidence.of(identity, DECIDING_SPLIT), comparators

    def _said(self, result: GateResult) -> GateResult:
        """The verdict as it may be said: not SHIP when no look is left, and called advice where it is."""
        if self.alpha is None and result.verdict == "SHIP":
            result = result.model_copy(update={"verdict": "INCONCLUSIVE", "reason": f"{SPENT} ({result.reason})"})
        if self.advisory:
            reason = f"advisory, as the gate was overruled ({self.advisory}): {result.reason}"
            result = result.model_copy(update={"reason": reason})
        return result


def _candidate(desk: _Desk, identity: str, result: GateResult | None, chosen: bool) -> CandidateReport:
    evidence, gate, comparisons = desk.evidence, desk.gate, []
    for metric in evidence.metrics(metrics_of(gate) if gate else []):
        mine = evidence.get(identity, metric, DECIDING_SPLIT)
        others = evidence.on(desk.cast.baselines, metric, DECIDING_SPLIT)
        comparisons += [evidence.with_excluded(compare(mine, other)) for other in others] if mine else []
    subject = evidence.subjects[identity]
    return CandidateReport(
        candidate=subject.label,
        run_id=subject.run_id,
        identity=identity,
        chosen=chosen,
        verdict=result.verdict if result else None,
        reason=result.reason if result else NOT_CHOSEN if gate else "",
        rows=[_with_excluded(evidence, row) for row in result.rows] if result else [],
        comparisons=comparisons,
    )


def _with_excluded(evidence: Evidence, row: Row) -> Row:
    if row.comparison is None:
        return row
    return row.model_copy(update={"comparison": evidence.with_excluded(row.comparison)})


def _boards(evidence: Evidence, cast: Cast, first: Sequence[str]) -> list[Board]:
    boards = []
    for metric in evidence.metrics(first):
        for split in (DECIDING_SPLIT, CHOOSING_SPLIT):
            found = evidence.on(evidence.subjects, metric, split)
            if found:
                rows = [_board_row(one, cast.role(one.subject.identity)) for one in found]
                sign = -1 if found[0].info.direction == "up" else 1
                rows.sort(key=lambda row: (row.mean.estimate is None, sign * (row.mean.estimate or 0.0)))
                boards.append(Board(metric=metric, split=split, info=found[0].info, rows=rows))
    return boards


def _board_row(scores: SubjectScores, role: Role) -> BoardRow:
    return BoardRow(subject=scores.subject.label, role=role, mean=own_interval(scores), counts=scores.counts)
