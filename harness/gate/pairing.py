"""Two subjects on one metric, item by item; and the best of several on `dev`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from harness import ppi
from harness.core.errors import EvaluationError
from harness.core.records import MetricInfo, Record, SubjectScores
from harness.stats import (
    CONFIDENCE,
    Interval,
    cluster_index,
    corpus_difference,
    corpus_influence,
    corpus_interval,
    corpus_value,
    mean_interval,
    paired_difference,
    sign_flip,
    skewness_p,
)
from harness.stats.numbers import Floats, Integers

DECIDING_SPLIT = "release"
CHOOSING_SPLIT = "dev"
MEAN = "mean"
# Items fail to pair because an answer errored or was cut, which is rarely by chance: x % of them can hide a loss of
# x points. Margins are commonly 2 points.
MAX_UNPAIRED_SHARE = 0.02


class Comparison(Record):
    """One metric, a candidate against another subject, item by item. `problem` says why it cannot be trusted, if so.

    `excluded` items were found in training data and left out of every figure; `with_excluded` is the difference that
    they would have given.
    """

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
    excluded: int = 0
    with_excluded: Interval | None = None


@dataclass(frozen=True)
class Pairing:
    """Two sides and the items that both have a value for, sorted; none where the sides do not fit together."""

    candidate: SubjectScores
    against: SubjectScores
    items: list[str]
    left_out: dict[str, int]
    problem: str

    @property
    def clusters(self) -> list[str]:
        return [self.candidate.clusters[item] for item in self.items]

    def difference(self, confidence: float = CONFIDENCE) -> Interval:
        """Of the means, or of the corpus statistic where the metric is one."""
        info, sides = self.candidate.info, (self.candidate, self.against)
        if info.aggregate != MEAN and self.items:
            parts = [[side.parts[item] for item in self.items] for side in sides]
            if info.aggregate == ppi.AGGREGATE:
                return ppi.difference(info, parts[0], parts[1], self.clusters, confidence)
            return corpus_difference(info, parts[0], parts[1], self.clusters, confidence)
        values = [[side.values[item] for item in self.items] for side in sides]
        return paired_difference(values[0], values[1], self.clusters, info.direction, info.unit, confidence)

    def units(self) -> tuple[Floats, Integers]:
        """(differences, positive = better; their clusters as 0, 1, …): per item, or per cluster for a corpus metric.

        Their mean is the difference (about it, for a corpus metric).
        """
        info, index = self.candidate.info, cluster_index(self.clusters)
        if not _averaged(info):
            sides = [[side.parts[item] for item in self.items] for side in (self.candidate, self.against)]
            influence = corpus_influence(info, sides[0], sides[1], self.clusters)
            return influence, np.arange(len(influence))
        ours = np.array([self.candidate.values[item] for item in self.items])
        theirs = np.array([self.against.values[item] for item in self.items])
        return (ours - theirs if info.direction == "up" else theirs - ours), index

    def sign_flip(self, line: float) -> float:
        """One-sided p-value of "the difference is at most `line`" by flipping clusters; 1 without items."""
        return sign_flip(*self.units(), line) if self.items else 1.0

    def skewness_p(self, line: float) -> float:
        """The same, allowing for clusters with a long tail on the losing side (harness.stats.skew); 1 without items."""
        info = self.candidate.info
        if self.items and info.aggregate == ppi.AGGREGATE:
            parts = [[side.parts[item] for item in self.items] for side in (self.candidate, self.against)]
            return ppi.skewness_p(info, parts[0], parts[1], self.clusters, line)
        return skewness_p(*self.units(), line) if self.items else 1.0

    def comparison(self, confidence: float = CONFIDENCE) -> Comparison:
        return Comparison(
            metric=self.candidate.metric,
            info=self.candidate.info,
            split=self.candidate.split,
            candidate=self.candidate.subject.label,
            against=self.against.subject.label,
            candidate_eval=self.candidate.eval_id,
            against_eval=self.against.eval_id,
            paired=len(self.items),
            left_out=self.left_out,
            candidate_mean=value_of(self.candidate, self.items),
            against_mean=value_of(self.against, self.items),
            difference=self.difference(confidence),
            problem=self.problem,
        )


def pair(candidate: SubjectScores, against: SubjectScores) -> Pairing:
    """Pair two subjects' scores on one metric by item.

    Items that only one side (or neither) has a value for are left out and counted. Never raises for evidence that does
    not fit: it says so in `problem`.
    """
    mismatch = _mismatch(candidate, against)
    if mismatch:
        return Pairing(candidate, against, [], {}, mismatch)
    items = sorted(candidate.values.keys() & against.values.keys())
    left_out = _left_out(candidate, against)
    return Pairing(candidate, against, items, left_out, _too_few_pairs(len(items), left_out))


def compare(candidate: SubjectScores, against: SubjectScores, confidence: float = CONFIDENCE) -> Comparison:
    """`pair` with its figures: both sides' values and the difference with its interval at `confidence`, two-sided."""
    return pair(candidate, against).comparison(confidence)


