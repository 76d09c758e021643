"""Write evalsets/general/items.jsonl: four-choice questions on everyday knowledge, reckoning and reading.

    python -m experiments.data.general.build [--root DIR]

The same items every time. Each question stands alone: names,
numbers and facts are drawn anew, and wrong choices are of the same kind as the right one. Guessing gives 1 in 4.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import random
from collections.abc import Callable
from pathlib import Path

from experiments.data.aac.build import ROOT, Row, write
from experiments.data.general.facts import CAPITALS, GROUPS, NAMES, OPPOSITES, PLACES, THINGS, USES

PER_KIND = 40
LETTERS = "ABCD"
DEV_SHARE = 0.2
SEED = 20261120
Draw = random.Random
Question = tuple[str, str, list[str]]  # text, right answer, three wrong ones


def _others(draw: Draw, right: str, among: list[str]) -> list[str]:
    return draw.sample([one for one in dict.fromkeys(among) if one != right], 3)


def _near(draw: Draw, right: int) -> list[str]:
    """Three wrong numbers that a slip could give."""
    slips = [right + step for step in (-11, -10, -2, -1, 1, 2, 10, 11) if right + step >= 0]
    return [str(one) for one in draw.sample(slips, 3)]


def capital(draw: Draw, number: int) -> Question:
    country, right = list(CAPITALS.items())[number]
    return f"What is the capital of {country}?", right, _others(draw, right, list(CAPITALS.values()))


def opposite(draw: Draw, number: int) -> Question:
    word, right = list(OPPOSITES.items())[number]
    return f"Which word means the opposite of '{word}'?", right, _others(draw, right, list(OPPOSITES.values()))


def odd_one(draw: Draw, number: int) -> Question:
    names = list(GROUPS)
    # the step of 3 pairs groups that share no word: no colour is asked among the fruits
    home, away = names[number % len(names)], names[(number * 3 + 1) % len(names)]
    return f"Which of these does not belong to the {home}?", draw.choice(GROUPS[away]), draw.sample(GROUPS[home], 3)


def use(draw: Draw, number: int) -> Question:
    thing, right = list(USES.items())[number % len(USES)]
    if number < len(USES):
        return f"What is {thing} for?", right, _others(draw, right, list(USES.values()))
    return f"What do you need {right}?", thing, _others(draw, thing, list(USES))


def reckoning(draw: Draw, number: int) -> Question:
    if number % 3 == 0:
        a, b = draw.randint(12, 79), draw.randint(12, 79)
        return f"What is {a} + {b}?", str(a + b), _near(draw, a + b)
    if number % 3 == 1:
        a, b = draw.randint(40, 99), draw.randint(11, 39)
        return f"What is {a} - {b}?", str(a - b), _near(draw, a - b)
    a, b = draw.randint(3, 12), draw.randint(3, 12)
    return f"What is {a} times {b}?", str(a * b), _near(draw, a * b)


def word_problem(draw: Draw, number: int) -> Question:
    name, other = draw.sample(NAMES, 2)
    have, more, price = draw.randint(4, 30), draw.randint(2, 15), draw.randint(2, 9)
    if number % 3 == 0:
        text = f"{name} has {have + more} stamps and gives {more} of them to {other}. How many has {name} left?"
        return text, str(have), _near(draw, have)
    if number % 3 == 1:
        text = f"One notebook costs {price} coins. How many coins does {name} pay for {have} notebooks?"
        return text, str(price * have), _near(draw, price * have)
    text = f"{name} read {have} pages on Monday and {more} more pages than that on Tuesday. How many pages in all?"
    return text, str(2 * have + more), _near(draw, 2 * have + more)


def sequence(draw: Draw, number: int) -> Question:
    start, step = draw.randint(1, 20), draw.randint(2, 9)
    row = [start + step * place for place in range(4)] if number % 2 else [start * 2**place for place in range(4)]
    right = row[-1] + step if number % 2 else row[-1] * 2
    return f"Which number comes next: {', '.join(map(str, row))}?", str(right), _near(draw, right)


def calendar(draw: Draw, number: int) -> Question:
    days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    today, later = draw.randrange(7), draw.randint(2, 12)
    right = days[(today + later) % 7]
    return f"Today is {days[today]}. Which day is it {later} days from now?", right, _others(draw, right, days)


def reading(draw: Draw, number: int) -> Question:
    people, places, things = draw.sample(NAMES, 4), draw.sample(PLACES, 4), draw.sample(THINGS, 4)
    told = [f"{who} left {what} in {where}." for who, what, where in zip(people, things, places, strict=True)]
    asked = draw.randrange(4)
    story = " ".join(told)
    if number % 2:
        return f"{story} Where is {things[asked]}?", places[asked], [p for p in places if p != places[asked]]
    return f"{story} Who left {things[asked]}?", people[asked], [p for p in people if p != people[asked]]


def deduction(draw: Draw, number: int) -> Question:
    people = draw.sample(NAMES, 4)
    measure, most, least = [("taller", "tallest", "shortest"), ("older", "oldest", "youngest")][number % 2]
    facts = [f"{a} is {measure} than {b}." for a, b in itertools.pairwise(people)]
    draw.shuffle(facts)
    asked, right = (most, people[0]) if draw.random() < 0.5 else (least, people[-1])
    return f"{' '.join(facts)} Who is the {asked}?", right, [one for one in people if one != right]


KINDS: list[Callable[[Draw, int], Question]] = [
    capital, opposite, odd_one, use, reckoning, word_problem, sequence, calendar, reading, deduction,
]  # fmt: skip


def items() -> list[Row]:
    found = []
    for kind in KINDS:
        draw = Draw(f"{SEED} {kind.__name__}")
        asked: set[tuple[str, ...]] = set()
        for number in range(PER_KIND):
            text, right, wrong = kind(draw, number)
            while (text, right, *sorted(wrong)) in asked:
                text, right, wrong = kind(draw, number)
            asked.add((text, right, *sorted(wrong)))
            found.append(_item(f"{kind.__name__}-{number:02d}", text, right, wrong, draw))
    return found


def _item(name: str, text: str, right: str, wrong: list[str], draw: Draw) -> Row:
    choices = [right, *wrong]
    assert len(set(choices)) == len(LETTERS), (name, choices)
    draw.shuffle(choices)
    lines = [f"{letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=True)]
    prompt = "\n".join([text, *lines, "Answer with one letter: A, B, C or D."])
    share = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32
    gold = LETTERS[choices.index(right)]
    return {"id": name, "split": "dev" if share < DEV_SHARE else "release", "prompt": prompt, "gold": [gold]}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="folder to write below (default: this repository)")
    write(parser.parse_args().root / "evalsets/general/items.jsonl", items())


if __name__ == "__main__":
    main()
