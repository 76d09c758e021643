"""Facts of the tiny world: each can be stated and asked in several wordings.

One (fact, wording) pair is held out of the corpus, and is what `tiny_general` asks. The fact itself is in the corpus.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from experiments.data.aac import morphology as m
from experiments.data.aac.lexicon import load_lexicon

WORLD_FILE = Path(__file__).with_name("world.yaml")
NO_ARTICLE = ("snow", "grass", "coal", "milk", "night", "chocolate", "salt", "wood", "honey", "rice", "blood", "soap")
THE = ("sky", "sun", "sea", "night")


@dataclass(frozen=True)
class Fact:
    """`answer` is right for every question; `kind` names what the wrong choices are drawn from."""

    kind: str
    word: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    answer: str

    @property
    def held_out(self) -> int:
        """The number of the question that the corpus never asks about this word."""
        return zlib.crc32(f"{self.kind}:{self.word}".encode()) % len(self.questions)

    def corpus_questions(self) -> list[str]:
        """The questions that the corpus may ask."""
        return [q for n, q in enumerate(self.questions) if n != self.held_out]


@lru_cache(maxsize=1)
def world() -> dict[str, Any]:
    """All tables of `world.yaml` (YAML reads a bare `on` and `off` as truth values; they are put back)."""
    raw = yaml.safe_load(WORLD_FILE.read_text(encoding="utf-8"))
    back = {True: "on", False: "off"}
    raw["opposites"] = [[back.get(w, w) if isinstance(w, bool) else w for w in pair] for pair in raw["opposites"]]
    return raw


def named(word: str) -> str:
    """A noun with the article that a general statement wants: `a dog`, `the sky`, `snow`."""
    if word in THE:
        return f"the {word}"
    return word if word in NO_ARTICLE else f"{m.article(word)} {word}"


def category_members() -> dict[str, list[str]]:
    """answer -> words, from the world file and the AAC lexicon; words in two categories are left to the first."""
    members = {answer: list(words) for answer, words in world()["categories"].items()}
    seen = {word for words in members.values() for word in words}
    for icon in load_lexicon().of("NOUN"):
        answer = world()["lexicon_categories"].get(icon.kind)
        if answer and icon.word not in seen:
            members[answer].append(icon.word)
            seen.add(icon.word)
    return members


def _categories() -> list[Fact]:
    facts = []
    for answer, words in category_members().items():
        for word in words:
            mass = answer in ("a drink", "a colour")
            what = word if mass else named(word)
            facts.append(
                Fact(
                    "category",
                    word,
                    (
                        f"{what} is {answer}.",
                        f"we say that {what} is {answer}.",
                        f"everybody knows that {what} is {answer}.",
                    ),
                    (f"What is {what}?", f"What kind of thing is {what}?", f"Can you say what {what} is?"),
                    answer,
                )
            )
    return facts


def _opposites() -> list[Fact]:
    facts = []
    for left, right in world()["opposites"]:
        for word, answer in ((left, right), (right, left)):
            if any(f.word == word for f in facts):
                continue
            facts.append(
                Fact(
                    "opposite",
                    word,
                    (f"the opposite of {word} is {answer}.", f"if it is not {word}, it is {answer}."),
                    (
                        f"What is the opposite of {word}?",
                        f"Which word is the opposite of {word}?",
                        f"Not {word}, but what?",
                    ),
                    answer,
                )
            )
    return facts


def _colours() -> list[Fact]:
    return [
        Fact(
            "colour",
            word,
            (f"{named(word)} is {colour}.", f"the colour of {named(word)} is {colour}."),
            (f"What colour is {named(word)}?", f"Which colour is {named(word)}?", f"Say the colour of {named(word)}."),
            colour,
        )
        for word, colour in world()["colours"].items()
    ]


def _sounds() -> list[Fact]:
    return [
        Fact(
            "sound",
            word,
            (f"the {word} says {sound}.", f'"{sound.capitalize()}!" says the {word}.'),
            (f"What does the {word} say?", f"Which sound does the {word} make?", f"How does the {word} sound?"),
            sound,
        )
        for word, sound in world()["sounds"].items()
    ]


def _young() -> list[Fact]:
    return [
        Fact(
            "young",
            word,
            (f"a young {word} is {baby}.", f"the baby of the {word} is {baby}."),
            (f"What is a young {word}?", f"What do we call the baby of the {word}?", f"How is a young {word} called?"),
            baby,
        )
        for word, baby in world()["young"].items()
    ]


def _uses() -> list[Fact]:
    return [
        Fact(
            "use",
            word,
            (f"{named(word)} is there to {use}.", f"you need {named(word)} to {use}."),
            (
                f"What can you do with {named(word)}?",
                f"What is {named(word)} for?",
                f"Why do people need {named(word)}?",
            ),
            use,
        )
        for word, use in world()["uses"].items()
    ]


def _workplaces() -> list[Fact]:
    return [
        Fact(
            "workplace",
            word,
            (f"{named(word)} works in {place}.", f"you find {named(word)} in {place}."),
            (
                f"Where does {named(word)} work?",
                f"Where can you find {named(word)}?",
                f"In what place is {named(word)}?",
            ),
            place,
        )
        for word, place in world()["workplaces"].items()
    ]


def _plurals() -> list[Fact]:
    regular = {
        w: m.plural(w)
        for w in (
            "apple",
            "box",
            "cherry",
            "potato",
            "bus",
            "baby",
            "dress",
            "brush",
            "story",
            "fox",
            "boy",
            "key",
            "chair",
            "bench",
        )
    }
    return [
        Fact(
            "plural",
            word,
            (f"one {word}, two {many}.", f"the plural of {word} is {many}."),
            (f"What is the plural of {word}?", f"One {word}, two what?", f"How do you say more than one {word}?"),
            many,
        )
        for word, many in (world()["irregular_plurals"] | regular).items()
    ]


def _pasts() -> list[Fact]:
    facts = []
    for verb in load_lexicon().verbs.values():
        if verb.modal:
            continue
        past = m.past(verb.word, verb.past)
        facts.append(
            Fact(
                "past",
                verb.word,
                (f"today they {verb.word}, yesterday they {past}.", f"the past of {verb.word} is {past}."),
                (
                    f"What is the past of {verb.word}?",
                    f"Today they {verb.word}. Yesterday they what?",
                    f"How do you say {verb.word} in the past?",
                ),
                past,
            )
        )
    return facts


@lru_cache(maxsize=1)
def all_facts() -> tuple[Fact, ...]:
    """Every fact, in a fixed order."""
    parts = (_categories, _opposites, _colours, _sounds, _young, _uses, _workplaces, _plurals, _pasts)
    return tuple(fact for part in parts for fact in part())
