"""Corpus metrics: sacrebleu's and scikit-learn's own values from parts, and what the bootstrap promises."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.intervals import LONG_TAIL, corpus_coverage
from harness.core.errors import EvaluationError
from harness.core.records import MetricInfo
from harness.stats import corpus_difference, corpus_influence, corpus_interval, corpus_value

POINTS = {"unit": "points"}
# The example of sacrebleu's README: three sentences, two references each. BLEU 48.53, chrF2 59.73 are stated there.
SYSTEM = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
REFERENCES = [
    ["The dog bit the man.", "It was not unexpected.", "The man bit him first."],
    ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."],
]


def parts_of(metric, system, references) -> list[list[float]]:
    """sacrebleu's statistics of each sentence."""
    return [[float(x) for x in row] for row in metric._extract_corpus_statistics(system, references)]


def metric_of(name):
    from sacrebleu.metrics import BLEU, CHRF, TER

    return {"bleu": BLEU, "chrf": CHRF, "ter": TER}[name]()


@pytest.mark.parametrize(("name", "published"), [("bleu", 48.53), ("chrf", 59.73)])
def test_sacrebleus_own_example(name, published):
    info = MetricInfo(aggregate=name, **POINTS)
    assert corpus_value(info, parts_of(metric_of(name), SYSTEM, REFERENCES)) == pytest.approx(published, abs=0.005)


WORDS = ["the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree", "quickly", "slowly", "red", "blue"]


def sentences(rng, count, longest) -> list[str]:
    return [" ".join(rng.choice(WORDS, rng.integers(1, longest))) for _ in range(count)]


@pytest.mark.parametrize("name", ["bleu", "chrf", "ter"])
@pytest.mark.parametrize("longest", [3, 6, 15], ids=["no 4-grams", "few", "many"])
def test_a_corpus_is_what_sacrebleu_says(name, longest):
    """20 random corpora each; short ones have orders without a match or without any n-gram."""
    rng, metric, info = np.random.default_rng(longest), metric_of(name), MetricInfo(aggregate=name, **POINTS)
    for _ in range(20):
        system, reference = sentences(rng, 5, longest), sentences(rng, 5, longest)
        found = corpus_value(info, parts_of(metric, system, [reference]))
        assert found == pytest.approx(metric.corpus_score(system, [reference]).score, abs=1e-9)


def test_macro_f1_is_what_scikit_learn_says():
    """Over the classes that occur in gold; -1 is no answer, 3 is a class that nobody asked for."""
    from sklearn.metrics import f1_score

    rng, info = np.random.default_rng(5), MetricInfo(aggregate="macro_f1")
    for _ in range(20):
        gold, guess = rng.integers(0, 3, 30), rng.integers(-1, 4, 30)
        expected = f1_score(gold, guess, labels=np.unique(gold), average="macro", zero_division=0)
        assert corpus_value(info, np.stack([gold, guess], axis=1).tolist()) == pytest.approx(expected)
    assert corpus_value(info.model_copy(update=POINTS), [[0, 0], [1, 1]]) == 100


def example(items=60, clusters=20):
    rng = np.random.default_rng(8)
    gold = rng.integers(0, 3, items)
    sides = [np.stack([gold, np.where(rng.random(items) < good, gold, 0)], axis=1).tolist() for good in (0.8, 0.5)]
    return *sides, [f"c{place % clusters}" for place in range(items)]


@pytest.mark.parametrize("direction", ["up", "down"])
def test_swapping_sides_negates_and_order_does_not_matter(direction):
    a, b, clusters = example()
    info = MetricInfo(aggregate="macro_f1", direction=direction)
    one, other = corpus_difference(info, a, b, clusters), corpus_difference(info, b, a, clusters)
    assert (one.estimate, one.low, one.high) == pytest.approx((-other.estimate, -other.high, -other.low), abs=2e-3)
    assert (one.estimate > 0) == (direction == "up")
    order = np.random.default_rng(1).permutation(len(a))
    again = corpus_difference(info, *([side[i] for i in order] for side in (a, b, clusters)))
    assert (again.estimate, again.low, again.high) == pytest.approx((one.estimate, one.low, one.high))


def test_its_error_is_the_cluster_jackknifes_and_influence_centres_on_the_difference():
    a, b, clusters = example()
    info = MetricInfo(aggregate="macro_f1")
    found, pseudo = corpus_difference(info, a, b, clusters), corpus_influence(info, a, b, clusters)
    assert (len(pseudo), found.method) == (20, "bootstrap")
    assert pseudo.mean() == pytest.approx(found.estimate, abs=0.02)
    assert found.standard_error == pytest.approx(pseudo.std(ddof=1) / np.sqrt(20))
    assert found.low < found.estimate - found.standard_error < found.estimate + found.standard_error < found.high


def test_the_same_text_twice_is_bounded_not_certain():
    a, _, clusters = example()
    found = corpus_difference(MetricInfo(aggregate="macro_f1"), a, a, clusters)
    assert (found.estimate, found.discordant, found.method) == (0.0, 0, "bootstrap+bound")
    assert found.low < -0.1 < 0.1 < found.high  # 20 clusters without a change: ± z²/(20 + z²) = 0.161


def test_one_side_has_an_interval_of_its_own():
    a, _, clusters = example()
    found = corpus_interval(MetricInfo(aggregate="macro_f1"), a, clusters)
    assert found.low < found.estimate < found.high < 1
    assert corpus_interval(MetricInfo(aggregate="macro_f1"), [], []).method == "none"
    assert corpus_difference(MetricInfo(aggregate="bleu"), [], [], []).note.startswith("no items")


@pytest.mark.parametrize(
    ("name", "parts", "why"),
    [
        ("bleu", [[1.0, 2.0]], "needs 10 numbers per item, not \\[2\\]"),
        ("chrf", [[1.0, 2.0]], "three numbers for each order"),
        ("ter", [[1.0, float("nan")]], "not finite"),
        ("rouge", [[1.0]], "no corpus statistic is called 'rouge'"),
    ],
)
def test_parts_that_do_not_fit_are_refused(name, parts, why):
    with pytest.raises(EvaluationError, match=why):
        corpus_value(MetricInfo(aggregate=name), parts)


@pytest.mark.parametrize("sizes", [[6] * 20, LONG_TAIL], ids=["balanced", "unbalanced"])
def test_the_bootstrap_covers_on_twenty_clusters(sizes):
    """250 draws: 95 % is then known to 1.4 points. (1,000 draws of plain percentiles: 92.5 to 93.2 %.)"""
    assert corpus_coverage(sizes, 250, np.random.default_rng(21)) >= 0.915
