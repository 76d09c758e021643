"""Figures of the board against numbers worked out by hand or published."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from harness import ratings
from harness.core.errors import InputError
from harness.core.rating import Answer, Outline, Pair, Vote
from harness.ratings.alpha import _alpha, _drawn, _sums
from harness.ratings.clustered import one_way, weighted_mean
from harness.ratings.noise import unlike_at
from harness.stats import mean_interval

# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", C: four observers, twelve units, 0 is missing.
# Its nominal alpha is 0.743.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
    [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
]


def pair(name: str, **changes: object) -> Pair:
    a, b = (Answer(subject=who, model=who, text=f"{who} on {name}") for who in ("x", "y"))
    found = Pair(pair_id=name, item_id=name, cluster=f"c-{name}", prompt=[], a=a, b=b)
    return found.model_copy(update=changes)


def vote(name: str, rater: str, choice: str, left: str = "a", seconds: float | None = None) -> Vote:
    return Vote.model_validate(
        {"assignment": f"c/{name}/{rater}", "campaign": "c", "pair_id": name, "rater": rater, "left": left,
         "choice": choice, "shown_at": "", "at": "", "seconds": seconds}
    )  # fmt: skip


def test_krippendorffs_own_example() -> None:
    table = np.array(OBSERVERS)
    rater, unit = np.nonzero(table)
    found = ratings.alpha_of(unit, table[rater, unit] - 1, np.arange(12))
    assert found.alpha == pytest.approx(0.743, abs=5e-4)
    assert (found.units, found.votes) == (11, 40)  # the twelfth unit was seen by one observer
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.743 < found.high
    counts = np.zeros((12, 5))
    np.add.at(counts, (unit, table[rater, unit] - 1), 1)
    kept = counts[counts.sum(axis=1) >= 2]
    assert _alpha(_sums(kept, np.arange(11)).sum(axis=0)) == pytest.approx(found.alpha)


def test_many_clusters_are_drawn_by_kind_from_the_same_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 1,000 draws of both: means differ by less than 5 standard errors, spreads by less than a fifth."""
    rng = np.random.default_rng(3)
    counts = rng.multinomial(3, [0.5, 0.3, 0.2], size=400).astype(np.float64)
    sums = _sums(counts, np.arange(400))
    one_by_one = _drawn(sums, np.random.default_rng(0))
    monkeypatch.setattr("harness.ratings.alpha.MANY", 0)
    by_kind = _drawn(sums, np.random.default_rng(1))
    spread = one_by_one.std()
    assert abs(one_by_one.mean() - by_kind.mean()) < 5 * spread * np.sqrt(2 / 1000)
    assert by_kind.std() == pytest.approx(spread, rel=0.2)


def test_alpha_without_anything_to_say() -> None:
    assert ratings.board([pair("p")], [vote("p", "ann", "left")]).alpha.note == "no pair was judged by two raters"
    alike = ratings.board([pair("p")], [vote("p", "ann", "left"), vote("p", "bo", "left")]).alpha
    assert (alike.alpha, alike.note) == (None, "every vote is the same, so chance is not defined")


def test_equal_weights_give_the_interval_of_harness_stats() -> None:
    rng = np.random.default_rng(1)
    values, cluster = rng.random(60), rng.integers(9, size=60)
    variance, freedom = one_way((values - values.mean()) / 60, np.ones(60), cluster)
    plain = mean_interval(values.tolist(), [str(each) for each in cluster], unit="any")
    assert (math.sqrt(variance), freedom) == pytest.approx((plain.standard_error, plain.degrees_of_freedom))


def test_one_rater_is_clustered_by_prompts_alone_and_says_so() -> None:
    """Weights 2, 1, 1 of 1, 0, 0.5: (2 + 0.5) / 4 = 0.625."""
    values, weights = np.array([1.0, 0.0, 0.5]), np.array([2.0, 1.0, 1.0])
    found = weighted_mean(values, weights, np.arange(3), np.zeros(3, dtype=np.intp))
    assert found.estimate == 0.625
    assert found.note == "one rater: the interval says nothing of others"


def test_win_rates_weigh_pairs_by_what_they_stand_for() -> None:
    """p: a from two raters, drawn for sure. q: a tie, drawn with 0.25, so it stands for four. r: b, in the other order.

    Weighted: (1 + 4·0.5 + 1·1) / 6 = 2/3 for x, as r has x as its b. Uniform: p and r: 1.
    """
    other = pair("r")
    other = other.model_copy(update={"a": other.b, "b": other.a})
    pairs = [pair("p"), pair("q", inclusion=0.25, arm="informative"), other, pair("unseen")]
    votes = [
        vote("p", "ann", "left"), vote("p", "bo", "right", left="b"), vote("q", "ann", "both_bad"),
        vote("r", "bo", "right"), vote("q", "bo", "skip"), vote("p", "ann", "right"),
    ]  # fmt: skip
    found = ratings.board(pairs, votes)
    (wins,) = found.wins
    assert (wins.subject, wins.against, wins.pairs, wins.votes) == ("x", "y", 3, 4)
    assert wins.weighted.estimate == pytest.approx(2 / 3)
    assert wins.uniform.estimate == 1.0
    assert (found.votes, found.skips, found.second_votes) == (4, 1, 1)
    assert [(one.arm, one.pairs, one.none, one.one, one.more) for one in found.coverage] == [
        ("uniform", 3, 1, 1, 1), ("informative", 1, 0, 1, 0), ("all", 4, 1, 2, 1)
    ]  # fmt: skip
    assert found.left.estimate == pytest.approx(1 / 3)


