"""Overlap scores against the libraries that define them, by hand where the library is ours, and their corpus parts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.core.records import MetricInfo
from harness.evalset import Item
from harness.evaluate.scorers import Answer, safe_score
from harness.stats import corpus_value

ANSWERS = ["The cat sat on the mat .", "There is a dog in the garden", "", "He said nothing", "rain all day long today"]
GOLDS = [
    ["The cat sat on the mat.", "A cat was sitting on the mat."],
    ["There is a big dog in my garden", "A dog is in the garden"],
    ["Nothing to say here", "Nothing"],
    ["He said nothing", "He was silent"],
    ["it will rain all day", "rain for the whole day"],
]


def test_chrf_by_hand(scored):
    """'abd' against 'abc': 1-grams 2 of 3, 2-grams 1 of 2, 3-grams 0 of 1, and no longer ones on either side.

    Precision = recall = (2/3 + 1/2 + 0) / 3 = 7/18, so F2 is 7/18 too: 38.89 points.
    """
    assert scored("chrf", "abd", gold=["abc"]).value == pytest.approx(100 * 7 / 18)
    assert scored("chrf", " abc ", gold=["xyz", "abc"]).value == 100.0
    assert scored("chrf", "abd", gold=["xyz", "abc"]).value == pytest.approx(100 * 7 / 18), "the nearest gold counts"
    assert scored("chrf", "", gold=["abc"]).value == 0.0


@pytest.mark.parametrize(
    ("scorer", "options", "arguments"),
    [
        ("bleu", {}, {}),
        ("bleu", {"lowercase": True, "tokenize": "intl"}, {"lowercase": True, "tokenize": "intl"}),
        ("chrf", {"corpus": True}, {}),
        ("chrf", {"corpus": True, "word_order": 2}, {"word_order": 2}),
        ("ter", {}, {}),
    ],
)
def test_the_parts_of_all_items_make_sacrebleus_corpus_score(made, scorer, options, arguments):
    from sacrebleu import metrics  # pytest's streams of collection time would stay in it

    library = getattr(metrics, scorer.upper())(**arguments)
    items = [Item(id=str(n), prompt="q", gold=gold) for n, gold in enumerate(GOLDS)]
    score = made(scorer, options, *items)
    parts = [safe_score(score, item, answer).parts for item, answer in zip(items, ANSWERS, strict=True)]
    expected = library.corpus_score([answer.strip() for answer in ANSWERS], list(zip(*GOLDS, strict=True))).score
    summed = [math.fsum(column) for column in zip(*parts, strict=True)]
    assert library._compute_score_from_stats(summed).score == pytest.approx(expected)
    if "word_order" not in options:  # harness.stats computes plain chrF
        assert corpus_value(MetricInfo(unit="points", aggregate=scorer), np.array(parts)) == pytest.approx(expected)


def test_sentence_forms_give_no_parts(scored):
    assert scored("bleu", "a b", {"corpus": False}, gold=["a b"]).parts is None
    assert scored("chrf", "a b", gold=["a b"]).parts is None


def test_ter_by_hand(scored):
    """One word of four to change: 25 points; nothing said: four of four."""
    assert scored("ter", "the cat sat here", gold=["the dog sat here"]).value == pytest.approx(25.0)
    assert scored("ter", "", gold=["the dog sat here"]).value == pytest.approx(100.0)


def test_rouge_l_by_hand_in_any_script(scored):
    """Longest common subsequence 2 of 3 words on both sides: F1 2/3."""
    assert scored("rouge_l", "das rote Haus", gold=["das grüne Haus"]).value == pytest.approx(2 / 3)
    assert scored("rouge_l", "красный дом", gold=["Красный дом!"]).value == 1.0
    assert scored("rouge_l", "houses", {"stem": True}, gold=["house"]).value == 1.0


def test_meteor_matches_stems_and_punishes_pieces(scored):
    """Equal texts of m words: one chunk, so 1 - 0.5 (1/m)^3 (Lavie & Agarwal 2007)."""
    assert scored("meteor", "one two three four", gold=["one two three four"]).value == pytest.approx(1 - 0.5 / 64)
    assert scored("meteor", "walking", gold=["walked"]).value == pytest.approx(0.5)
    assert scored("meteor", "big", gold=["large"]).value == 0.0, "no synonyms without WordNet"


def test_nist_of_short_and_empty_answers(scored):
    """Four different words: each carries log2(4) = 2 bits as a 1-gram, and longer n-grams none: 2."""
    assert scored("nist", "one two three four", gold=["one two three four"]).value == pytest.approx(2.0)
    assert scored("nist", "one", gold=["one two"]).value > 0
    assert scored("nist", "", gold=["one"]).value == 0.0


def test_cider_by_hand(made):
    """Two items whose golds share no word, one gold of two words each.

    An equal answer has cosine 1 for orders 1 and 2, and no vector for 3 and 4: 10 * 2/4 = 5. With one of two words
    right ("red house" against "red car"), both with idf log 2, cosine 1/2 for order 1, 0 for 2: 10 * 0.5/4 = 1.25.
    """
    items = [Item(id="1", prompt="q", gold=["red car"]), Item(id="2", prompt="q", gold=["old man"])]
    score = made("cider", None, *items)
    assert score(items[0], Answer("red cars")).value == pytest.approx(5.0)
    assert score(items[0], Answer("red house")).value == pytest.approx(1.25)
    assert score(items[0], Answer("")).value == 0.0
    shared = [Item(id=str(n), prompt="q", gold=["the same"]) for n in range(3)]
    assert made("cider", None, *shared)(shared[0], Answer("the same")).value == 0.0, "what all share tells nothing"
