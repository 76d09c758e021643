"""The pretraining corpus: documents by chance from one seed, without anything that an evaluation item holds."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

from experiments.bases.tiny.chat import conversation
from experiments.bases.tiny.copying import copying
from experiments.bases.tiny.facts import all_facts
from experiments.bases.tiny.quiz import MAKERS, corpus_quiz
from experiments.bases.tiny.stories import Sentences, dialogue, story
from experiments.data.aac import morphology as m

SEED = 7
ROOT = Path(__file__).resolve().parents[3]
# Documents by kind: words and sentences first, then mostly looking back, with enough of the rest to keep it.
FIRST_MIX = {"story": 12, "dialogue": 16, "facts": 8, "questions": 22, "quiz": 14, "agreement": 4, "chat": 24}
SECOND_MIX = {
    "story": 4,
    "dialogue": 6,
    "facts": 3,
    "questions": 10,
    "quiz": 10,
    "agreement": 2,
    "chat": 10,
    "copying": 55,
}


def closed_sets(root: Path = ROOT) -> set[frozenset[str]]:
    """Icon sets of the AAC evaluation items; the corpus must not use them."""
    text = (root / "evalsets/aac/items.jsonl").read_text(encoding="utf-8")
    prompts = [json.loads(line)["prompt"] for line in text.splitlines()]
    return {frozenset(w.lower() for w in re.findall(r"\{ (.+?) ; ", prompt)) for prompt in prompts}


def _facts(rng: random.Random) -> str:
    picked = rng.sample(all_facts(), rng.randint(3, 7))
    return " ".join(m.capitalise(rng.choice(fact.statements)) for fact in picked)


def _questions(rng: random.Random) -> str:
    """Raw questions and answers, often several of one kind in a row."""
    pool = all_facts()
    if rng.random() < 0.5:
        kind = rng.choice(sorted({fact.kind for fact in pool}))
        pool = tuple(fact for fact in pool if fact.kind == kind)
    picked = rng.sample(pool, min(len(pool), rng.randint(2, 6)))
    return "\n\n".join(f"Q: {rng.choice(fact.corpus_questions())}\nA: {fact.answer}" for fact in picked)


def _quiz(rng: random.Random) -> str:
    kinds = [kind for kind in sorted(MAKERS) if kind != "agreement"]
    kind = rng.choice(kinds)
    problems = [corpus_quiz(rng, kind if rng.random() < 0.7 else rng.choice(kinds)) for _ in range(rng.randint(1, 5))]
    return "\n\n".join(f"{quiz.prompt} {quiz.choices[0]}" for quiz in problems)


def _agreement(rng: random.Random) -> str:
    problems = [corpus_quiz(rng, "agreement") for _ in range(rng.randint(2, 6))]
    return " ".join(f"{quiz.prompt} {quiz.choices[0]}" for quiz in problems)


def documents(mix: dict[str, int], seed: int = SEED, root: Path = ROOT) -> Iterator[str]:
    """Endless documents of a mix; the same seed gives the same ones."""
    rng = random.Random(seed)
    sentences = Sentences(rng, closed_sets(root))
    makers = {
        "story": story,
        "dialogue": lambda r: dialogue(r, sentences),
        "facts": _facts,
        "questions": _questions,
        "quiz": _quiz,
        "agreement": _agreement,
        "chat": lambda r: conversation(r, sentences),
        "copying": lambda r: copying(r, sentences),
    }
    while True:
        kind = rng.choices(list(mix), list(mix.values()))[0]
        yield makers[kind](rng)


def distinct_sentences(texts: list[str]) -> int:
    """How many different sentences (cut at end marks, line ends and turns) the texts hold."""
    cut = re.compile(r"(?<=[.!?])[\"']?\s+|\n+|<\|\w+\|>")
    return len({part.strip() for text in texts for part in cut.split(text) if part and part.strip()})
