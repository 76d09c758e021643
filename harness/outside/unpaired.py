"""Items that only one of two results has: which, and why that may be. Words only; what they mean is for the gate."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from harness.core.errors import printable

SHOWN = 3  # ids of each side
LONGEST = 40  # characters of an id; it comes from somebody's file
Key = Callable[[str], str]


def unpaired(ours: Collection[str], theirs: Collection[str], names: tuple[str, str]) -> str:
    """A sentence on the items of one side only, with the first of each and the likely reason; '' where there are none.

    `names`: what the two sides are called.
    """
    alone = (_sorted(set(ours) - set(theirs)), _sorted(set(theirs) - set(ours)))
    found = [_some(items, name) for items, name in zip(alone, names, strict=True) if items]
    if not found:
        return ""
    return f"{'; '.join(found)} ({_reason(alone, (len(ours), len(theirs)), names)})"


def _sorted(items: Collection[str]) -> list[str]:
    """As people count: 'q2' before 'q10'."""
    return sorted(
        items, key=lambda item: [(int(part), "") if part[:1].isdecimal() else (-1, part) for part in _parts(item)]
    )


def _parts(item: str) -> list[str]:
    return re.split(r"(\d{1,18})", item)


def _some(items: list[str], name: str) -> str:
    first = ", ".join(repr(printable(item[:LONGEST])) for item in items[:SHOWN])
    more = ", …" if len(items) > SHOWN else ""
    return f"{len(items)} item{'s' * (len(items) != 1)} only in {name}: {first}{more}"


def _reason(alone: tuple[list[str], list[str]], sizes: tuple[int, int], names: tuple[str, str]) -> str:
    ours, theirs = (set(items) for items in alone)
    if not ours or not theirs:
        part, whole = names if not ours else names[::-1]
        return f"{part} has only a part of {whole}'s items: a limit, another split, or a run that did not end?"
    for key, why in KEYS:
        if {key(item) for item in ours} & {key(item) for item in theirs}:
            return why
    if _shifted(alone):
        return "one side seems to count from 0 and the other from 1: then the ids that do match are of different items"
    if len(ours) == sizes[0] and len(theirs) == sizes[1]:
        return "not one id is on both sides: another version of the task, another split, or another numbering?"
    return "another version of the task, or another split?"


def _shifted(alone: tuple[list[str], list[str]]) -> bool:
    """Whether each side has one number that the other lacks, at opposite ends."""
    if len(alone[0]) != 1 or len(alone[1]) != 1:
        return False
    last = [re.fullmatch(r"(.*?)(\d+)", items[0]) for items in alone]
    if last[0] is None or last[1] is None or last[0][1] != last[1][1]:
        return False
    return min(int(last[0][2]), int(last[1][2])) == 0


def _number(item: str) -> str:
    """The number at the end, without leading zeros; what has none stays itself."""
    found = re.search(r"(\d+)$", item)
    return found[1].lstrip("0") or "0" if found else item


KEYS: tuple[tuple[Key, str], ...] = (
    (lambda item: "".join(item.casefold().split()), "the ids differ in case or spaces: write them alike"),
    (
        lambda item: re.sub(r"\d+", lambda found: found[0].lstrip("0") or "0", item),
        "ids with and without leading zeros",
    ),
    (_number, "the ids end in the same numbers but are named differently: write them alike"),
)
