"""The votes of a campaign as columns of numbers, which every figure of the board is worked out from. Pure."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from harness.core.errors import InputError
from harness.core.rating import Pair, Vote
from harness.stats.numbers import Floats, Integers, cluster_index

Bools = npt.NDArray[np.bool_]

VIEWS = ("a", "b", "tie", "both_bad", "skip")
A, B, TIE, BOTH_BAD, SKIP = range(5)
STYLES = ("headers", "lists", "bold")
# Silent reading is 238 words a minute (Brysbaert 2019), about 24 characters a second. Four times that is no reading.
SKIM_CHARACTERS_PER_S = 100.0
LEAST_FLOOR_S = 1.0

_STYLE = {
    "headers": re.compile(r"^#{1,6}\s", re.MULTILINE),
    "lists": re.compile(r"^\s*(?:[-*+]|\d+[.)])\s", re.MULTILINE),
    "bold": re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__"),
}


@dataclasses.dataclass(frozen=True)
class Shown:
    """What was voted on, a row per pair. `a`, `b`: places in `subjects`; `cluster`: 0, 1, …; `inclusion`: 0 to 1.

    `longer`: log2 of the characters of answer a over those of b. `style`: per style of STYLES (columns), (x − y) / (x +
    y) of how often it stands in a and in b, 0 where in neither. `floor_s`: seconds in which nobody reads prompt and
    answers.
    """

    ids: tuple[str, ...]
    subjects: tuple[str, ...]
    a: Integers
    b: Integers
    cluster: Integers
    uniform: Bools
    inclusion: Floats
    longer: Floats
    style: Floats
    floor_s: Floats


@dataclasses.dataclass(frozen=True)
class Cast:
    """Votes on main pairs, a row per vote. `pair`: a row of Shown; `rater`: a place in the raters' names.

    `view`: A, B, TIE, BOTH_BAD or SKIP, by answer; `left_is_a`: answer a stood on the left; `fast`: in less than the
    pair's floor; `seconds`: nan where unknown.
    """

    pair: Integers
    rater: Integers
    view: Integers
    left_is_a: Bools
    seconds: Floats
    fast: Bools


@dataclasses.dataclass(frozen=True)
class Checks:
    """Votes that were checked against something, skips aside, a row per check.

    `right`: the view was the expected one (gold), or the same as before (repeat). `decisive`: both are a or b.
    """

    rater: Integers
    cluster: Integers
    right: Bools
    decisive: Bools


@dataclasses.dataclass(frozen=True)
class Ballots:
    raters: tuple[str, ...]
    shown: Shown
    cast: Cast
    gold: Checks
    repeats: Checks
    spare: int = 0  # second votes of one rater on one pair, which do not count


def tabulate(pairs: Sequence[Pair], votes: Iterable[Vote], names: Mapping[str, str] | None = None) -> Ballots:
    """Columns of a campaign's pairs (of every role) and the votes on them that count (not undone).

    `names`: subject -> what to call it instead.

    Votes on calibration pairs are left out: they teach. Of two votes of a rater on one pair the first counts; the
    others are counted in `spare`. Raises InputError for a vote on a pair that is not among `pairs`, for a repeat of
    one that is not, and for a main pair without an inclusion probability above 0.
    """
    by_id = {pair.pair_id: pair for pair in pairs}
    first: dict[tuple[str, str], Vote] = {}
    spare = 0
    for vote in votes:
        if vote.pair_id not in by_id:
            raise InputError(f"a vote of {vote.rater!r} is on {vote.pair_id!r}, which the campaign does not have")
        spare += first.setdefault((vote.rater, vote.pair_id), vote) is not vote
    raters = tuple(sorted({rater for rater, pair_id in first if by_id[pair_id].role != "calibration"}))
    place = {rater: number for number, rater in enumerate(raters)}
    main = [pair for pair in pairs if pair.role == "main"]
    shown = _shown(main, names or {})
    row = {pair.pair_id: number for number, pair in enumerate(main)}
    of_main = [vote for vote in first.values() if vote.pair_id in row]
    return Ballots(
        raters=raters,
        shown=shown,
        cast=_cast(of_main, row, place, shown.floor_s),
        gold=_gold(first, by_id, place),
        repeats=_repeats(first, by_id, place),
        spare=spare,
    )


def tabulate_all(rated: Mapping[str, tuple[Sequence[Pair], Iterable[Vote]]]) -> Ballots:
    """`tabulate` of several campaigns together: campaign -> (its pairs, its votes). Raters of one name are one person,
    clusters of one name one cluster. Pair ids become `campaign/pair_id`."""
    pairs, votes = [], []
    for campaign, (its_pairs, its_votes) in rated.items():
        for pair in its_pairs:
            of = f"{campaign}/{pair.repeat_of}" if pair.repeat_of else None
            pairs.append(pair.model_copy(update={"pair_id": f"{campaign}/{pair.pair_id}", "repeat_of": of}))
        votes += [vote.model_copy(update={"pair_id": f"{campaign}/{vote.pair_id}"}) for vote in its_votes]
    return tabulate(pairs, votes)


def _shown(pairs: Sequence[Pair], names: Mapping[str, str]) -> Shown:
    for pair in pairs:
        if not 0 < pair.inclusion <= 1:
            raise InputError(
                f"pair {pair.pair_id!r} has the inclusion probability {pair.inclusion}", "above 0, up to 1"
            )
    labels = {answer.subject for pair in pairs for answer in (pair.a, pair.b)}
    subjects = tuple(sorted({names.get(label, label) for label in labels}))
    place = {label: subjects.index(names.get(label, label)) for label in labels}
    return Shown(
        ids=tuple(pair.pair_id for pair in pairs),
        subjects=subjects,
        a=_whole([place[pair.a.subject] for pair in pairs]),
        b=_whole([place[pair.b.subject] for pair in pairs]),
        cluster=cluster_index([pair.cluster for pair in pairs]),
        uniform=np.array([pair.arm == "uniform" for pair in pairs], dtype=bool),
        inclusion=np.array([pair.inclusion for pair in pairs], dtype=np.float64),
        longer=np.array([math.log2((len(p.a.text) or 1) / (len(p.b.text) or 1)) for p in pairs], dtype=np.float64),
        style=np.array([_style(pair) for pair in pairs], dtype=np.float64).reshape(len(pairs), len(STYLES)),
        floor_s=np.array([_floor_s(pair) for pair in pairs], dtype=np.float64),
    )


def _style(pair: Pair) -> list[float]:
    counts = [[len(_STYLE[name].findall(answer.text)) for answer in (pair.a, pair.b)] for name in STYLES]
    return [(one - other) / (one + other) if one + other else 0.0 for one, other in counts]


def _floor_s(pair: Pair) -> float:
    prompt = pair.prompt[-1].get("content", "") if pair.prompt else ""
    characters = len(prompt) + len(pair.a.text) + len(pair.b.text)
    return max(LEAST_FLOOR_S, characters / SKIM_CHARACTERS_PER_S)


def _cast(votes: Sequence[Vote], row: Mapping[str, int], place: Mapping[str, int], floor_s: Floats) -> Cast:
    pair = _whole([row[vote.pair_id] for vote in votes])
    seconds = np.array([math.nan if v.seconds is None else v.seconds for v in votes], dtype=np.float64)
    return Cast(
        pair=pair,
        rater=_whole([place[vote.rater] for vote in votes]),
        view=_whole([VIEWS.index(vote.view) for vote in votes]),
        left_is_a=np.array([vote.left == "a" for vote in votes], dtype=bool),
        seconds=seconds,
        fast=np.asarray(seconds < floor_s[pair]),
    )


def _gold(votes: Mapping[tuple[str, str], Vote], by_id: Mapping[str, Pair], place: Mapping[str, int]) -> Checks:
    rows = []
    for (rater, pair_id), vote in votes.items():
        pair = by_id[pair_id]
        if pair.role == "gold" and pair.expected and vote.view != "skip":
            decisive = pair.expected in ("a", "b") and vote.view in ("a", "b")
            rows.append((place[rater], pair.cluster, vote.view == pair.expected, decisive))
    return _checks(rows)


def _repeats(votes: Mapping[tuple[str, str], Vote], by_id: Mapping[str, Pair], place: Mapping[str, int]) -> Checks:
    rows = []
    for (rater, pair_id), vote in votes.items():
        pair = by_id[pair_id]
        if pair.role != "repeat":
            continue
        before = by_id.get(pair.repeat_of or "")
        if before is None:
            raise InputError(f"pair {pair_id!r} repeats {pair.repeat_of!r}, which the campaign does not have")
        earlier = votes.get((rater, before.pair_id))
        if earlier is None or "skip" in (vote.view, earlier.view):
            continue
        view: str = vote.view
        if pair.a.text != before.a.text:  # the answers are stored the other way round
            view = {"a": "b", "b": "a"}.get(view, view)
        decisive = view in ("a", "b") and earlier.view in ("a", "b")
        rows.append((place[rater], before.cluster, view == earlier.view, decisive))
    return _checks(rows)


def _checks(rows: Sequence[tuple[int, str, bool, bool]]) -> Checks:
    return Checks(
        rater=_whole([row[0] for row in rows]),
        cluster=cluster_index([row[1] for row in rows]),
        right=np.array([row[2] for row in rows], dtype=bool),
        decisive=np.array([row[3] for row in rows], dtype=bool),
    )


def _whole(values: Sequence[int]) -> Integers:
    return np.array(values, dtype=np.intp)
