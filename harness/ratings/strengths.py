"""Bradley-Terry over several subjects, with what else moves votes as terms: side, length, style. Pure.

    logit P(left wins) = strength(left) − strength(right) + side + length · log2(characters) + style · differences

Ties and both bad count half to each. statsmodels' GLM fits it, weighted by one over the inclusion probability;
errors are clustered by prompts and by raters (Cameron, Gelbach and Miller 2011), never less than either alone, with
Student's t of one less than the fewer of the two. Style terms as in the arena's style control: (x − y) / (x + y) of how
often headers, list items and bold stand in the two answers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.core.records import Record
from harness.ratings.ballots import SKIP, TIE, A, Ballots
from harness.ratings.texts import STYLES
from harness.ratings.wins import took_left
from harness.stats.numbers import CONFIDENCE, Floats, Integers, t_quantile

VOTES_PER_TERM = 10  # of decisive votes, the usual least for a logistic model (Peduzzi et al. 1996)
ENDLESS = 8.0  # logits, odds of 3,000: a maximum-likelihood estimate beyond this has run away


class Term(Record):
    """A coefficient in logits. `odds`: what it multiplies the odds of winning by (`length`: being twice as long)."""

    name: str
    value: float
    low: float
    high: float
    odds: float


class Strengths(Record):
    """Strengths in logits against `reference`, whose own is 0. `ranking` is evalica's, of wins alone, best first.

    `terms` are None and `note` says why where nothing can be fitted; `dropped` names terms that the votes cannot tell.
    """

    reference: str
    strengths: list[Term]
    terms: list[Term]
    ranking: list[tuple[str, float]]
    dropped: list[str]
    votes: int
    note: str = ""


def strengths(ballots: Ballots, reference: str | None = None, confidence: float = CONFIDENCE) -> Strengths:
    """`reference`: by default the subject first in alphabetical order."""
    shown, cast = ballots.shown, ballots.cast
    rows = cast.view != SKIP
    names = list(shown.subjects)
    reference = reference if reference in names else (names[0] if names else "")
    none = Strengths(
        reference=reference, strengths=[], terms=[], ranking=[], dropped=[], votes=int(rows.sum()), note="no votes"
    )
    pair, view, left_is_a = cast.pair[rows], cast.view[rows], cast.left_is_a[rows]
    won = np.where(view >= TIE, 0.5, took_left(ballots)[rows])
    left, right = np.where(left_is_a, shown.a[pair], shown.b[pair]), np.where(left_is_a, shown.b[pair], shown.a[pair])
    if len(names) < 2 or not len(pair):
        return none if len(names) >= 2 else none.model_copy(update={"note": "fewer than two subjects"})
    problem = _not_connected(left, right, won, names)
    if problem:
        return none.model_copy(update={"note": problem})
    ranking = _ranking(left, right, won, names)
    others = [place for place, name in enumerate(names) if name != reference]
    sign = np.where(left_is_a, 1.0, -1.0)
    base = np.column_stack([(left == place).astype(float) - (right == place) for place in others])
    extra = {"side": np.ones(len(pair)), "length": sign * shown.longer[pair]}
    extra |= {name: sign * shown.style[pair, place] for place, name in enumerate(STYLES)}
    kept, dropped = _that_can_be_told(base, extra, int((view <= A + 1).sum()))
    design = np.column_stack([base, *(extra[name] for name in kept)])
    weights = 1 / shown.inclusion[pair]
    fit = _fit(won, design, weights)
    if fit is None and kept:  # a term that decides every vote; what is left may still be told
        kept, dropped = [], list(extra)
        fit = _fit(won, base, weights)
    if fit is None:
        note = "the estimate runs away: one subject wins nearly always"
        return none.model_copy(update={"note": note, "ranking": ranking})
    error, freedom = _errors(fit, shown.cluster[pair], cast.rater[rows])
    reach = error * t_quantile(freedom, confidence)
    labels = [names[place] for place in others] + kept
    terms = [_term(*each) for each in zip(labels, fit.params, reach, strict=True)]
    return none.model_copy(
        update={
            "strengths": terms[: len(others)],
            "terms": terms[len(others) :],
            "ranking": ranking,
            "dropped": dropped,
            "note": "",
        }
    )


def _term(name: str, value: float, reach: float) -> Term:
    value, reach = float(value), float(reach)
    return Term(name=name, value=value, low=value - reach, high=value + reach, odds=float(np.exp(value)))


def _not_connected(left: Integers, right: Integers, won: Floats, names: list[str]) -> str:
    """Why no finite strengths exist (Ford 1957), or ''."""
    from harness.stats.agreement import unconnected

    beats = np.zeros((len(names), len(names)))
    np.add.at(beats, (left, right), won)
    np.add.at(beats, (right, left), 1 - won)
    apart = unconnected(beats)
    return f"{', '.join(names[place] for place in apart)} only won or only lost against the others" if apart else ""


def _ranking(left: Integers, right: Integers, won: Floats, names: list[str]) -> list[tuple[str, float]]:
    import evalica

    winners = np.where(won == 0.5, 0, np.where(won == 1, 1, 2))
    scores = evalica.bradley_terry(
        [names[place] for place in left], [names[place] for place in right], [evalica.Winner(one) for one in winners]
    ).scores
    return [(str(name), float(score)) for name, score in scores.items()]


def _that_can_be_told(base: Floats, extra: dict[str, Floats], decisive: int) -> tuple[list[str], list[str]]:
    """Terms in order that add a direction and for which there are votes enough; and the others."""
    kept: list[str] = []
    dropped: list[str] = []
    columns = base
    for name, column in extra.items():
        wider = np.column_stack([columns, column])
        enough = decisive >= VOTES_PER_TERM * wider.shape[1]
        if enough and np.linalg.matrix_rank(wider) == wider.shape[1]:
            kept.append(name)
            columns = wider
        else:
            dropped.append(name)
    return kept, dropped


def _fit(won: Floats, design: Floats, weights: Floats) -> Any:
    """The GLM's result; None where it has no finite maximum."""
    import warnings

    from statsmodels.api import GLM
    from statsmodels.genmod.families import Binomial
    from statsmodels.tools.sm_exceptions import PerfectSeparationError

    if np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # separation and overflow show in the estimate, which is looked at below
            found = GLM(won, design, family=Binomial(), var_weights=weights / weights.mean()).fit()
    except (PerfectSeparationError, np.linalg.LinAlgError):
        return None
    values = np.asarray(found.params)
    return found if np.isfinite(values).all() and np.abs(values).max() < ENDLESS else None


def _errors(fit: Any, cluster: Integers, rater: Integers) -> tuple[Floats, float]:
    """(standard errors, degrees of freedom), clustered both ways; by prompts alone where one person rated."""
    from statsmodels.stats.sandwich_covariance import cov_cluster, cov_cluster_2groups

    groups, raters = len(np.unique(cluster)), len(np.unique(rater))
    if raters < 2:
        return np.sqrt(np.diag(cov_cluster(fit, cluster))), max(groups - 1, 1)
    if groups < 2:
        return np.sqrt(np.diag(cov_cluster(fit, rater))), max(raters - 1, 1)
    found = [np.diag(one) for one in cov_cluster_2groups(fit, cluster, rater)]
    return np.sqrt(np.maximum.reduce(found)), min(groups, raters) - 1
