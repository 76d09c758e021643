"""Retrieved answers without a judge: how much of one text's wording stands in another.

Lexical forms, and named so. They see words, not meaning: a paraphrase looks ungrounded, a negation does not. The
judge's forms (harness.evaluate.judge) read; these cost nothing and never change.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from harness.core.records import Score
from harness.evalset import Evalset, Item
from harness.evalset.metric import Metric
from harness.evaluate.answer import Answer
from harness.evaluate.scorers.base import EXPLAINED, Options, Scorer, options_of, words

# Words that stand in any English text and so support nothing.
COMMON = frozenset(
    words(
        "a an and are as at be been but by can could did do does for from had has have he her his how i if in into is "
        "it its may me my no not of on or our she should so some than that the their them then there these they "
        "this those to was we were what when where which who why will with would you your"
    )
)


class OverlapOptions(Options):
    n: Annotated[int, Field(ge=1, le=4)] = 1


def groundedness_overlap(evalset: Evalset, metric: Metric) -> Scorer:
    """Share of the answer's content n-grams (options.n, default single words) that some context holds.

    Content words are those that are not among the commonest English ones. Idea of the n-gram precision against the
    source: Maynez et al. 2020, Grusky et al. 2018 (coverage).
    """
    size = options_of(OverlapOptions, metric).n

    def score(item: Item, answer: Answer) -> Score:
        if not item.contexts:
            return Score(value=None, explanation="the item has no contexts")
        held = {gram for context in item.contexts for gram in _grams(context, size)}
        return _share(_grams(answer.text, size), held, "not in the contexts")

    return score


def context_relevance_overlap(evalset: Evalset, metric: Metric) -> Scorer:
    """Share of the question's content words that the contexts hold: tells of the retrieval, whatever the answer."""
    size = options_of(OverlapOptions, metric).n

    def score(item: Item, answer: Answer) -> Score:
        if not item.contexts:
            return Score(value=None, explanation="the item has no contexts")
        held = {gram for context in item.contexts for gram in _grams(context, size)}
        return _share(_grams(_question(item), size), held, "not in the contexts")

    return score


def answer_relevance_overlap(evalset: Evalset, metric: Metric) -> Scorer:
    """Share of the question's content words that the answer takes up. Short right answers score low: compare, do not
    read it alone."""
    size = options_of(OverlapOptions, metric).n

    def score(item: Item, answer: Answer) -> Score:
        return _share(_grams(_question(item), size), set(_grams(answer.text, size)), "not taken up")

    return score


def _question(item: Item) -> str:
    return next(turn["content"] for turn in reversed(item.turns) if turn["role"] == "user")


def _grams(text: str, size: int) -> list[tuple[str, ...]]:
    content = [word for word in words(text) if word not in COMMON]
    return [tuple(content[place : place + size]) for place in range(len(content) - size + 1)]


def _share(grams: list[tuple[str, ...]], held: set[tuple[str, ...]], missing: str) -> Score:
    if not grams:
        return Score(value=None, explanation="no content words to look for")
    lacking = [" ".join(gram) for gram in grams if gram not in held]
    explanation = f"{missing}: {', '.join(dict.fromkeys(lacking))}" if lacking else ""
    return Score(value=1 - len(lacking) / len(grams), explanation=explanation[:EXPLAINED])