def without(scores: SubjectScores, items: Collection[str]) -> SubjectScores:
    """The same scores as if those items did not exist (items that stand in training data)."""
    return only(scores, scores.clusters.keys() - set(items))


def only(scores: SubjectScores, items: Collection[str]) -> SubjectScores:
    """The same scores as if only those items existed. `counts` stays: nobody knows which bucket went."""
    kept = {
        name: {item: value for item, value in getattr(scores, name).items() if item in items}
        for name in ("values", "parts", "clusters")
    }
    return scores.model_copy(update=kept)


def value_of(scores: SubjectScores, items: Sequence[str]) -> float | None:
    """A subject's value over these items: their mean, or the corpus statistic; None without items."""
    if not items:
        return None
    if not _averaged(scores.info):
        return corpus_value(scores.info, [scores.parts[item] for item in items])
    return math.fsum(scores.values[item] for item in items) / len(items)


def own_interval(scores: SubjectScores, confidence: float = CONFIDENCE) -> Interval:
    """A subject's own value with its interval at `confidence`, two-sided, over all its items, paired or not."""
    problem = _unusable(scores)
    if problem:
        return Interval(estimate=None, items=len(scores.values), clusters=0, discordant=0, method="none", note=problem)
    items = [item for item in sorted(scores.values) if item in scores.clusters]
    clusters = [scores.clusters[item] for item in items]
    if not _averaged(scores.info):
        return corpus_interval(
            scores.info, [scores.parts[item] for item in items if item in scores.parts], clusters, confidence
        )
    return mean_interval([scores.values[item] for item in items], clusters, scores.info.unit, confidence)


def choose_best(subjects: Sequence[SubjectScores]) -> SubjectScores:
    """The best of several subjects by one metric on `dev`, over the items that all have values for; first of equals.

    This is how `best_baseline` and the candidate to decide about are chosen: never on `release`, or the choice itself
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
    # In one order, so that equals are equal to the last bit.
    items = sorted(shared)
    return max(subjects, key=lambda subject: sign * (value_of(subject, items) or 0.0))


# --- inside -----------------------------------------------------------------------------------------------------


def _mismatch(candidate: SubjectScores, against: SubjectScores) -> str:
    """Why the items of two evaluations cannot be paired, or ''."""
    if candidate.metric != against.metric or candidate.info != against.info:
        return f"{candidate.metric} and {against.metric} are not one metric with one direction and unit"
    if candidate.split != against.split:
        return f"the sides are of different splits, {candidate.split} and {against.split}"
    if candidate.evalset_sha256 != against.evalset_sha256:
        return "the sides were scored on different contents of the evalset; evaluate both again"
    for scores in (candidate, against):
        problem = _unusable(scores)
        if problem:
            return f"{scores.subject.label} has a value for {problem}"
    moved = [item for item, group in candidate.clusters.items() if against.clusters.get(item, group) != group]
    return f"the sides put item {min(moved)!r} into different clusters" if moved else ""


def _averaged(info: MetricInfo) -> bool:
    """Whether a side's own value is the mean of its items' (a judge's too, uncorrected)."""
    return info.aggregate in (MEAN, ppi.AGGREGATE)


def _unusable(scores: SubjectScores) -> str:
    """The first item whose value cannot be used, and why, or ''."""
    astray = scores.values.keys() - scores.clusters.keys()
    if astray:
        return f"{min(astray)!r}, which is not an item of {scores.split}"
    unreal = [item for item, value in scores.values.items() if not math.isfinite(value)]
    if unreal:
        return f"{min(unreal)!r} that is not a finite number"
    bare = scores.values.keys() - scores.parts.keys() if scores.info.aggregate != MEAN else set()
    return f"{min(bare)!r} without the counts that {scores.info.aggregate} is made of" if bare else ""


def _left_out(candidate: SubjectScores, against: SubjectScores) -> dict[str, int]:
    """Items that could not be paired, by who has no value for them."""
    reasons = Counter[str]()
    for item in set(candidate.clusters) | set(against.clusters):
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
