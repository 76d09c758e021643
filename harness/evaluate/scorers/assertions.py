"""Weighted assertion sets: many small checks per item, by the names that promptfoo gave them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from harness.core.errors import InputError
from harness.core.records import Score
from harness.evalset import Assertion, Evalset, Item
from harness.evalset.metric import Metric
from harness.evaluate.answer import Answer
from harness.evaluate.scorers.base import EXPLAINED, Options, Scorer, json_of, options_of
from harness.evaluate.scorers.structured import validator_of

NOT = "not-"
Check = Callable[[str, Any], bool]


def _is_json(text: str, schema: Any) -> bool:
    try:
        value = json_of(text)
    except ValueError:
        return False
    return schema is None or bool(validator_of(schema).is_valid(value))


def _texts(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [one.strip() for one in str(value).split(",")]


# Unlike the scorers `exact` and `contains`, these see case: the i-forms do not.
CHECKS: dict[str, Check] = {
    "equals": lambda text, value: text.strip() == str(value).strip(),
    "contains": lambda text, value: str(value) in text,
    "icontains": lambda text, value: str(value).casefold() in text.casefold(),
    "contains-any": lambda text, value: any(one in text for one in _texts(value)),
    "contains-all": lambda text, value: all(one in text for one in _texts(value)),
    "icontains-any": lambda text, value: any(one.casefold() in text.casefold() for one in _texts(value)),
    "icontains-all": lambda text, value: all(one.casefold() in text.casefold() for one in _texts(value)),
    "starts-with": lambda text, value: text.lstrip().startswith(str(value)),
    "regex": lambda text, value: re.search(str(value), text) is not None,
    "is-json": _is_json,
    "max-words": lambda text, value: len(text.split()) <= int(value),
    "min-words": lambda text, value: len(text.split()) >= int(value),
}
WITHOUT_VALUE = ("is-json",)


class AssertionOptions(Options):
    threshold: Annotated[float | None, Field(gt=0, le=1)] = None


def assertions(evalset: Evalset, metric: Metric) -> Scorer:
    """Weight of the assertions that hold over the weight of all; with `threshold`, 1 where it is reached, else 0."""
    threshold = options_of(AssertionOptions, metric).threshold
    for item in evalset.items:
        for place, one in enumerate(item.assertions):
            problem = why_not(one)
            if problem:
                raise InputError(f"item {item.id!r}: assert.{place}: {problem}", f"types: {', '.join(CHECKS)}, not-…")

    def score(item: Item, answer: Answer) -> Score:
        failed = [one for one in item.assertions if not _holds(one, answer.text)]
        share = 1 - sum(one.weight for one in failed) / sum(one.weight for one in item.assertions)
        explanation = "; ".join(f"{one.type} {one.value!r} does not hold" for one in failed)
        value = share if threshold is None else float(share >= threshold - 1e-9)
        return Score(value=value if failed else 1.0, explanation=explanation[:EXPLAINED])

    return score


def why_not(one: Assertion) -> str:
    """What is wrong with an assertion, or nothing."""
    kind = one.type.removeprefix(NOT)
    if kind not in CHECKS:
        return f"type {one.type!r} is unknown"
    if one.value is None and kind not in WITHOUT_VALUE:
        return f"{one.type} needs a value"
    try:
        CHECKS[kind]("", one.value)
    except (ValueError, TypeError, re.error) as error:
        return f"{one.type}: {error}"
    return ""


def _holds(one: Assertion, text: str) -> bool:
    kind = one.type.removeprefix(NOT)
    return CHECKS[kind](text, one.value) != one.type.startswith(NOT)
