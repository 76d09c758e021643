"""The votes of a campaign as columns of numbers, which every figure of the board is worked out from. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from harness.core.errors import InputError
from harness.core.rating import Outline, Pair, Vote
from harness.ratings.texts import LEAST_FLOOR_S, STYLES, Measured, Texts
from harness.stats.numbers import Floats, Integers, cluster_index

Bools = npt.NDArray[np.bool_]

VIEWS = ("a", "b", "tie", "both_bad", "skip")
A, B, TIE, BOTH_BAD, SKIP = range(5)


@dataclasses.dataclass(frozen=True)
class Shown:
    """What was voted on, a row per pair. `a`, `b`: places in `subjects`; `cluster`: 0, 1, …; `inclusion`: 0 to 1.

    The rest hangs on texts, and means something only of pairs that have a vote. `longer`: log2 of the characters of
    answer a over those of b. `style`: per style of STYLES (columns), (x − y) / (x + y) of how often it stands in a and
    in b, 0 where in neither. `floor_s`: seconds in which nobody reads prompt and answers.
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
    main = [pair for pair in pairs if pair.role == "main"]
    extra = {pair.pair_id: pair for pair in pairs if pair.role != "main"}
    return tabulate_outline(Outline.of(main), Texts(lambda ids: (by_id[one] for one in ids)), extra, votes, names)


def tabulate_outline(
    outline: Outline,
    texts: Texts,
    extra: Mapping[str, Pair],
    votes: Iterable[Vote],
    names: Mapping[str, str] | None = None,
) -> Ballots:
    """`tabulate` of pairs that are too many to read: `outline` is of all main ones, `texts` are asked for those that
    have a vote; `extra`: the pairs of other roles, by id."""
    row = {pair_id: number for number, pair_id in enumerate(outline.pair_ids)}
    first: dict[tuple[str, str], Vote] = {}
    spare = 0
    for vote in votes:
        if vote.pair_id not in row and vote.pair_id not in extra:
            raise InputError(f"a vote of {vote.rater!r} is on {vote.pair_id!r}, which the campaign does not have")
        spare += first.setdefault((vote.rater, vote.pair_id), vote) is not vote
    of_main = [vote for vote in first.values() if vote.pair_id in row]
    checked = [vote for vote in first.values() if vote.pair_id in extra and extra[vote.pair_id].role != "calibration"]
    raters = tuple(sorted({vote.rater for vote in (*of_main, *checked)}))
    place = {rater: number for number, rater in enumerate(raters)}
    judged = sorted({row[vote.pair_id] for vote in of_main})
    measured = texts.measured([outline.pair_ids[number] for number in judged])
    shown = _shown(outline, dict(zip(judged, measured, strict=True)), names or {})

    def repeated(vote: Vote) -> tuple[Pair, Pair | None]:
        """The repeat that a vote is on, and the pair that it repeats."""
        pair = extra[vote.pair_id]
        before = pair.repeat_of or ""
        return pair, extra.get(before) or (texts.pair(before) if before in row else None)

    return Ballots(
        raters=raters,
        shown=shown,
        cast=_cast(of_main, row, place, shown.floor_s),
        gold=_gold(checked, extra, place),
        repeats=_repeats([vote for vote in checked if extra[vote.pair_id].role == "repeat"], first, repeated, place),
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


def _shown(outline: Outline, judged: Mapping[int, Measured], names: Mapping[str, str]) -> Shown:
    """`judged`: rows that have a vote."""
    inclusion = np.array(outline.inclusion, dtype=np.float64)
    wrong = np.flatnonzero(~((inclusion > 0) & (inclusion <= 1)))
    if len(wrong):
        pair_id, chance = outline.pair_ids[wrong[0]], outline.inclusion[wrong[0]]
        raise InputError(f"pair {pair_id!r} has the inclusion probability {chance}", "above 0, up to 1")
    count = len(inclusion)
    subjects = tuple(sorted({names.get(label, label) for label in outline.subjects}))
    place = _whole([subjects.index(names.get(label, label)) for label in outline.subjects])
    longer, style, floor_s = np.zeros(count), np.zeros((count, len(STYLES))), np.full(count, LEAST_FLOOR_S)
    for row, found in judged.items():
        longer[row], style[row], floor_s[row] = found.longer, found.style, found.floor_s
    return Shown(
        ids=tuple(outline.pair_ids),
        subjects=subjects,
        a=place[_whole(outline.a)],
        b=place[_whole(outline.b)],
        cluster=cluster_index(outline.clusters),
        uniform=np.array(outline.uniform, dtype=bool),
        inclusion=inclusion,
        longer=longer,
        style=style,
        floor_s=floor_s,
    )


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


def _gold(votes: Iterable[Vote], extra: Mapping[str, Pair], place: Mapping[str, int]) -> Checks:
    rows = []
    for vote in votes:
        pair = extra[vote.pair_id]
        if pair.role == "gold" and pair.expected and vote.view != "skip":
            decisive = pair.expected in ("a", "b") and vote.view in ("a", "b")
            rows.append((place[vote.rater], pair.cluster, vote.view == pair.expected, decisive))
    return _checks(rows)


def _repeats(
    votes: Iterable[Vote],
    first: Mapping[tuple[str, str], Vote],
    repeated: Callable[[Vote], tuple[Pair, Pair | None]],
    place: Mapping[str, int],
) -> Checks:
    """`first`: (rater, pair) -> the vote that counts."""
    rows = []
    for vote in votes:
        pair, before = repeated(vote)
        if before is None:
            raise InputError(f"pair {pair.pair_id!r} repeats {pair.repeat_of!r}, which the campaign does not have")
        earlier = first.get((vote.rater, before.pair_id))
        if earlier is None or "skip" in (vote.view, earlier.view):
            continue
        view: str = vote.view
        if pair.a.text != before.a.text:  # the answers are stored the other way round
            view = {"a": "b", "b": "a"}.get(view, view)
        decisive = view in ("a", "b") and earlier.view in ("a", "b")
        rows.append((place[vote.rater], before.cluster, view == earlier.view, decisive))
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
