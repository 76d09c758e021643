"""Tasks whose answer stands in the question: repeat, fill in, swap, list. The second part of pretraining uses them.

The first part teaches words and sentences; a model this small then still invents the words of its answer. These tasks
have answers that only copying can give, so that it learns to look back. None turns an icon list into a sentence.
"""

from __future__ import annotations

import random
from functools import lru_cache

from experiments.bases.tiny.chat import Turn, icon_list, render, tale
from experiments.bases.tiny.facts import all_facts, world
from experiments.bases.tiny.quiz import corpus_quiz
from experiments.bases.tiny.stories import Sentences
from experiments.data.aac.lexicon import load_lexicon


@lru_cache(maxsize=1)
def all_words() -> tuple[str, ...]:
    """Every word that may have to be copied, in a fixed order."""
    words = [icon.word for icon in load_lexicon().icons] + [fact.word for fact in all_facts()] + world()["names"]
    return tuple(dict.fromkeys(words))


def _repeat_words(rng: random.Random, _: Sentences) -> Turn:
    text = rng.choice([", ", " "]).join(rng.sample(all_words(), rng.randint(3, 8)))
    return f"{rng.choice(['Repeat', 'Say again', 'Copy'])}: {text}", text


def _repeat_sentence(rng: random.Random, sentences: Sentences) -> Turn:
    text = sentences.plain() if rng.random() < 0.6 else sentences.warm()
    return f"{rng.choice(['Repeat', 'Say again', 'Copy'])}: {text}", text


def _list_icons(rng: random.Random, sentences: Sentences) -> Turn:
    icons = icon_list(rng, sentences)
    shown = " ".join(icon.show() for icon in icons)
    words = [icon.word for icon in icons]
    task, answer = rng.choice(
        [
            ("List the words.", ", ".join(words)),
            ("List the words.", ", ".join(words)),
            ("First icon?", words[0]),
            ("Last icon?", words[-1]),
            ("List the words backwards.", ", ".join(reversed(words))),
        ]
    )
    return f"Icons: {shown}. {task}", answer


def _content(rng: random.Random, sentences: Sentences) -> tuple[str, list[str]]:
    """A plain sentence and those words of its icons that stand in it unchanged."""
    while True:
        frame = sentences.frame()
        text = sentences.of(frame)
        words = [
            i.word for i in frame.icons if i.category in ("NOUN", "ADJECTIVE", "VERB") and text.count(f" {i.word}") == 1
        ]
        if words:
            return text, words


def _fill_in(rng: random.Random, sentences: Sentences) -> Turn:
    text, words = _content(rng, sentences)
    holes = text
    for word in words:
        holes = holes.replace(f" {word}", " _", 1)
    return f"Fill in {', '.join(words)}: {holes}", text


def _swap(rng: random.Random, sentences: Sentences) -> Turn:
    text, words = _content(rng, sentences)
    old, new = rng.choice(words), rng.choice(all_words())
    return f"Say {new} for {old}: {text}", text.replace(f" {old}", f" {new}", 1)


def _look_up(rng: random.Random, _: Sentences) -> Turn:
    quiz = corpus_quiz(rng, rng.choice(["reading", "where"]))
    return quiz.prompt.replace("\nQ:", "").removesuffix("\nA:"), quiz.choices[0]


TASKS = [
    (_repeat_words, 25),
    (_repeat_sentence, 10),
    (_list_icons, 20),
    (_fill_in, 12),
    (_swap, 8),
    (_look_up, 10),
    (tale, 15),
]


def copying(rng: random.Random, sentences: Sentences) -> str:
    """Two to five turns of one task."""
    tasks, weights = zip(*TASKS, strict=True)
    task = rng.choices(tasks, weights)[0]
    return render([task(rng, sentences) for _ in range(rng.randint(2, 5))])