def test_pairs_without_a_majority_are_to_be_decided() -> None:
    votes = [vote("p", "ann", "left"), vote("p", "bo", "right"), vote("q", "ann", "tie"), vote("q", "bo", "tie")]
    found = ratings.board([pair("p"), pair("q")], votes).disagreements
    assert [(one.pair_id, one.views) for one in found] == [("p", {"a": 1, "b": 1})]


def test_gold_and_repeats_are_checks_and_no_votes() -> None:
    """Ann: gold right; the repeat is stored the other way round, so her b is the same view again. Bo: both wrong."""
    first = pair("p")
    again = pair("again", role="repeat", repeat_of="p", a=first.b, b=first.a)
    gold, shown_first = pair("g", role="gold", expected="a"), pair("k", role="calibration", expected="a")
    votes = [
        vote("p", "ann", "left"), vote("again", "ann", "right"), vote("g", "ann", "left"), vote("k", "ann", "right"),
        vote("p", "bo", "left"), vote("again", "bo", "left"), vote("g", "bo", "tie"),
    ]  # fmt: skip
    found = ratings.board([first, again, gold, shown_first], votes)
    ann, bo = found.raters
    assert (found.votes, ann.votes) == (2, 1)
    assert (ann.gold.share, ann.consistency.share, bo.gold.share, bo.consistency.share) == (1.0, 1.0, 0.0, 0.0)
    assert found.noise.gold_votes == 1  # a tie on a gold pair is inaccurate, but took no side
    assert found.noise.refused.startswith("3 gold votes and repeats; 20 are needed")


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="'elsewhere', which the campaign does not have"):
        ratings.board([pair("p")], [vote("elsewhere", "ann", "left")])
    with pytest.raises(InputError, match="inclusion probability 0"):
        ratings.board([pair("p", inclusion=0.0)], [])
    with pytest.raises(InputError, match="repeats 'gone'"):
        ratings.board([pair("r", role="repeat", repeat_of="gone")], [vote("r", "ann", "left")])
    assert ratings.board([], []).votes == 0
    assert ratings.board([pair("p")], []).strengths.note == "no votes"


def test_strengths_refuse_what_has_no_maximum() -> None:
    votes = [vote("p", "ann", "left"), vote("q", "bo", "left")]
    found = ratings.board([pair("p"), pair("q")], votes).strengths
    assert (found.strengths, found.note) == ([], "y only won or only lost against the others")


def test_the_label_error_of_clear_pairs() -> None:
    """e = 0.1, D = 1. One vote: 0.1. Two to one: the odds are (0.1/0.9)^1, so 0.1 again. Three to none:
    0.001 / (0.001 + 0.729) = 1/730. Three to none beside one vote: the mean."""
    assert ratings.label_error(0.1, 1.0, [(1, 0)]) == pytest.approx(0.1)
    assert ratings.label_error(0.1, 1.0, [(2, 1)]) == pytest.approx(0.1)
    assert ratings.label_error(0.1, 1.0, [(3, 0)]) == pytest.approx(1 / 730)
    assert ratings.label_error(0.1, 1.0, [(3, 0), (1, 0)]) == pytest.approx((0.1 + 1 / 730) / 2)
    assert ratings.label_error(0.0, 0.3, [(2, 1)]) == 0.0
    with pytest.raises(InputError, match="no label error for an error of"):
        ratings.label_error(0.5, 1.0, [(1, 0)])


def test_the_label_error_of_coin_tosses() -> None:
    """D = 0, q = 1/2, e = 0.1, so each vote is meant with 0.9 whatever the others are. One: 0.1, as on clear pairs.
    Three to none: the other majority was meant if two or three slipped: 3·0.01·0.9 + 0.001 = 0.028."""
    assert ratings.label_error(0.1, 0.0, [(1, 0)]) == pytest.approx(0.1)
    assert ratings.label_error(0.1, 0.0, [(3, 0)]) == pytest.approx(0.028)
    between = ratings.label_error(0.1, 0.5, [(3, 0)])
    assert 1 / 730 < between < 0.028
    assert ratings.label_error(0.1, 0.5, [(1, 0)]) == pytest.approx(0.1, abs=1e-6)


