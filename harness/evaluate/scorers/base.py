"""What all scorers share: their form, their options, and how texts are compared.

A scorer is made once per metric, by a maker that reads the metric's options and the whole evalset, and then scores one
answer after another, from several threads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.core.errors import InputError
from harness.core.records import Score
from harness.evalset import Evalset, Item
from harness.evalset.metric import Metric
from harness.evaluate.answer import Answer

Scorer = Callable[[Item, Answer], Score]
Maker = Callable[[Evalset, Metric], Scorer]
EXPLAINED = 300  # characters of an explanation: one line on a screen, not a log
FENCE = re.compile(r"```[\w+-]*[ \t]*\n(.*?)```", re.DOTALL)

Options_T = TypeVar("Options_T", bound="Options")


class Options(BaseModel):
    """`options` of a metric; every key is checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def options_of(model: type[Options_T], metric: Metric) -> Options_T:
    """The metric's options; InputError names the key. The caller puts the metric's name in front."""
    try:
        return model.model_validate(metric.options)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        problem = "unknown key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        known = ", ".join(model.model_fields) or "none"
        at = f"options.{key}" if key else "options"
        raise InputError(f"{at}: {problem}", f"options of {metric.scorer}: {known}") from None


def no_options(metric: Metric) -> None:
    options_of(Options, metric)


def folded(text: str) -> str:
    """Case and white space do not make an answer wrong."""
    return " ".join(text.casefold().split())


def words(text: str) -> list[str]:
    """Runs of letters and digits of any script, folded."""
    return re.findall(r"\w+", text.casefold())


def yes_no(right: bool, explanation: str = "", extracted: str | None = None) -> Score:
    """1 or 0, of unit share."""
    return Score(value=float(right), explanation=explanation[:EXPLAINED], extracted=extracted)


def block_of(text: str) -> str:
    """What stands in the answer's last fenced block, else the whole answer."""
    blocks = FENCE.findall(text)
    return str(blocks[-1]) if blocks else text


def json_of(text: str) -> Any:
    """The JSON value that an answer is, or holds in its last fenced block, or between its first and last bracket.

    ValueError where there is none.
    """
    candidates = [text, block_of(text)]
    candidates += [text[text.find(a) : text.rfind(b) + 1] for a, b in ("{}", "[]") if 0 <= text.find(a) < text.rfind(b)]
    for candidate in candidates:
        try:
            return json.loads(candidate)
        except (ValueError, RecursionError):
            continue
    raise ValueError("no JSON in the answer")
