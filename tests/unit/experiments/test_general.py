"""The general set: reproducible, answerable, and its right answers recomputed where they can be."""

import json
import re
from collections import Counter
from pathlib import Path

from experiments.data.general.build import KINDS, LETTERS, PER_KIND, items

ROOT = Path(__file__).resolve().parents[3]
SUM = re.compile(r"What is (\d+) (\+|-|times) (\d+)\?")
ARITHMETIC = {"+": int.__add__, "-": int.__sub__, "times": int.__mul__}


def choices(item: dict) -> dict[str, str]:
    return dict(line.split(") ", 1) for line in item["prompt"].splitlines() if line[1:3] == ") ")


def test_the_committed_items_are_what_the_script_writes() -> None:
    committed = [json.loads(line) for line in (ROOT / "evalsets/general/items.jsonl").read_text().splitlines()]
    assert committed == items()


def test_every_item_has_four_different_choices_and_one_right_one() -> None:
    found = items()
    assert len(found) == len(KINDS) * PER_KIND == 400
    assert len({item["prompt"] for item in found}) == 400
    for item in found:
        assert "".join(choices(item)) == LETTERS
        assert len(set(choices(item).values())) == 4
        assert item["gold"][0] in LETTERS
    letters = Counter(item["gold"][0] for item in found)
    assert all(70 <= letters[letter] <= 130 for letter in LETTERS), "a constant answer must not win"


def test_sums_are_right() -> None:
    checked = 0
    for item in items():
        if match := SUM.match(item["prompt"]):
            right = ARITHMETIC[match[2]](int(match[1]), int(match[3]))
            assert choices(item)[item["gold"][0]] == str(right)
            checked += 1
    assert checked == PER_KIND
