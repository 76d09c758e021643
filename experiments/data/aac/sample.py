"""Icon lists by chance: length Poisson with mean 3, first-page icons and the first verb more likely."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from experiments.data.aac.frame import Frame
from experiments.data.aac.grammar import moves
from experiments.data.aac.lexicon import Icon, Lexicon

MEAN_LENGTH = 3.0
SHORTEST, LONGEST = 2, 7
CORE_WEIGHT = 2.0  # first-page icons are twice as likely
VERB_WEIGHT = 3.0  # once a word stands and until a first verb came
# How much of a chance each kind of move gets before its icons share it: without this the large noun classes
# would swallow the small ones (one negation against three hundred nouns).
SLOT_WEIGHT = {
    "social": 0.5,
    "time_first": 0.4,
    "question": 1.6,
    "imperative": 1.5,
    "forbid": 0.3,
    "subject_owner": 0.8,
    "subject_number": 0.4,
    "subject_adjective": 0.4,
    "negation": 0.9,
    "tense": 0.9,
    "modal": 0.6,
    "time": 0.8,
    "adverb": 0.4,
    "preposition": 0.5,
    "receiver": 1.5,
    "please": 1.0,
    "subject": 4.0,
    "verb": 2.0,
    "object": 4.0,
    "infinitive": 1.0,
}


def poisson(rng: random.Random, mean: float) -> int:
    """One Poisson draw (Knuth's product method; fine for small means)."""
    limit, product, count = math.exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count


def _weights(frame: Frame, slot: str, icons: list[Icon]) -> list[float]:
    verb_now = slot in ("verb", "imperative") and frame.icons and frame.verb is None
    core = frame.lexicon.core
    raw = [CORE_WEIGHT if icon.word in core else 1.0 for icon in icons]
    scale = SLOT_WEIGHT.get(slot, 1.0) * (VERB_WEIGHT if verb_now else 1.0) / sum(raw)
    return [weight * scale for weight in raw]


def step(frame: Frame, rng: random.Random) -> bool:
    """Add one icon by chance; False if the frame takes no more."""
    options: list[tuple[str, Icon]] = []
    weights: list[float] = []
    for slot, icons in moves(frame):
        options += [(slot, icon) for icon in icons]
        weights += _weights(frame, slot, icons)
    if not options:
        return False
    slot, icon = rng.choices(options, weights)[0]
    frame.add(slot, icon)
    return True


def sample_frame(lexicon: Lexicon, rng: random.Random) -> Frame | None:
    """One complete frame, or None where the drawn length could not be met by a sentence."""
    length = min(LONGEST, max(SHORTEST, poisson(rng, MEAN_LENGTH)))
    frame = Frame(lexicon)
    while len(frame.icons) < length and step(frame, rng):
        pass
    for _ in range(2):  # a sentence may need one or two icons more to close
        if frame.complete or not step(frame, rng):
            break
    return frame if frame.complete and len(frame.icons) >= SHORTEST else None


def sample_distinct(lexicon: Lexicon, rng: random.Random, seen: set[frozenset[str]]) -> Iterator[Frame]:
    """Endless frames whose icon sets (order ignored) are in nobody's `seen`; adds each to it."""
    while True:
        frame = sample_frame(lexicon, rng)
        if frame is None:
            continue
        key = icon_set(frame.icons)
        if key not in seen:
            seen.add(key)
            yield frame


def icon_set(icons: list[Icon]) -> frozenset[str]:
    """What two prompts must not share across splits."""
    return frozenset(icon.word.lower() for icon in icons)
