"""How often a vote is not what its rater meant, told apart from pairs on which people really differ. Pure.

A rater has a view of a pair (two people may differ on it); the vote is the other one with chance e, by slip, haste or
a habit of one side. With L the share of votes for the left, d = 2L − 1, and clarity D = E[(2q − 1)²] where q is the
share of raters whose view is a (1: all pairs are clear, 0: every one is a coin's toss):

    gold pair, clear by construction             P(wrong)     = e
    repeat, same rater, sides swapped            P(unlike)    = (1 − (1 − 2e)² + d²) / 2
    two raters, sides drawn for each             P(agree)     = (1 + (1 − 2e)² D) / 2

e is fitted to the first two by maximum likelihood, and D follows from the third. Agreement alone cannot tell the two
apart: (1 − √(2·share − 1)) / 2 takes all disagreement for error (D = 1). What the model does not know: a rater whose
view itself changes between a pair and its repeat counts as error, so repeats overstate e on unclear pairs; where gold
and repeats contradict one another, gold alone is used, `note` says so, and the interval covers what both together say
as well: one campaign in a hundred contradicts itself by chance. e is that of these raters together, as it is their
votes that are used; where they differ it is the mean over their checks, and its interval errs on the wide side.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from harness.core.errors import InputError
from harness.core.records import Record
from harness.ratings.ballots import A, Ballots, Checks
from harness.ratings.clustered import weighted_mean
from harness.ratings.wins import decisive, left_rate
from harness.stats import Interval
from harness.stats.numbers import CONFIDENCE, Floats, z_quantile

LEAST_CHECKS = 20  # of gold votes and repeats together: at 20, an e of 0.1 is uncertain by about ±0.13
LEAST_COMPARISONS = 20  # between raters, as harness.preferences has it
GRID = np.linspace(0.0, 0.5, 5_001)  # of e; a step is 0.0001
DRAWS = 4_000


class Noise(Record):
    """`error`: chance that a vote is not its rater's view. `clarity`: 1 where everybody means the same, 0 where views
    are even. `agreement`: how often two raters took the same side. Without a fit `error` is None and `refused` says
    why.
    """

    error: float | None = None
    error_low: float | None = None
    error_high: float | None = None
    clarity: float | None = None
    clarity_low: float | None = None
    clarity_high: float | None = None
    agreement: Interval
    comparisons: int
    gold_votes: int
    gold_wrong: int
    repeat_votes: int
    repeat_unlike: int
    note: str = ""
    refused: str = ""
    at_chance: bool = Field(False, description="refused because votes are not shown to be better than chance")


@dataclasses.dataclass(frozen=True)
class _Counts:
    """Of decisive checks: how many, and how many wrong (gold) or unlike (repeats)."""

    gold: int
    wrong: int
    repeats: int
    unlike: int

    @property
    def checks(self) -> int:
        return self.gold + self.repeats


def fit_noise(ballots: Ballots, seed: int = 0, confidence: float = CONFIDENCE) -> Noise:
    """Error and clarity, or a refusal: too few checks or comparisons, agreement or error no better than chance."""
    comparisons, agreement = _agreement(ballots, confidence)
    counts = _Counts(*_wrong(ballots.gold), *_wrong(ballots.repeats))
    habit = _habit(left_rate(ballots))
    found = Noise(
        agreement=agreement,
        comparisons=comparisons,
        gold_votes=counts.gold,
        gold_wrong=counts.wrong,
        repeat_votes=counts.repeats,
        repeat_unlike=counts.unlike,
    )
    refused, at_chance = _refusal(found, counts)
    if refused:
        return found.model_copy(update={"refused": refused, "at_chance": at_chance})
    used, note = _without_contradiction(counts, habit)
    curves = {each: likelihood(each, habit) for each in {used, counts}}
    curve = curves[used]
    error = float(GRID[curve.argmax()])
    held = [_held(one, confidence) for one in curves.values()]
    low, high = min(low for low, _ in held), max(high for _, high in held)
    if high >= 0.5:
        why = f"gold pairs and repeats do not show that votes are better than chance (error up to {high:.0%})"
        why += ": sharpen guidelines.md, look at the flagged raters"
        return found.model_copy(update={"refused": why, "at_chance": True})
    clarity = _clarity(agreement, error, curve, seed, confidence)
    return found.model_copy(
        update={
            "error": error,
            "error_low": low,
            "error_high": high,
            "clarity": clarity[0],
            "clarity_low": clarity[1],
            "clarity_high": clarity[2],
            "note": note,
        }
    )


def _refusal(found: Noise, counts: _Counts) -> tuple[str, bool]:
    """Why there is no fit ('' for none), and whether it is for votes no better than chance."""
    if counts.checks < LEAST_CHECKS:
        return (
            f"{counts.checks} gold votes and repeats; {LEAST_CHECKS} are needed to tell error from real ambiguity: "
            "give the campaign gold pairs and repeats"
        ), False
    if found.comparisons < LEAST_COMPARISONS:
        return (
            f"{found.comparisons} comparisons between raters; {LEAST_COMPARISONS} are needed: widen the overlap",
            False,
        )
    low = found.agreement.low
    if low is None or low <= 0.5:
        share = found.agreement.estimate or 0.0
        return (
            f"raters agree on {share:.0%} of comparisons, not shown to be more than by chance: "
            "do not train on these votes; sharpen guidelines.md and rate again"
        ), True
    return "", False


def _agreement(ballots: Ballots, confidence: float) -> tuple[int, Interval]:
    """(comparisons, share of two decisive votes on one pair that are alike), every comparison with equal weight.

    Raters are crossed in a comparison, so clusters are those of prompts alone.
    """
    cast, number = ballots.cast, len(ballots.shown.ids)
    rows = decisive(ballots)
    for_a = np.bincount(cast.pair[rows & (cast.view == A)], minlength=number).astype(np.float64)
    votes = np.bincount(cast.pair[rows], minlength=number).astype(np.float64)
    of_two = votes * (votes - 1) / 2
    alike = (for_a * (for_a - 1) + (votes - for_a) * (votes - for_a - 1)) / 2
    kept = of_two > 0
    cluster = ballots.shown.cluster[kept]
    one = np.zeros(len(cluster), dtype=np.intp)
    share = weighted_mean(alike[kept] / of_two[kept], of_two[kept], cluster, one, confidence)
    return int(of_two.sum()), share.model_copy(update={"note": "" if share.low is not None else share.note})


def _wrong(checks: Checks) -> tuple[int, int]:
    """(how many, how many wrong) of decisive checks."""
    return int(checks.decisive.sum()), int((checks.decisive & ~checks.right).sum())


def likelihood(counts: _Counts, habit: float) -> Floats:
    """Log-likelihood of gold and repeats at every e of GRID."""
    found = np.zeros(len(GRID))
    unlike = unlike_at(GRID, habit)
    for items, hits, chance in (
        (counts.gold, counts.wrong, GRID),
        (counts.repeats, counts.unlike, unlike),
    ):
        with np.errstate(divide="ignore", invalid="ignore"):
            found += hits * np.log(chance) if hits else 0.0
            found += (items - hits) * np.log(1 - chance) if items > hits else 0.0
    return found


def _held(curve: Floats, confidence: float) -> tuple[float, float]:
    """The values of e that a likelihood-ratio test does not refuse."""
    inside = GRID[2 * (curve.max() - curve) <= z_quantile(confidence) ** 2]
    return float(inside.min()), float(inside.max())


def _habit(left: Interval) -> float:
    """d² of the share of votes for the left, less what its own error adds to a square."""
    if left.estimate is None:
        return 0.0
    return max((2 * left.estimate - 1) ** 2 - (2 * (left.standard_error or 0.0)) ** 2, 0.0)


def unlike_at(error: Floats, habit: float) -> Floats:
    """Chance that a rater's two votes on one pair, sides swapped, differ. A habit of one side needs an e to match."""
    return np.clip((1 - (1 - 2 * error) ** 2 + habit) / 2, 0.0, 1.0)