def test_a_habit_of_one_side_makes_repeats_differ() -> None:
    """A rater who always takes the left answer errs on half of the pairs and never agrees with a swapped repeat."""
    assert unlike_at(np.array([0.5]), 1.0) == pytest.approx([1.0])
    assert unlike_at(np.array([0.1]), 0.0) == pytest.approx([2 * 0.1 * 0.9])


def test_agreement_no_better_than_chance_is_refused() -> None:
    pairs = [pair(f"p{n}") for n in range(60)] + [pair(f"g{n}", role="gold", expected="a") for n in range(30)]
    votes = [vote(f"g{n}", "ann", "left") for n in range(30)]
    votes += [vote(f"p{n}", "ann", "left") for n in range(60)]
    votes += [vote(f"p{n}", "bo", "left" if n % 2 else "right") for n in range(60)]
    noise = ratings.board(pairs, votes).noise
    assert noise.error is None
    assert noise.refused.startswith("raters agree on 50% of comparisons, not shown to be more than by chance")


def test_gold_at_chance_is_refused() -> None:
    """The two agree on everything, but their gold votes are a coin's."""
    pairs = [pair(f"p{n}") for n in range(60)] + [pair(f"g{n}", role="gold", expected="a") for n in range(30)]
    votes = [vote(f"p{n}", who, "left" if n % 2 else "right") for n in range(60) for who in ("ann", "bo")]
    votes += [vote(f"g{n}", "ann", "left" if n % 2 else "right") for n in range(30)]
    assert "do not show that votes are better than chance" in ratings.board(pairs, votes).noise.refused


def test_flags_name_their_test() -> None:
    """Five raters of 40 gold pairs: one gets 20 right, the others 38. Bo took 0.4 s for 36 of 40 votes."""
    pairs = [pair(f"g{n}", role="gold", expected="a") for n in range(40)] + [pair(f"p{n}") for n in range(40)]
    votes = []
    for who in ("ann", "bo", "cy", "di", "ed"):
        right = 20 if who == "ed" else 38
        votes += [vote(f"g{n}", who, "left" if n < right else "right") for n in range(40)]
        votes += [
            vote(f"p{n}", who, "left", "a" if n % 2 else "b", 0.4 if who == "bo" and n < 36 else 9.0) for n in range(40)
        ]
    rows = {row.rater: [flag.test for flag in row.flags] for row in ratings.board(pairs, votes).raters}
    assert rows == {"ann": [], "bo": ["speed"], "cy": [], "di": [], "ed": ["gold"]}


def test_subjects_can_be_hidden() -> None:
    found = ratings.board([pair("p")], [vote("p", "ann", "left")], {"x": "subject 2", "y": "subject 1"})
    assert (found.wins[0].subject, found.wins[0].weighted.estimate) == ("subject 1", 0.0)


def test_two_samples_of_one_subject_are_told_apart_by_their_order() -> None:
    """Answer a is preferred on both pairs; on either side it is the first."""
    one = Answer(subject="aac@v1", model="x", text="one")
    pairs = [pair(name, a=one, b=one.model_copy(update={"text": "two"})) for name in ("p", "q")]
    votes = [vote("p", "ann", "left"), vote("q", "ann", "right", left="b")]
    for names, said in ((None, "aac@v1"), ({"aac@v1": "subject 1"}, "subject 1")):
        (wins,) = ratings.board(pairs, votes, names).wins
        assert (wins.subject, wins.against) == (f"{said}, first answers", f"{said}, second answers")
        assert wins.weighted.estimate == 1


def test_an_outline_with_the_texts_that_were_judged_gives_the_same_columns() -> None:
    """Pairs without a vote are not read, and what hangs on their texts is left empty."""
    drawn = {"p": ("uniform", 1.0), "q": ("informative", 0.5), "r": ("uniform", 0.25), "s": ("uniform", 1.0)}
    pairs = [pair(name, arm=arm, inclusion=chance) for name, (arm, chance) in drawn.items()]
    pairs[2] = pairs[2].model_copy(update={"a": pairs[2].a.model_copy(update={"text": "# longer\n- **by** much"})})
    extra = {"g": pair("g", role="gold", expected="a"), "again": pair("again", role="repeat", repeat_of="q")}
    votes = [vote(name, "ann", "left") for name in ("r", "q", "g", "again")] + [vote("r", "bo", "right")]
    by_id = {one.pair_id: one for one in pairs}
    asked: list[str] = []

    def read(ids: Iterable[str]) -> Iterator[Pair]:
        for one in ids:
            asked.append(one)
            yield by_id[one]

    whole = ratings.tabulate([*pairs, *extra.values()], votes)
    texts = ratings.Texts(read)
    found = ratings.tabulate_outline(Outline.of(pairs), texts, extra, votes)
    assert asked == ["q", "r", "q"]  # the last to see what the repeat repeats
    for part in ("shown", "cast", "gold", "repeats"):
        for name, value in vars(getattr(whole, part)).items():
            np.testing.assert_array_equal(getattr(getattr(found, part), name), value)
    assert found.shown.longer[2] != 0 == found.shown.longer[0]
    assert found.raters == whole.raters
