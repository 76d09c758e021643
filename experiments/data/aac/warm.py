"""The warm style of a frame: the sentence softened inside, in the voice of a small child, by one of several recipes."""

from __future__ import annotations

from experiments.data.aac.frame import Frame
from experiments.data.aac.realise import Touch, say
from experiments.data.aac.warm_words import warm_tables


def mood(frame: Frame) -> str:
    """Which recipes suit: greet, ask, sad, want or say."""
    words = {icon.word for icon in frame.icons}
    if frame.addressee:
        return "greet"
    if frame.question:
        return "ask"
    if frame.negated or words & set(warm_tables()["sad_words"]):
        return "sad"
    return "want" if frame.imperative or words & set(warm_tables()["want_words"]) else "say"


def _lower_first(text: str) -> str:
    """Small first letter, except for *I* and for names."""
    first = text.split()[0].strip(",")
    names = {"Mum", "Dad", "Mummy", "Daddy", "Grandma", "Grandpa", "Granny", "Gramps"}
    return text if first in names or first.split("'")[0] == "I" else text[0].lower() + text[1:]


def warm(frame: Frame, recipe: int) -> str:
    """The frame by recipe number 0..5 of its mood; even recipes add a sweet word. Always soft and never without "!"."""
    feeling = mood(frame)
    touch = Touch(contract=True, pet=True, sweet=recipe % 2 == 0)
    sentence = say(frame, touch)
    body = sentence[:-1]
    text = warm_tables()["recipes"][feeling][recipe].format(s=_lower_first(body), S=body, Q=sentence)
    softened = sentence != say(frame)
    return text if softened else f"{text} {warm_tables()['soft'][feeling]}"


def recipe_count(frame: Frame) -> int:
    """How many recipes there are for this frame."""
    return len(warm_tables()["recipes"][mood(frame)])


def warm_all(frame: Frame) -> list[str]:
    """Every recipe's answer, without repeats, in recipe order."""
    return list(dict.fromkeys(warm(frame, number) for number in range(recipe_count(frame))))
