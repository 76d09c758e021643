"""From scores to a report: who is compared with whom, on which split, and what the gate says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from harness.core.errors import EvaluationError
from harness.core.records import MetricInfo, PlanRecord, Record, Subject, SubjectScores, Verdict, now
from harness.gate import (
    CHOOSING_SPLIT,
    DECIDING_SPLIT,
    Comparison,
    GateResult,
    Row,
    choose_best,
    compare,
    judge,
    metrics_of,
)
from harness.spec import Gate
from harness.stats import Interval, mean_interval

Role = Literal["candidate", "incumbent", "baseline"]
NO_INCUMBENT = "there is no incumbent yet"


class CandidateReport(Record):
    """One candidate: the gate's verdict with its rows, and every comparison on `release`, the gate's or not.

    `chosen`: the one to look at first, best by the primary on `dev`. `verdict` is None without a gate.
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
    notes: list[str]
    created: str


class Evidence:
    """Scores by subject, metric and split. Two evaluations of one and the same thing are refused."""

    def __init__(self, scores: Iterable[SubjectScores]) -> None:
        self.subjects: dict[str, Subject] = {}
        self._found: dict[tuple[str, str, str], SubjectScores] = {}
        for one in scores:
            identity = one.subject.identity
            self.subjects.setdefault(identity, one.subject)
            known = self._found.setdefault((identity, one.metric, one.split), one)
            if known.eval_id != one.eval_id:
                raise EvaluationError(
                    f"{one.subject.label} has two evaluations of {one.metric}: {known.eval_id} and {one.eval_id}",
                    "report those of one plan",
                )

    def metrics(self, first: Sequence[str]) -> list[str]:
        """Every metric there is, those named `first` in front."""
        found = {metric for _, metric, _ in self._found}
        return [*(metric for metric in first if metric in found), *sorted(found - set(first))]

    def get(self, identity: str, metric: str, split: str) -> SubjectScores | None:
        return self._found.get((identity, metric, split))

    def of(self, identity: str, split: str) -> dict[str, SubjectScores]:
        """metric -> scores of one subject on one split."""
        return {metric: one for (who, metric, at), one in self._found.items() if (who, at) == (identity, split)}

    def on(self, identities: Iterable[str], metric: str, split: str) -> list[SubjectScores]:
        """The scores of those subjects that have any, in the order given."""
        found = (self.get(identity, metric, split) for identity in identities)
        return [one for one in found if one is not None]


@dataclass(frozen=True)
class Cast:
    """Who plays which part, as identities, in the order in which the subjects were given."""

    candidates: list[str]
    baselines: list[str]
    incumbent: str | None

    def role(self, identity: str) -> Role:
        if identity in self.candidates:
            return "candidate"
        return "incumbent" if identity == self.incumbent else "baseline"


def build_report(
    plan: PlanRecord,
    scores: Sequence[SubjectScores],
    gate: Gate | None,
    incumbent: Subject | None = None,
    candidates: Sequence[Subject] | None = None,
) -> Report:
    """Compare every candidate with every other subject on `release`, judge each, and point at the one chosen on `dev`.

    `incumbent`: what the alias serves now; None: nothing yet. `candidates`: by default what the plan's runs made.
    Raises EvaluationError where the plan has no candidate or one thing was evaluated twice.
    """
    evidence = Evidence(scores)
    cast = _cast(plan, evidence, incumbent, candidates)
    chosen, notes = _choose(gate, evidence, cast)
    reports = []
    for identity in cast.candidates:
        result = _judge(gate, evidence, cast, identity, notes) if gate else None
        reports.append(_candidate(evidence, cast, gate, identity, result, chosen == identity))
    first = next((report for report in reports if report.chosen), None)
    verdict: Verdict | None = None
    reason = "no gate: nothing is decided"
    if gate:
        verdict = first.verdict if first else "INVALID"
        reason = first.reason if first else f"no candidate could be chosen on {CHOOSING_SPLIT}"
    return Report(
        plan_id=plan.plan_id,
        name=plan.name,
        gate=gate,
        verdict=verdict,
        reason=reason,
        incumbent_sha256=incumbent.adapter_sha256 if incumbent else None,
        candidates=reports,
        boards=_boards(evidence, cast, metrics_of(gate) if gate else []),
        notes=list(dict.fromkeys(notes)),
        created=now(),
    )


def _cast(
    plan: PlanRecord, evidence: Evidence, incumbent: Subject | None, candidates: Sequence[Subject] | None
) -> Cast:
    runs = {job.run_id for job in plan.runs}
    if candidates is None:
        candidates = [subject for subject in evidence.subjects.values() if subject.run_id in runs]
    evidence.subjects |= {subject.identity: subject for subject in candidates}
    named = list(dict.fromkeys(subject.identity for subject in candidates))
    if not named:
        raise EvaluationError(f"plan {plan.plan_id} has no evaluated candidate", "run `ratchet run` first")
    rest = [identity for identity in evidence.subjects if identity not in named]
    return Cast(named, rest, incumbent.identity if incumbent else None)


