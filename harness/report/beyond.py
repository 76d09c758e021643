"""What a report says beyond one verdict: the winner's optimism, recipes over seeds, the engine's own flips."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.core.fingerprint import sha256_of
from harness.core.records import PlanRecord, Record, RunJob, SubjectScores
from harness.gate import CHOOSING_SPLIT, DECIDING_SPLIT, compare, only, pair
from harness.report.evidence import Evidence
from harness.stats import Interval, pooled_variance, recipe_difference
from harness.stats.numbers import CONFIDENCE, t_quantile


class Optimism(Record):
    """How much better the winner looked where it was chosen: its difference on `dev` minus that on `release`.

    `gap` is None where one of them has no standard error; the two splits have different items, so errors add up.
    """

    candidate: str
    against: str
    metric: str
    dev: Interval
    release: Interval
    gap: Interval | None


class Recipe(Record):
    """Runs that differ in nothing but the seed, against one subject: is the recipe better, not only one adapter of it?

    `by_seed` are the adapters' own differences, in the order of `runs`. Fewer than three seeds: `difference` has no
    interval and its note says so.
    """

    recipe: str
    runs: list[str]
    metric: str
    against: str
    by_seed: list[float]
    difference: Interval


class Repeat(Record):
    """An A/A row: one subject asked twice. `changed` of the `items` scored differently the second time.

    `difference` is second minus first, turned so that + is better; an engine that is sound holds 0 in it.
    """

    subject: str
    metric: str
    split: str
    items: int
    changed: int
    difference: Interval


def optimism(evidence: Evidence, metric: str, candidate: str, others: Sequence[str]) -> list[Optimism]:
    """Of the chosen candidate against each of `others` (identities) that has both splits."""
    found = []
    for other in dict.fromkeys(others):
        sides = [
            (evidence.get(candidate, metric, split), evidence.get(other, metric, split))
            for split in (CHOOSING_SPLIT, DECIDING_SPLIT)
        ]
        differences = [compare(ours, theirs).difference for ours, theirs in sides if ours and theirs]
        if len(differences) == 2 and other != candidate and all(one.estimate is not None for one in differences):
            names = [evidence.subjects[identity].label for identity in (candidate, other)]
            found.append(
                Optimism(
                    candidate=names[0],
                    against=names[1],
                    metric=metric,
                    dev=differences[0],
                    release=differences[1],
                    gap=_apart(*differences),
                )
            )
    return found


def recipes(plan: PlanRecord, evidence: Evidence, metric: str, others: Sequence[str]) -> list[Recipe]:
    """Every recipe on `release` against each of `others` (identities); none where no recipe was run with two seeds."""
    groups = _seeds_of(plan, evidence, metric)
    if all(len(jobs) < 2 for jobs in groups.values()):
        return []
    found = []
    for other in dict.fromkeys(others):
        against = evidence.get(other, metric, DECIDING_SPLIT)
        if against is not None:
            found += _against(groups, against, evidence.subjects[other].label)
    return found


def repeats(evidence: Evidence) -> list[Repeat]:
    """Every second pass beside the first one of the same subject."""
    found = []
    for again in evidence.repeats:
        first_pass = again.subject.model_copy(update={"repeat": 0}).identity
        first = evidence.get(first_pass, again.metric, again.split)
        if first is None:
            continue
        pairing = pair(again, first)
        difference = pairing.difference()
        found.append(
            Repeat(
                subject=first.subject.label,
                metric=again.metric,
                split=again.split,
                items=len(pairing.items),
                changed=difference.discordant,
                difference=difference.model_copy(update={"note": pairing.problem or difference.note}),
            )
        )
    return found


# --- inside -----------------------------------------------------------------------------------------------------

Seeds = list[tuple[RunJob, SubjectScores]]


def _seeds_of(plan: PlanRecord, evidence: Evidence, metric: str) -> dict[str, Seeds]:
    """Recipe key -> its runs that have release scores. The key hashes what a run is made of, without its seed."""
    by_run = {subject.run_id: identity for identity, subject in evidence.subjects.items() if subject.run_id}
    groups: dict[str, Seeds] = {}
    for job in plan.runs:
        identity = by_run.get(job.run_id)
        scores = evidence.get(identity, metric, DECIDING_SPLIT) if identity else None
        if scores:
            content = job.model_dump(mode="json", exclude={"run_id", "label", "seed", "init_adapter"})
            groups.setdefault(sha256_of(content), []).append((job, scores))
    return groups


def _against(groups: dict[str, Seeds], against: SubjectScores, label: str) -> list[Recipe]:
    """Every recipe against one subject; the seeds' variance is pooled over all of them."""
    matrices = {key: _matrix([scores for _, scores in seeds], against) for key, seeds in groups.items()}
    means = {key: [float(row.mean()) for row in values] for key, (values, _) in matrices.items() if values.size}
    variance, freedom = pooled_variance(list(means.values()))
    return [
        Recipe(
            recipe=_label(groups[key][0][0]),
            runs=[job.run_id for job, _ in groups[key]],
            metric=against.metric,
            against=label,
            by_seed=by_seed,
            difference=recipe_difference(*matrices[key], variance, freedom),
        )
        for key, by_seed in means.items()
    ]


def _matrix(seeds: Sequence[SubjectScores], against: SubjectScores) -> tuple[np.ndarray, np.ndarray]:
    """(seeds × units, clusters) of the differences over the items that every seed and the other side have."""
    pairs = [pair(scores, against) for scores in seeds]
    shared = set.intersection(*(set(one.items) for one in pairs))
    if not shared:
        return np.zeros((len(seeds), 0)), np.zeros(0, dtype=np.intp)
    theirs = only(against, shared)
    rows = [pair(only(scores, shared), theirs).units() for scores in seeds]
    return np.stack([values for values, _ in rows]), rows[0][1]


def _label(job: RunJob) -> str:
    """The run's label without its seed."""
    words = [word for word in job.label.split() if not word.startswith(("seed=", "train.seed="))]
    return " ".join(words) or "the recipe"


def _apart(dev: Interval, release: Interval) -> Interval | None:
    """dev − release of two independent differences: errors add in squares, degrees of freedom by Welch."""
    sides = (dev, release)
    errors = [one.standard_error or 0.0 for one in sides]
    total = sum(error**2 for error in errors)
    if total == 0 or any(one.standard_error is None for one in sides):
        return None
    estimate = (dev.estimate or 0.0) - (release.estimate or 0.0)
    pieces = [error**4 / (one.degrees_of_freedom or 1.0) for error, one in zip(errors, sides, strict=True)]
    freedom = total**2 / sum(pieces)
    reach = math.sqrt(total) * t_quantile(freedom, CONFIDENCE)
    return Interval(
        estimate=estimate,
        low=estimate - reach,
        high=estimate + reach,
        standard_error=math.sqrt(total),
        degrees_of_freedom=freedom,
        items=dev.items + release.items,
        clusters=dev.clusters + release.clusters,
        discordant=dev.discordant + release.discordant,
        method="welch",
    )
