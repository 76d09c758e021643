"""Scorers that look at the answer's text, or at what it cost."""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation
from typing import Literal

from pydantic import Field, field_validator

from harness.core.errors import InputError
from harness.core.records import Score
from harness.evalset import Evalset, Item
from harness.evalset.metric import Metric
from harness.evaluate.answer import Answer
from harness.evaluate.scorers.base import Options, Scorer, folded, no_options, options_of, yes_no

NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?|(?<![\w.])[-+]?\.\d+")


def exact(evalset: Evalset, metric: Metric) -> Scorer:
    """1 if the answer is one of the gold answers, after folding case and white space."""
    no_options(metric)
    return lambda item, answer: yes_no(folded(answer.text) in {folded(gold) for gold in item.gold})


def contains(evalset: Evalset, metric: Metric) -> Scorer:
    """1 if any gold answer stands in the answer, after folding case and white space."""
    no_options(metric)
    return lambda item, answer: yes_no(any(folded(gold) in folded(answer.text) for gold in item.gold))


class RegexOptions(Options):
    pattern: str = ""
    flags: Literal["", "i", "s", "m", "is", "im", "sm", "ism"] = ""
    take: Literal["first", "last"] = "last"

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression ({error})") from None
        return pattern


def regex(evalset: Evalset, metric: Metric) -> Scorer:
    """1 if the pattern (the item's `pattern`, else options.pattern) is found.

    With a group, what the group holds must be one of the gold answers, where the item has any: the usual way to take
    an answer out of a longer text. `take` says which match counts.
    """
    options = options_of(RegexOptions, metric)
    flags = sum({"i": re.IGNORECASE, "s": re.DOTALL, "m": re.MULTILINE}[letter] for letter in options.flags)

    def score(item: Item, answer: Answer) -> Score:
        pattern = item.other("pattern") or options.pattern
        if not pattern:
            raise ValueError("neither the item nor options has a pattern")
        found = list(re.finditer(pattern, answer.text, flags))
        if not found:
            return yes_no(False, "no match")
        match = found[0 if options.take == "first" else -1]
        if not match.re.groups or not item.gold:
            return yes_no(True, extracted=match.group())
        extracted = match.group(1) or ""
        return yes_no(folded(extracted) in {folded(gold) for gold in item.gold}, extracted=extracted)

    return score


class NumericOptions(Options):
    tolerance: float = 0.0
    relative: float = 0.0
    take: Literal["first", "last"] = "last"


def numeric(evalset: Evalset, metric: Metric) -> Scorer:
    """1 if the number in the answer lies within `tolerance`, or `relative` times the gold number, of a gold one.

    Thousands may be set off by commas. `take` says which number of a longer answer counts.
    """
    options = options_of(NumericOptions, metric)

    def score(item: Item, answer: Answer) -> Score:
        found = NUMBER.findall(answer.text)
        if not found:
            return yes_no(False, "no number in the answer")
        text = found[0 if options.take == "first" else -1]
        value, golds = _number(text), [_number(gold) for gold in item.gold]
        # Decimals, so that 0.3 lies within 0.1 of 0.2
        reach = [max(Decimal(str(options.tolerance)), Decimal(str(options.relative)) * abs(gold)) for gold in golds]
        right = any(abs(value - gold) <= by for gold, by in zip(golds, reach, strict=True))
        return yes_no(right, extracted=text)

    return score


def _number(text: str) -> Decimal:
    try:
        return Decimal(text.strip().replace(",", ""))
    except InvalidOperation:
        raise ValueError(f"gold answer {text!r} is not a number") from None


class CountOptions(Options):
    count: Literal["words", "characters", "tokens"] = "words"


def length(evalset: Evalset, metric: Metric) -> Scorer:
    """Length of the answer in words (by white space), characters, or tokens as the server counted all it made."""
    count = options_of(CountOptions, metric).count
    return lambda item, answer: _length(answer.text, answer.completion_tokens, count)


def thinking_length(evalset: Evalset, metric: Metric) -> Scorer:
    """Length of what was thought before the answer, in words or characters; servers do not count its tokens apart."""
    count = options_of(CountOptions, metric).count
    if count == "tokens":
        raise InputError(
            "options.count: servers do not tell the tokens of the thinking alone", "use words or characters"
        )
    return lambda item, answer: _length(answer.thinking, None, count)


def _length(text: str, tokens: int | None, count: str) -> Score:
    if count == "tokens":
        return Score(value=tokens, explanation="" if tokens is not None else "the server counted no tokens")
    return Score(value=float(len(text.split() if count == "words" else text)))


def latency(evalset: Evalset, metric: Metric) -> Scorer:
    """Seconds from request to whole answer, under the evaluation's own concurrency."""
    no_options(metric)

    def score(item: Item, answer: Answer) -> Score:
        seconds = answer.latency_s
        known = seconds is not None and math.isfinite(seconds)
        return Score(value=seconds if known else None, explanation="" if known else "no latency was measured")

    return score


class CostOptions(Options):
    """Prices as vendors list them, in any one currency, per million tokens."""

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)


def cost(evalset: Evalset, metric: Metric) -> Scorer:
    """What the answer cost: the tokens that the server counted, at the prices of `options`, per thousand requests."""
    prices = options_of(CostOptions, metric)

    def score(item: Item, answer: Answer) -> Score:
        if answer.prompt_tokens is None or answer.completion_tokens is None:
            return Score(value=None, explanation="the server counted no tokens")
        per_million = answer.prompt_tokens * prices.prompt + answer.completion_tokens * prices.completion
        return Score(value=per_million / 1000)

    return score
