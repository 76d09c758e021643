"""Scorers that compare an answer's words or characters with gold answers, as the usual libraries compute them.

The corpus forms put a segment's sufficient statistics into `Score.parts`; harness.stats adds them up and computes the
corpus value. `value` is then the sentence's own score, for looking at items.
"""

from __future__ import annotations

import importlib
import math
import sys
from collections import Counter
from functools import cache
from typing import Any, Literal

from harness.core.records import Score
from harness.evalset import Evalset, Item
from harness.evalset.metric import Metric
from harness.evaluate.answer import Answer
from harness.evaluate.scorers.base import Options, Scorer, no_options, options_of, words

CIDER_ORDER = 4
CIDER_SCALE = 10.0  # as the MS COCO evaluation reports it
NIST_ORDER = 5


class BleuOptions(Options):
    corpus: bool = True
    tokenize: Literal["13a", "intl", "char", "zh", "none"] = "13a"
    lowercase: bool = False


def bleu(evalset: Evalset, metric: Metric) -> Scorer:
    """BLEU in points (Papineni et al. 2002; sacrebleu). Parts: [sys_len, ref_len, correct 1 to 4, total 1 to 4].

    The sentence form uses effective order, since most sentences share no 4-gram.
    """
    from sacrebleu.metrics import BLEU

    options = options_of(BleuOptions, metric)
    sentence = BLEU(lowercase=options.lowercase, tokenize=options.tokenize, effective_order=True)

    def score(item: Item, answer: Answer) -> Score:
        found = sentence.sentence_score(answer.text.strip(), item.gold)
        parts = [found.sys_len, found.ref_len, *found.counts, *found.totals] if options.corpus else None
        return Score(value=float(found.score), parts=parts)

    return score


class ChrfOptions(Options):
    corpus: bool = False
    word_order: Literal[0, 1, 2] = 0


def chrf(evalset: Evalset, metric: Metric) -> Scorer:
    """Sentence chrF2 in points against the nearest gold answer (Popović 2015, as sacrebleu computes it).

    `word_order: 2` is chrF++. Parts of the corpus form: sacrebleu's statistics per order, [hypothesis, reference,
    matching n-grams] each.
    """
    options = options_of(ChrfOptions, metric)
    library = _chrf(options.word_order)

    def score(item: Item, answer: Answer) -> Score:
        text = answer.text.strip()
        if options.corpus:
            # sacrebleu shows these only to its own resampling; the public result holds the score alone
            (statistics,) = library._extract_corpus_statistics([text], [[gold] for gold in item.gold])
            value = library._compute_score_from_stats(statistics).score
            return Score(value=float(value), parts=[float(one) for one in statistics])
        if text in item.gold:
            return Score(value=100.0)  # what sacrebleu gives for equal strings, without its 0.3 ms
        return Score(value=max(float(library.sentence_score(text, [gold]).score) for gold in item.gold))

    return score


@cache
def _chrf(word_order: int) -> Any:
    from sacrebleu.metrics import CHRF  # 0.2 s that commands without chrF should not pay

    return CHRF(word_order=word_order)


class TerOptions(Options):
    corpus: bool = True
    case_sensitive: bool = False


def ter(evalset: Evalset, metric: Metric) -> Scorer:
    """TER in points, 0 is best (Snover et al. 2006; sacrebleu). Parts: [edits, mean reference length]."""
    from sacrebleu.metrics import TER

    options = options_of(TerOptions, metric)
    library = TER(case_sensitive=options.case_sensitive)

    def score(item: Item, answer: Answer) -> Score:
        found = library.sentence_score(answer.text.strip(), item.gold)
        parts = [float(found.num_edits), float(found.ref_length)] if options.corpus else None
        return Score(value=float(found.score), parts=parts)

    return score


class RougeOptions(Options):
    stem: bool = False


class _Words:
    """rouge-score's own tokenizer drops every letter that is not ASCII."""

    def __init__(self, stem: bool) -> None:
        self._stem = stem

    def tokenize(self, text: str) -> list[str]:
        return _stems(text) if self._stem else words(text)


def rouge_l(evalset: Evalset, metric: Metric) -> Scorer:
    """ROUGE-L F1, a share, against the nearest gold answer (Lin 2004; rouge-score with words of any script)."""
    library = _rouge(options_of(RougeOptions, metric).stem)

    def score(item: Item, answer: Answer) -> Score:
        return Score(value=max(float(library.score(gold, answer.text)["rougeL"].fmeasure) for gold in item.gold))

    return score


