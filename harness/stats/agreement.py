"""Agreement of two raters, and strengths from pairwise wins. statsmodels does the work, imported when asked."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from harness.core.errors import EvaluationError
from harness.core.records import Record
from harness.stats.numbers import CONFIDENCE, Floats, z_quantile


class Kappa(Record):
    """Cohen's kappa with its interval. None where chance agreement is certain (both used one and the same class)."""

    kappa: float | None
    low: float | None
    high: float | None
    agreed: float
    items: int


def cohens_kappa(first: Sequence[Hashable], second: Sequence[Hashable], confidence: float = CONFIDENCE) -> Kappa:
    """Agreement beyond chance of two raters over the same items, in step (Cohen 1960).

    The interval is the asymptotic one of Fleiss, Cohen and Everitt (1969), as statsmodels has it, cut at ±1.
    """
    if len(first) != len(second):
        raise EvaluationError(f"the raters rated {len(first)} and {len(second)} items", "pass the items both rated")
    classes = sorted({*first, *second}, key=repr)
    place = {name: number for number, name in enumerate(classes)}
    table = np.zeros((len(classes), len(classes)))
    for one, other in zip(first, second, strict=True):
        table[place[one], place[other]] += 1
    return kappa_of_table(table.tolist(), confidence)


def kappa_of_table(table: Sequence[Sequence[float]], confidence: float = CONFIDENCE) -> Kappa:
    """The same from counts: rows are the first rater's classes, columns the second's, in one order."""
    counts = np.asarray(table, dtype=np.float64)
    total = float(counts.sum())
    if not total:
        return Kappa(kappa=None, low=None, high=None, agreed=0.0, items=0)
    agreed = float(np.trace(counts)) / total
    chance = float((counts.sum(axis=0) * counts.sum(axis=1)).sum()) / total**2
    if chance >= 1:
        return Kappa(kappa=None, low=None, high=None, agreed=agreed, items=int(total))
    from statsmodels.stats.inter_rater import cohens_kappa as fit

    found = fit(counts)
    reach = z_quantile(confidence) * float(found.std_kappa)
    kappa = float(found.kappa)
    low, high = max(kappa - reach, -1.0), min(kappa + reach, 1.0)
    return Kappa(kappa=kappa, low=low, high=high, agreed=agreed, items=int(total))


class Bout(NamedTuple):
    """How often each of two won when the first had the side that may matter (at home, shown on the left)."""

    first: str
    second: str
    first_wins: float
    second_wins: float


class Strengths(Record):
    """Bradley-Terry strengths in logits against `reference`, whose own is 0; `side` is the first place's advantage."""

    reference: str
    strengths: dict[str, float]
    errors: dict[str, float]
    side: float | None
    side_error: float | None


def bradley_terry(bouts: Sequence[Bout], reference: str | None = None, side: bool = True) -> Strengths:
    """logit P(first wins) = strength(first) − strength(second) + side, by maximum likelihood (statsmodels' GLM).

    `reference`: by default the first name in alphabetical order. Raises EvaluationError where no finite strengths
    exist: unless everybody can be reached from everybody by a chain of wins (Ford 1957), somebody is infinitely good.
    """
    names = sorted({name for bout in bouts for name in (bout.first, bout.second)})
    if len(names) < 2:
        raise EvaluationError("strengths need two competitors or more", "pass the bouts of at least two")
    _must_be_connected(bouts, names)
    from statsmodels.api import GLM
    from statsmodels.genmod.families import Binomial

    reference = reference if reference in names else names[0]
    others = [name for name in names if name != reference]
    design = np.zeros((len(bouts), len(others) + side))
    for row, bout in zip(design, bouts, strict=True):
        for name, sign in ((bout.first, 1), (bout.second, -1)):
            if name != reference:
                row[others.index(name)] += sign
        if side:
            row[-1] = 1
    fit = GLM(np.array([bout[2:] for bout in bouts]), design, family=Binomial()).fit()
    found, errors = [float(value) for value in fit.params], [float(value) for value in fit.bse]
    return Strengths(
        reference=reference,
        strengths={reference: 0.0, **dict(zip(others, found, strict=False))},
        errors=dict(zip(others, errors, strict=False)),
        side=found[-1] if side else None,
        side_error=errors[-1] if side else None,
    )


def _must_be_connected(bouts: Sequence[Bout], names: Sequence[str]) -> None:
    beats = np.zeros((len(names), len(names)))
    for bout in bouts:
        one, other = names.index(bout.first), names.index(bout.second)
        beats[one, other] += bout.first_wins
        beats[other, one] += bout.second_wins
    apart = unconnected(beats)
    if apart:
        who = ", ".join(names[place] for place in apart)
        raise EvaluationError(f"{who} only won or only lost against the others", "collect more bouts, or leave it out")


def unconnected(beats: Floats) -> list[int]:
    """The smallest group that no chain of wins leads to or from; none where finite strengths exist (Ford 1957).

    `beats`: competitors squared, how often the row's beat the column's.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    parts, part = connected_components(csr_array(beats), connection="strong")
    return np.flatnonzero(part == np.bincount(part).argmin()).tolist() if parts > 1 else []
