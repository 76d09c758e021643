"""Small problems made from parts: reading, counting, agreement. A fifth of the combinations is for `tiny_general`."""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass

from experiments.bases.tiny.facts import world
from experiments.data.aac import morphology as m
from experiments.data.aac.lexicon import load_lexicon

ACTIONS = {
    "reads": "a book",
    "kicks": "a ball",
    "eats": "an apple",
    "draws": "a tree",
    "drinks": "milk",
    "washes": "a cup",
    "paints": "a door",
    "buys": "a hat",
    "finds": "a key",
    "carries": "a box",
    "sings": "a song",
    "wears": "a coat",
    "feeds": "a hen",
    "bakes": "a cake",
    "flies": "a kite",
    "opens": "a letter",
}
PLACES = ["kitchen", "garden", "park", "shop", "library", "pool", "zoo", "farm", "bedroom", "school"]
THINGS = ["apple", "ball", "book", "cookie", "egg", "pencil", "stone", "flower", "cup", "key"]
STATES = ["happy", "big", "small", "old", "clean", "dirty", "quiet", "new", "cold", "wet"]
# Where the noun stands: in the corpus, and in the items of tiny_general.
NEAR = ["near the tree", "in the garden", "behind the house", "on the table", "in the box", "under the bed"]

UNSEEN_NEAR = ["next to the door", "beside the lamp", "under the sofa", "behind the chair", "in the kitchen"]


@dataclass(frozen=True)
class Quiz:
    """One problem. `prompt` is raw text that ends right before the answer; `choices[0]` is right."""

    kind: str
    key: str
    cluster: str
    prompt: str
    choices: tuple[str, ...]

    @property
    def held_out(self) -> bool:
        """Whether the corpus must not hold this combination."""
        return zlib.crc32(self.key.encode()) % 5 == 0


def reading(rng: random.Random) -> Quiz:
    """Two people do two things; who does the one that is asked about?"""
    first, second, other, fourth = rng.sample(world()["names"], 4)
    (verb, thing), (verb2, thing2) = rng.sample(sorted(ACTIONS.items()), 2)
    right, wrong = (first, second) if rng.random() < 0.5 else (second, first)
    asked = (verb, thing) if right == first else (verb2, thing2)
    text = f"{first} {verb} {thing} and {second} {verb2} {thing2}.\nQ: Who {asked[0]} {asked[1]}?\nA:"
    key = f"reading:{first}:{verb}:{second}:{verb2}"
    return Quiz("reading", key, f"reading-{asked[0]}", text, (right, wrong, other, fourth))


def whereabouts(rng: random.Random) -> Quiz:
    """Two people are in two places; where is the one that is asked about?"""
    first, second = rng.sample(world()["names"], 2)
    here, there, other, fourth = rng.sample(PLACES, 4)
    asked, right, wrong = (first, here, there) if rng.random() < 0.5 else (second, there, here)
    text = f"{first} is in the {here}. {second} is in the {there}.\nQ: Where is {asked}?\nA:"
    key = f"where:{first}:{here}:{second}:{there}"
    return Quiz("where", key, f"where-{right}", text, tuple(f"in the {p}" for p in (right, wrong, other, fourth)))


def _near_numbers(right: int) -> list[int]:
    """Three wrong numbers close by, so that a guess by size does not do."""
    order = sorted((n for n in range(1, 11) if n != right), key=lambda n: (abs(n - right), n))
    return order[:3]


def counting(rng: random.Random) -> Quiz:
    """Somebody has some things and gets or loses some."""
    numbers, name, thing = world()["numbers"], rng.choice(world()["names"]), rng.choice(THINGS)
    start, change, gains = rng.randint(1, 6), rng.randint(1, 4), rng.random() < 0.6
    if not gains and change >= start:
        gains = True
    result = start + change if gains else start - change
    have = m.plural(thing) if start > 1 else thing
    step = f"gets {numbers[change]} more" if gains else f"loses {numbers[change]}"
    text = f"{name} has {numbers[start]} {have} and {step}.\nQ: How many {m.plural(thing)} does {name} have now?\nA:"
    key = f"counting:{name}:{thing}:{start}:{change}:{gains}"
    choices = (numbers[result], *(numbers[n] for n in _near_numbers(result)))
    return Quiz("counting", key, f"counting-{'plus' if gains else 'minus'}-{result}", text, choices)


def following(rng: random.Random) -> Quiz:
    """Which day, month or number comes next or before? Learnt by heart, except for the wording."""
    kind = rng.choice(["days", "months", "numbers"])
    row = world()[kind]
    at, forward = rng.randrange(1, len(row) - 1), rng.random() < 0.5
    right = row[at + 1] if forward else row[at - 1]
    wrong = [row[at], *rng.sample([w for w in row if w not in (right, row[at])], 2)]
    wording = rng.randrange(3)
    word = "after" if forward else "before"
    text = ["Q: What comes {} {}?\nA:", "Q: Which one is right {} {}?\nA:", "Q: Say what is {} {}.\nA:"][
        wording
    ].format(word, row[at])
    return Quiz("order", f"order:{kind}:{at}:{forward}:{wording}", f"order-{kind}-{word}", text, (right, *wrong))


def agreement(rng: random.Random, places: list[str] = NEAR) -> Quiz:
    """The verb agrees with its subject, not with the noun that stands next to it."""
    nouns = load_lexicon().of("NOUN", ("animal", "toy", "clothes", "thing"))
    noun, near, state = rng.choice(nouns).word, rng.choice(places), rng.choice(STATES)
    many = rng.random() < 0.5
    subject = m.plural(noun, load_lexicon().plurals) if many else noun
    lead = rng.choice(["two", "three", "many"]) if many else rng.choice(["one", "a", "this"])
    lead = m.article(noun) if lead == "a" else lead
    forms = ("are", "is") if many else ("is", "are")
    text = f"{m.capitalise(lead)} {subject} {near}"
    key = f"agreement:{lead}:{noun}:{near}:{state}"
    choices = tuple(f"{form} {state}." for form in (*forms, "am", "be"))
    return Quiz("agreement", key, f"agreement-{lead}-{near.split()[0]}", text, choices)


MAKERS = {"reading": reading, "where": whereabouts, "counting": counting, "order": following, "agreement": agreement}


def corpus_quiz(rng: random.Random, kind: str) -> Quiz:
    """A problem that the corpus may hold."""
    while (quiz := MAKERS[kind](rng)).held_out:
        pass
    return quiz


def held_out_quiz(rng: random.Random, kind: str) -> Quiz:
    """A problem that the corpus never holds."""
    if kind == "agreement":
        return agreement(rng, UNSEEN_NEAR)
    while not (quiz := MAKERS[kind](rng)).held_out:
        pass
    return quiz
