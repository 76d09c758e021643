"""What is measured of a pair's texts: length, style, and the time that nobody can read them in. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from harness.core.rating import Pair

STYLES = ("headers", "lists", "bold")
# Silent reading is 238 words a minute (Brysbaert 2019), about 24 characters a second. Four times that is no reading.
SKIM_CHARACTERS_PER_S = 100.0
LEAST_FLOOR_S = 1.0

_STYLE = {
    "headers": re.compile(r"^#{1,6}\s", re.MULTILINE),
    "lists": re.compile(r"^\s*(?:[-*+]|\d+[.)])\s", re.MULTILINE),
    "bold": re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__"),
}


class Measured(NamedTuple):
    """Of one pair; the fields are those of `harness.ratings.ballots.Shown`."""

    longer: float
    style: list[float]
    floor_s: float


class Texts:
    """The texts of a campaign's pairs, each read once to be measured. `read` gives pairs by their ids, in the order
    asked for."""

    def __init__(self, read: Callable[[Iterable[str]], Iterable[Pair]]) -> None:
        self._read = read
        self._known: dict[str, Measured] = {}

    def measured(self, pair_ids: Sequence[str]) -> list[Measured]:
        """Of each of these, in this order."""
        missing = [one for one in pair_ids if one not in self._known]
        self._known.update(zip(missing, map(measure, self._read(missing)), strict=True))
        return [self._known[one] for one in pair_ids]

    def pair(self, pair_id: str) -> Pair:
        return next(iter(self._read([pair_id])))


def measure(pair: Pair) -> Measured:
    longer = math.log2((len(pair.a.text) or 1) / (len(pair.b.text) or 1))
    return Measured(longer, _style(pair), _floor_s(pair))


def _style(pair: Pair) -> list[float]:
    counts = [[len(_STYLE[name].findall(answer.text)) for answer in (pair.a, pair.b)] for name in STYLES]
    return [(one - other) / (one + other) if one + other else 0.0 for one, other in counts]


def _floor_s(pair: Pair) -> float:
    prompt = pair.prompt[-1].get("content", "") if pair.prompt else ""
    characters = len(prompt) + len(pair.a.text) + len(pair.b.text)
    return max(LEAST_FLOOR_S, characters / SKIM_CHARACTERS_PER_S)