def _without_contradiction(counts: _Counts, habit: float) -> tuple[_Counts, str]:
    """Gold alone where repeats contradict it (likelihood ratio, 1 %), and what to say of that."""
    gold = dataclasses.replace(counts, repeats=0, unlike=0)
    repeats = dataclasses.replace(counts, gold=0, wrong=0)
    if not gold.checks or not repeats.checks:
        return counts, "from gold pairs alone" if gold.checks else "from repeats alone: an upper bound on unclear pairs"
    apart, alone, together = (likelihood(each, habit) for each in (gold, repeats, counts))
    ratio = 2 * (apart.max() + alone.max() - together.max())
    if ratio <= z_quantile(0.99) ** 2 or gold.checks < LEAST_CHECKS:
        return counts, ""
    said = f"repeats alone say {GRID[alone.argmax()]:.0%}, gold {GRID[apart.argmax()]:.0%}"
    return gold, f"{said}: raters' views waver on unclear pairs, or gold is too easy; gold is used"


def _clarity(
    agreement: Interval, error: float, curve: Floats, seed: int, confidence: float
) -> tuple[float, float, float]:
    """(D, low, high): draws of the agreement (Student's t) and of e (in proportion to its likelihood) together."""
    rng = np.random.default_rng(seed)
    weights = np.exp(curve - curve.max())
    errors = rng.choice(GRID, size=DRAWS, p=weights / weights.sum())
    freedom, spread = agreement.degrees_of_freedom or 1.0, agreement.standard_error or 0.0
    shares = (agreement.estimate or 0.0) + spread * rng.standard_t(freedom, DRAWS)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.clip((2 * shares - 1) / (1 - 2 * errors) ** 2, 0.0, 1.0)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    found = min((2 * (agreement.estimate or 0.0) - 1) / (1 - 2 * error) ** 2, 1.0)
    return found, float(low), float(high)


