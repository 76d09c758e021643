"""The scores behind a report, by subject, metric and split; and who plays which part."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.core.errors import EvaluationError
from harness.core.records import PlanRecord, Subject, SubjectScores
from harness.gate import CHOOSING_SPLIT, DECIDING_SPLIT, Comparison, choose_best, compare, without
from harness.spec import Gate

Role = Literal["candidate", "incumbent", "baseline"]
Excluded = Mapping[str, Collection[str]]
NO_INCUMBENT = "there is no incumbent yet"


class Evidence:
    """Scores without the excluded items. Two evaluations of one and the same thing are refused.

    `excluded`: what stands before a metric's last '/' ('aac', 'lm_eval/tiny') -> items found in training data.
    Second passes of A/A rows (`Subject.repeat`) are kept apart: they are nobody's candidate, baseline or rival.
    """

    def __init__(self, scores: Iterable[SubjectScores], excluded: Excluded | None = None) -> None:
        self.subjects: dict[str, Subject] = {}
        self.repeats: list[SubjectScores] = []
        self._excluded = excluded or {}
        self._whole: dict[tuple[str, str, str], SubjectScores] = {}
        self._found: dict[tuple[str, str, str], SubjectScores] = {}
        for one in scores:
            clean = self._clean(one)
            if one.subject.repeat:
                self.repeats.append(clean)
                continue
            identity = one.subject.identity
            self.subjects.setdefault(identity, one.subject)
            known = self._found.setdefault((identity, one.metric, one.split), clean)
            if known.eval_id != one.eval_id:
                raise EvaluationError(
                    f"{one.subject.label} has two evaluations of {one.metric}: {known.eval_id} and {one.eval_id}",
                    "report those of one plan",
                )
            self._whole[one.eval_id, one.metric, one.split] = one

    def _clean(self, scores: SubjectScores) -> SubjectScores:
        outside = self._excluded.get(scores.metric.rpartition("/")[0], ())
        return without(scores, outside) if outside else scores

    def with_excluded(self, found: Comparison) -> Comparison:
        """The same comparison, with the difference that the excluded items would have given beside it."""
        ours = self._whole[found.candidate_eval, found.metric, found.split]
        theirs = self._whole[found.against_eval, found.metric, found.split]
        gone = len(ours.clusters) - len(self._clean(ours).clusters)
        if not gone:
            return found
        whole = compare(ours, theirs, found.difference.confidence).difference
        return found.model_copy(update={"excluded": gone, "with_excluded": whole})

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
    base: str | None = None

    def role(self, identity: str) -> Role:
        if identity in self.candidates:
            return "candidate"
        return "incumbent" if identity == self.incumbent else "baseline"


def cast_of(
    plan: PlanRecord,
    evidence: Evidence,
    incumbent: Subject | None,
    candidates: Sequence[Subject] | None,
    baselines: Sequence[Subject] = (),
) -> Cast:
    """`baselines`: every planned one, what plays the base first. Raises EvaluationError where nobody is a candidate."""
    runs = {job.run_id for job in plan.runs}
    if candidates is None:
        candidates = [subject for subject in evidence.subjects.values() if subject.run_id in runs]
    evidence.subjects |= {subject.identity: subject for subject in [*baselines, *candidates]}
    named = list(dict.fromkeys(subject.identity for subject in candidates))
    if not named:
        raise EvaluationError(f"plan {plan.plan_id} has no evaluated candidate", "run `ratchet run` first")
    rest = [identity for identity in evidence.subjects if identity not in named]
    base = baselines[0].identity if baselines else None
    return Cast(named, rest, incumbent.identity if incumbent else None, base)


def choose(gate: Gate | None, evidence: Evidence, candidates: Sequence[str]) -> tuple[str | None, list[str]]:
    """Identity of the candidate that is best on `dev` by the primary, and what a reader must know of the choice."""
    if len(candidates) == 1:
        return candidates[0], []
    if gate is None:
        return None, []
    metric = gate.primary.metric
    found = evidence.on(candidates, metric, CHOOSING_SPLIT)
    absent = len(candidates) - len(found)
    notes = [f"{absent} of {len(candidates)} candidates have no {metric} on {CHOOSING_SPLIT}"] if absent else []
    try:
        return choose_best(found).subject.identity, notes
    except EvaluationError as error:
        return None, [*notes, f"no candidate could be chosen: {error.problem}"]


def on_trial(
    plan: PlanRecord,
    scores: Iterable[SubjectScores],
    gate: Gate,
    incumbent: Subject | None,
    candidates: Sequence[Subject],
    *,
    baselines: Sequence[Subject] = (),
    exclude: Excluded | None = None,
) -> list[str]:
    """Identities that a report with these arguments (see `build_report`) decides on: who was chosen on `dev`,
    candidates and best baseline. Known without a look at `release`, so a look can be written down by it."""
    evidence = Evidence(scores, exclude)
    cast = cast_of(plan, evidence, incumbent, candidates, baselines)
    chosen = choose(gate, evidence, cast.candidates)[0]
    found = cast.candidates if gate.decide == "all" else [chosen] if chosen else []
    best = _best_baseline(gate, evidence, cast, []) if "best_baseline" in _named(gate) else None
    return [*found, *([best] if best else [])]


def _named(gate: Gate) -> set[str]:
    return {*gate.primary.better_than, *(name for rail in gate.guardrails for name in rail.against)}


def comparators_of(
    gate: Gate, evidence: Evidence, cast: Cast, identity: str, notes: list[str]
) -> dict[str, Mapping[str, SubjectScores] | None]:
    """The release scores behind every comparator's name, for one candidate; adds to `notes` who they are."""
    names = _named(gate) | {"base"}
    found: dict[str, Mapping[str, SubjectScores] | None] = {}
    for name in sorted(names):
        if name == "incumbent" and cast.incumbent in (None, identity):
            found[name] = None
            notes.append(
                f"{evidence.subjects[identity].label} is the incumbent itself" if cast.incumbent else NO_INCUMBENT
            )
            continue
        other = resolve(name, gate, evidence, cast, identity, notes)
        found[name] = evidence.of(other, DECIDING_SPLIT) if other else {}
    return found