def _choose(gate: Gate | None, evidence: Evidence, cast: Cast) -> tuple[str | None, list[str]]:
    """Identity of the candidate to look at first, and what a reader must know of the choice."""
    if len(cast.candidates) == 1:
        return cast.candidates[0], []
    if gate is None:
        return None, []
    metric = gate.primary.metric
    found = evidence.on(cast.candidates, metric, CHOOSING_SPLIT)
    without = len(cast.candidates) - len(found)
    notes = [f"{without} of {len(cast.candidates)} candidates have no {metric} on {CHOOSING_SPLIT}"] if without else []
    try:
        return choose_best(found).subject.identity, notes
    except EvaluationError as error:
        return None, [*notes, f"no candidate could be chosen: {error.problem}"]


def _judge(gate: Gate, evidence: Evidence, cast: Cast, identity: str, notes: list[str]) -> GateResult:
    """The gate's verdict on one candidate; adds to `notes` who the comparators are."""
    names = {*gate.primary.better_than, *(name for rail in gate.guardrails for name in rail.against), "base"}
    comparators: dict[str, Mapping[str, SubjectScores] | None] = {}
    for name in sorted(names):
        if name == "incumbent" and cast.incumbent in (None, identity):
            comparators[name] = None
            notes.append(
                f"{evidence.subjects[identity].label} is the incumbent itself" if cast.incumbent else NO_INCUMBENT
            )
            continue
        found = _resolve(name, gate, evidence, cast, identity, notes)
        comparators[name] = evidence.of(found, DECIDING_SPLIT) if found else {}
    return judge(gate, evidence.of(identity, DECIDING_SPLIT), comparators)


def _resolve(name: str, gate: Gate, evidence: Evidence, cast: Cast, identity: str, notes: list[str]) -> str | None:
    """Identity behind a comparator's name: incumbent, base, best_baseline, or the label of a baseline."""
    if name == "incumbent":
        return cast.incumbent
    if name == "base":
        return _base_of(evidence, identity)
    if name == "best_baseline":
        return _best_baseline(gate, evidence, cast, notes)
    return next((other for other in cast.baselines if evidence.subjects[other].label == name), None)


def _base_of(evidence: Evidence, identity: str) -> str | None:
    """The candidate's own base, as it is: without examples in front."""
    mine = evidence.subjects[identity].base_sha256
    for other, subject in evidence.subjects.items():
        if subject.kind == "base" and subject.prompting.kind == "zero_shot" and subject.base_sha256 == mine:
            return other
    return None


def _best_baseline(gate: Gate, evidence: Evidence, cast: Cast, notes: list[str]) -> str | None:
    """Best by the primary on `dev`. An incumbent that the primary is compared with anyway does not take the place."""
    apart = cast.incumbent if "incumbent" in gate.primary.better_than else None
    eligible = [identity for identity in cast.baselines if identity != apart]
    found = evidence.on(eligible, gate.primary.metric, CHOOSING_SPLIT)
    try:
        # A baseline without dev scores might have been the best one: then there is no fair choice, unless it is alone.
        if len(eligible) != 1 and len(found) < len(eligible):
            raise EvaluationError(f"{len(eligible) - len(found)} baselines have no scores on {CHOOSING_SPLIT}")
        best = eligible[0] if len(eligible) == 1 else choose_best(found).subject.identity
    except EvaluationError as error:
        notes.append(f"no best_baseline: {error.problem}")
        return None
    notes.append(f"best_baseline is {evidence.subjects[best].label}, chosen on {CHOOSING_SPLIT}")
    return best


def _candidate(
    evidence: Evidence, cast: Cast, gate: Gate | None, identity: str, result: GateResult | None, chosen: bool
) -> CandidateReport:
    comparisons = []
    for metric in evidence.metrics(metrics_of(gate) if gate else []):
        mine = evidence.get(identity, metric, DECIDING_SPLIT)
        others = evidence.on(cast.baselines, metric, DECIDING_SPLIT)
        comparisons += [compare(mine, other) for other in others] if mine else []
    subject = evidence.subjects[identity]
    return CandidateReport(
        candidate=subject.label,
        run_id=subject.run_id,
        identity=identity,
        chosen=chosen,
        verdict=result.verdict if result else None,
        reason=result.reason if result else "",
        rows=result.rows if result else [],
        comparisons=comparisons,
    )


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
    items = [item for item in sorted(scores.values) if item in scores.clusters]
    groups = [scores.clusters[item] for item in items]
    mean = mean_interval([scores.values[item] for item in items], groups, scores.info.unit)
    return BoardRow(subject=scores.subject.label, role=role, mean=mean, counts=scores.counts)