@cache
def _rouge(stem: bool) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    # rouge-score imports absl, whose log handler keeps the stderr of this moment and closes it when logging is set up
    # anew (a web server does), unless it is the process's own.
    handler: Any = importlib.import_module("absl.logging").get_absl_handler().python_handler
    handler.setStream(sys.__stderr__)
    return RougeScorer(["rougeL"], tokenizer=_Words(stem))


class _NoSynonyms:
    """Stands for WordNet, whose data is a download: METEOR then matches exact words and stems only."""

    def synsets(self, word: str) -> list[Any]:
        return []


def meteor(evalset: Evalset, metric: Metric) -> Scorer:
    """METEOR, a share, exact and stem stages without WordNet's synonyms (Lavie & Agarwal 2007; nltk).

    So its values lie a little below those published with synonyms; both sides of a comparison are treated alike.
    """
    from nltk.translate.meteor_score import meteor_score

    no_options(metric)

    def score(item: Item, answer: Answer) -> Score:
        golds = [words(gold) for gold in item.gold]
        return Score(value=float(meteor_score(golds, words(answer.text), wordnet=_NoSynonyms())))

    return score


def nist(evalset: Evalset, metric: Metric) -> Scorer:
    """Sentence NIST, without an upper end (Doddington 2002; nltk), n-grams up to 5, or as many as the answer has words.

    A word's information is taken from the item's own gold answers, so means over items are below corpus NIST.
    """
    from nltk.translate.nist_score import sentence_nist

    no_options(metric)

    def score(item: Item, answer: Answer) -> Score:
        said = words(answer.text)
        golds = [gold for gold in map(words, item.gold) if gold]
        if not said or not golds:
            return Score(value=0.0)
        return Score(value=float(sentence_nist(golds, said, min(NIST_ORDER, len(said)))))

    return score


def cider(evalset: Evalset, metric: Metric) -> Scorer:
    """CIDEr, 0 to 10 (Vedantam et al. 2015): mean cosine of tf-idf n-gram vectors, orders 1 to 4, over gold answers.

    Words are stemmed, as in the paper. A document is one item's set of gold answers, and document frequencies are
    those of the whole evalset: with few items, or many alike, every n-gram is common and values are small.
    """
    no_options(metric)
    documents = [{gram for gold in item.gold for gram in _grams(_stems(gold))} for item in evalset.items]
    frequency = Counter(gram for document in documents for gram in document)
    vectors = _Vectors(frequency, len(documents))

    def score(item: Item, answer: Answer) -> Score:
        said = vectors.of(answer.text)
        per_gold = [_cosines(said, vectors.of(gold)) for gold in item.gold]
        return Score(value=CIDER_SCALE * sum(per_gold) / len(per_gold))

    return score


Gram = tuple[str, ...]


class _Vectors:
    """tf-idf vectors per order; an n-gram that no gold answer holds counts as one that one document holds."""

    def __init__(self, frequency: Counter[Gram], documents: int) -> None:
        self._frequency, self._log_documents = frequency, math.log(max(documents, 1))

    def of(self, text: str) -> list[dict[Gram, float]]:
        counts = Counter(_grams(_stems(text)))
        orders: list[dict[Gram, float]] = [{} for _ in range(CIDER_ORDER)]
        for gram, count in counts.items():
            orders[len(gram) - 1][gram] = count * (self._log_documents - math.log(max(self._frequency[gram], 1)))
        return orders


def _cosines(one: list[dict[Gram, float]], other: list[dict[Gram, float]]) -> float:
    return sum(_cosine(a, b) for a, b in zip(one, other, strict=True)) / CIDER_ORDER


def _cosine(a: dict[Gram, float], b: dict[Gram, float]) -> float:
    norm = math.hypot(*a.values()) * math.hypot(*b.values())
    return sum(weight * b.get(gram, 0.0) for gram, weight in a.items()) / norm if norm else 0.0


def _grams(tokens: list[str]) -> list[Gram]:
    return [
        tuple(tokens[start : start + order])
        for order in range(1, CIDER_ORDER + 1)
        for start in range(len(tokens) - order + 1)
    ]


@cache
def _stemmer() -> Any:
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()


def _stems(text: str) -> list[str]:
    return [str(_stemmer().stem(word)) for word in words(text)]