def resolve(name: str, gate: Gate, evidence: Evidence, cast: Cast, identity: str, notes: list[str]) -> str | None:
    """Identity behind a comparator's name: incumbent, base, best_baseline, or the label of a baseline."""
    if name == "incumbent":
        return cast.incumbent
    if name == "base":
        return _base_of(evidence, identity) or cast.base
    if name == "best_baseline":
        return _best_baseline(gate, evidence, cast, notes)
    return next((other for other in cast.baselines if evidence.subjects[other].label == name), None)


def _base_of(evidence: Evidence, identity: str) -> str | None:
    """The candidate's own base, as it is: without examples in front. An endpoint has none: the plan's stands for it."""
    mine = evidence.subjects[identity].base_sha256
    for other, subject in evidence.subjects.items():
        if subject.kind == "base" and subject.prompting.kind == "zero_shot" and subject.base_sha256 == mine:
            return other
    return None


def _can_have(subject: Subject, metric: str) -> bool:
    """lm-eval's prompts are the task's own, and it needs log-probs: it scores no other prompting and no endpoint."""
    own = subject.prompting.kind == "zero_shot" and subject.kind != "endpoint"
    return own or not metric.startswith("lm_eval/")


def _best_baseline(gate: Gate, evidence: Evidence, cast: Cast, notes: list[str]) -> str | None:
    """Best by the primary on `dev`. An incumbent that the primary is compared with anyway does not take the place."""
    apart = cast.incumbent if "incumbent" in gate.primary.better_than else None
    metric = gate.primary.metric
    eligible = [one for one in cast.baselines if one != apart and _can_have(evidence.subjects[one], metric)]
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