# --- the label that is used ---------------------------------------------------------------------------------------


def label_error(error: float, clarity: float, tallies: Sequence[tuple[int, int]]) -> float:
    """Expected share of labels that would be the other one, had every vote been what its rater meant.

    `tallies`: (votes for the label, votes against) of each label used; one vote is (1, 0). A majority of clear pairs is
    wrong far less often than one vote; one of unclear pairs hardly less. This, not the share on which people differ, is
    what `label_smoothing` of robust DPO means: real ambiguity is what Bradley-Terry models.

    q of a pair is taken as Beta(s, s) with s = (1/D − 1)/2, so that E[(2q − 1)²] = D. A tie of what was meant counts
    half. Raises InputError for an error outside 0 to 0.5 or a clarity outside 0 to 1, and without labels.
    """
    if not 0 <= error < 0.5 or not 0 <= clarity <= 1 or not tallies:
        raise InputError(f"no label error for an error of {error}, a clarity of {clarity} and {len(tallies)} labels")
    kinds, times = np.unique(np.asarray(tallies, dtype=np.intp), axis=0, return_counts=True)
    shares, prior = _views(clarity)
    wrong = [_wrong_label(error, int(won), int(lost), shares, prior) for won, lost in kinds]
    return float(np.average(wrong, weights=times))


def _views(clarity: float) -> tuple[Floats, Floats]:
    """Values of q and how likely each is: Beta(s, s) at its quantiles."""
    from scipy.special import betaincinv

    if clarity >= 1 - 1e-6:
        return np.array([0.0, 1.0]), np.array([0.5, 0.5])
    if clarity <= 1e-6:
        return np.array([0.5]), np.array([1.0])
    at = (np.arange(400) + 0.5) / 400
    shape = (1 / clarity - 1) / 2
    return betaincinv(shape, shape, at), np.full(400, 1 / 400)


def _wrong_label(error: float, won: int, lost: int, shares: Floats, prior: Floats) -> float:
    """P(what was meant has the other majority | won votes for the label, lost against)."""
    from scipy.stats import binom

    voted = shares * (1 - error) + (1 - shares) * error
    posterior = prior * voted**won * (1 - voted) ** lost
    if posterior.sum() == 0:  # only without error and with clear pairs on which votes differ: the model denies them
        return 0.5
    posterior = posterior / posterior.sum()
    meant_if_won = np.divide(shares * (1 - error), voted, out=np.zeros_like(voted), where=voted > 0)
    meant_if_lost = np.divide(shares * error, 1 - voted, out=np.zeros_like(voted), where=voted < 1)
    meant_if_won, meant_if_lost = meant_if_won.clip(0, 1), meant_if_lost.clip(0, 1)  # rounding
    total = won + lost
    wrong = np.zeros(len(shares))
    for first in range(won + 1):  # how many of the votes for the label meant it
        for second in range(lost + 1):  # and how many of those against
            worth = 1.0 if 2 * (first + second) < total else 0.5 if 2 * (first + second) == total else 0.0
            if worth:
                wrong += worth * binom.pmf(first, won, meant_if_won) * binom.pmf(second, lost, meant_if_lost)
    return math.fsum(posterior * wrong)
