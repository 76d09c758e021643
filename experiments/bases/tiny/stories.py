"""Little stories and talk for the corpus. Every story is put together from parts, in the past tense."""

from __future__ import annotations

import random

from experiments.bases.tiny.facts import world
from experiments.data.aac import morphology as m
from experiments.data.aac.frame import Frame
from experiments.data.aac.lexicon import Lexicon, load_lexicon
from experiments.data.aac.realise import say
from experiments.data.aac.sample import icon_set, sample_frame
from experiments.data.aac.warm import recipe_count, warm

OPENINGS = [
    "One day",
    "One morning",
    "On a sunny day",
    "On a rainy day",
    "After breakfast",
    "In the evening",
    "Last summer",
    "On {day}",
    "In {month}",
    "Before lunch",
    "After school",
    "Early in the morning",
]
PLACES = [
    "to the park",
    "to the zoo",
    "to the farm",
    "to the beach",
    "to the shop",
    "into the garden",
    "into the forest",
    "to the library",
    "to the market",
    "to the playground",
    "to the lake",
    "to the station",
]
MOODS = ["happy", "sad", "tired", "hungry", "excited", "sleepy", "scared", "proud", "lonely", "angry"]
ENDINGS = [
    "It was a good day.",
    "Then they went home.",
    "They were friends.",
    "Everybody laughed.",
    "In the end all was well.",
    "That night {name} slept well.",
    "{name} told {friend} all about it.",
    "They wanted to come again.",
    "{name} was very happy.",
    "{friend} smiled.",
    "What a day it was!",
]
TALK = ["said", "called", "whispered", "answered"]
ADJECTIVES = ["big", "small", "old", "new", "red", "blue", "green", "brown", "yellow", "funny", "pretty", "little"]


def _fill(text: str, rng: random.Random, name: str, friend: str) -> str:
    return text.format(name=name, friend=friend, day=rng.choice(world()["days"]), month=rng.choice(world()["months"]))


def pronoun(name: str) -> str:
    """he or she; the names of the world are split once in `world.yaml`."""
    return "she" if name in world()["girls"] else "he"


def _noun(rng: random.Random, *kinds: str) -> str:
    return rng.choice(load_lexicon().of("NOUN", kinds)).word


def _find(rng: random.Random, name: str, friend: str) -> list[str]:
    thing, colour = _noun(rng, "toy", "thing", "clothes"), rng.choice(ADJECTIVES)
    where = rng.choice(
        ["under a tree", "behind a stone", "near the door", "on the table", "in a box", "next to the pool"]
    )
    he = pronoun(name)
    return [
        f"{name} saw {m.article(colour)} {colour} {thing} {where}.",
        f'"Is this your {thing}?" {he} asked.',
        rng.choice(
            [
                f'"Yes, it is my {thing}. Thank you!" said {friend}.',
                f'"No, I have no {thing}," said {friend}. So {name} took it home.',
                f'"No, but it is pretty," said {friend}.',
            ]
        ),
    ]


def _animal(rng: random.Random, name: str, friend: str) -> list[str]:
    animal, food = _noun(rng, "animal"), _noun(rng, "fruit", "meal")
    mood, he = rng.choice(MOODS), pronoun(name)
    return [
        f"There {he} met {m.article(animal)} {animal}.",
        f"The {animal} was {mood}.",
        rng.choice(
            [
                f"{name} gave the {animal} {m.article(food)} {food}.",
                f"{name} and the {animal} played together.",
                f'"Do not be {mood}," said {name}.',
                f"{friend} wanted to touch the {animal}, but it ran away.",
            ]
        ),
    ]


def _food(rng: random.Random, name: str, friend: str) -> list[str]:
    food, drink = _noun(rng, "fruit", "meal"), _noun(rng, "drink")
    return [
        f"{name} was hungry and {friend} was thirsty.",
        f"{name} ate {m.article(food)} {food}, and {friend} drank some {drink}.",
        rng.choice(
            [
                "It tasted good.",
                f"The {drink} was cold.",
                f'"I like {m.plural(food)}," said {name}.',
                "Soon they were full.",
            ]
        ),
    ]


def _lost(rng: random.Random, name: str, friend: str) -> list[str]:
    thing, place = _noun(rng, "toy", "thing", "clothes"), _noun(rng, "furniture")
    he = pronoun(name)
    return [
        f"{name} could not find the {thing}.",
        f"{m.capitalise(he)} looked in the box and under the {place}.",
        rng.choice(
            [
                f"{friend} found it behind the door.",
                f'"Here it is!" called {friend}.',
                f"It was not there, so {he} was sad.",
                f'"We can look together," said {friend}.',
            ]
        ),
    ]


PLOTS = [_find, _animal, _food, _lost]


def story(rng: random.Random) -> str:
    """Four to nine sentences about two children."""
    name, friend = rng.sample(world()["names"], 2)
    sentences = [_fill(f"{rng.choice(OPENINGS)} {name} and {friend} went {rng.choice(PLACES)}.", rng, name, friend)]
    for plot in rng.sample(PLOTS, rng.randint(1, 2)):
        sentences += plot(rng, name, friend)
    return " ".join([*sentences, _fill(rng.choice(ENDINGS), rng, name, friend)])


class Sentences:
    """Sentences by the AAC realiser, of icon sets that no evaluation item has."""

    def __init__(self, rng: random.Random, closed: set[frozenset[str]]) -> None:
        self.rng, self.closed, self.lexicon = rng, closed, load_lexicon()

    def frame(self) -> Frame:
        """A complete frame whose icon set is not closed."""
        while True:
            frame = sample_frame(self.lexicon, self.rng)
            if frame and icon_set(frame.icons) not in self.closed:
                return frame

    def of(self, frame: Frame) -> str:
        """The plain sentence of a frame."""
        return say(frame)

    def plain(self) -> str:
        return say(self.frame())

    def warm(self) -> str:
        frame = self.frame()
        return warm(frame, self.rng.randrange(recipe_count(frame)))


def nouns_of(lexicon: Lexicon, rng: random.Random, count: int) -> list[str]:
    """Different nouns by chance."""
    return [icon.word for icon in rng.sample(lexicon.of("NOUN"), count)]


def dialogue(rng: random.Random, sentences: Sentences) -> str:
    """A few sentences that people say to one another, some of them small children."""
    name, friend = rng.sample(world()["names"], 2)
    lines = []
    for turn in range(rng.randint(2, 5)):
        speaker = (name, friend)[turn % 2]
        line = sentences.warm() if rng.random() < 0.35 else sentences.plain()
        verb = "asked" if line.endswith("?") else rng.choice(TALK)
        lines.append(f'"{line[:-1] + "," if line.endswith(".") else line}" {verb} {speaker}.')
    return " ".join(lines)
