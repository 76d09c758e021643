"""Classification: which of the labels does the answer name?"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field, field_validator

from harness.core.errors import InputError
from harness.core.records import Score
from harness.evalset import Evalset, Item
from harness.evalset.metric import Metric
from harness.evaluate.answer import Answer
from harness.evaluate.scorers.base import Options, Scorer, folded, options_of

NONE = -1


class LabelOptions(Options):
    labels: Annotated[list[str], Field(min_length=2)]
    take: Literal["only", "first", "last"] = "only"

    @field_validator("labels")
    @classmethod
    def _different(cls, labels: list[str]) -> list[str]:
        if len({folded(label) for label in labels}) < len(labels) or not all(map(folded, labels)):
            raise ValueError("labels must differ by more than case and spaces, and none may be empty")
        return labels


def accuracy(evalset: Evalset, metric: Metric) -> Scorer:
    """1 if the label that the answer names is a gold one.

    An answer that is a label names it. In a longer one labels are looked for as whole words, the longest first ("not
    spam" before "spam"); `take: only` wants exactly one, `first` and `last` settle it where there are several.
    """
    labels, reader = _reader(evalset, metric)

    def score(item: Item, answer: Answer) -> Score:
        named = reader(answer.text)
        golds = {folded(gold) for gold in item.gold}
        right = named != NONE and folded(labels[named]) in golds
        return Score(value=float(right), extracted=None if named == NONE else labels[named])

    return score


def macro_f1(evalset: Evalset, metric: Metric) -> Scorer:
    """Macro-averaged F1 over the corpus. Parts: [index of the gold label, index of the named one], -1 for none.

    `value` is the item's own hit or miss: the corpus statistic has no value for one item.
    """
    labels, reader = _reader(evalset, metric)
    places = {folded(label): place for place, label in enumerate(labels)}
    for item in evalset.items:
        if len(item.gold) != 1:
            raise InputError(f"item {item.id!r} has {len(item.gold)} gold labels", "macro_f1 needs exactly one")

    def score(item: Item, answer: Answer) -> Score:
        gold, named = places[folded(item.gold[0])], reader(answer.text)
        extracted = None if named == NONE else labels[named]
        return Score(value=float(gold == named), extracted=extracted, parts=[float(gold), float(named)])

    return score


def _reader(evalset: Evalset, metric: Metric) -> tuple[list[str], Callable[[str], int]]:
    """The labels, and a function from an answer to the index of the label that it names."""
    options = options_of(LabelOptions, metric)
    places = {folded(label): place for place, label in enumerate(options.labels)}
    for item in evalset.items:
        strange = next((gold for gold in item.gold if folded(gold) not in places), None)
        if strange is not None:
            raise InputError(
                f"item {item.id!r}: gold {strange!r} is no label", f"options.labels: {', '.join(options.labels)}"
            )
    longest_first = sorted(places, key=len, reverse=True)
    pattern = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)")

    def read(text: str) -> int:
        whole = folded(text)
        if whole in places:
            return places[whole]
        found = pattern.findall(whole)
        if not found or (options.take == "only" and len(set(found)) > 1):
            return NONE
        return places[found[-1 if options.take == "last" else 0]]

    return options.labels, read
