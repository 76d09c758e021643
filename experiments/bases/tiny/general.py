"""Write the items of `evalsets/tiny_general`: what the tiny base knew before anybody tuned it.

    python -m experiments.bases.tiny.general [--root DIR]

Facts are asked in the one wording that the corpus never used for that word; problems are combinations that it never
held.
"""

from __future__ import annotations

import argparse
import json
import random
import zlib
from pathlib import Path
from typing import Any

from experiments.bases.tiny.facts import Fact, all_facts
from experiments.bases.tiny.quiz import MAKERS, held_out_quiz
from experiments.data.aac import morphology as m

SEED = 5
ROOT = Path(__file__).resolve().parents[3]
PROBLEMS = {"release": 40, "dev": 20}  # per kind of problem
FACTS_PER_KIND = {"release": 45, "dev": 22}  # at most, so that no kind outweighs the others
Row = dict[str, Any]


def _spoilt(fact: Fact) -> list[str]:
    """Wrong forms of the word itself, for the kinds that ask for a form."""
    if fact.kind == "past":
        return [m.ing(fact.word), m.third_person(fact.word), "will " + fact.word]
    if fact.kind == "plural":
        return [m.add_s(fact.word), "many " + fact.word, fact.word + "en", m.article(fact.word) + " " + fact.word]
    return []


def wrong_answers(fact: Fact, rng: random.Random) -> list[str]:
    """Three wrong answers: spoilt forms first, then right answers to other facts of the kind."""
    own = [text for text in _spoilt(fact) if text != fact.answer]
    others = sorted({f.answer for f in all_facts() if f.kind == fact.kind} - {fact.answer, fact.word, *own})
    return [*own[:3], *rng.sample(others, 3)][:3]


def split_of(fact: Fact) -> str:
    """A third of the facts is for `dev`; no fact is in both splits."""
    return "dev" if zlib.crc32(f"split:{fact.kind}:{fact.word}".encode()) % 3 == 0 else "release"


def row(number: int, split: str, kind: str, cluster: str, prompt: str, choices: list[str], rng: random.Random) -> Row:
    """One item; `choices` come with the right one first and are shuffled."""
    order = rng.sample(choices, len(choices))
    return {
        "id": f"{split}-{number:04d}",
        "kind": kind,
        "cluster": cluster,
        "prompt": prompt,
        "choices": order,
        "gold": order.index(choices[0]),
    }


def fact_rows(split: str, rng: random.Random) -> list[tuple[str, str, str, list[str]]]:
    """(kind, cluster, prompt, choices) of the facts; a cluster is a kind with an answer, or a tenth of its words."""
    found = []
    for kind in dict.fromkeys(fact.kind for fact in all_facts()):
        facts = [fact for fact in all_facts() if fact.kind == kind and split_of(fact) == split]
        for fact in rng.sample(facts, min(len(facts), FACTS_PER_KIND[split])):
            group = fact.answer.split()[-1] if kind in ("category", "colour") else zlib.crc32(fact.word.encode()) % 10
            prompt = f"Q: {fact.questions[fact.held_out]}\nA:"
            found.append((kind, f"{kind}-{group}", prompt, [fact.answer, *wrong_answers(fact, rng)]))
    return found


def problem_rows(split: str, rng: random.Random, seen: set[str]) -> list[tuple[str, str, str, list[str]]]:
    """(kind, cluster, prompt, choices) of the problems; `seen` keeps the splits apart."""
    found = []
    for kind in MAKERS:
        # Few held-out orders exist (days, months and numbers in three wordings), so that kind may stay short.
        wanted, tries = PROBLEMS[split], 0
        while wanted and tries < 4_000:
            quiz, tries = held_out_quiz(rng, kind), tries + 1
            if quiz.prompt not in seen and (kind != "order" or _order_split(quiz.key) == split):
                seen.add(quiz.prompt)
                found.append((kind, quiz.cluster, quiz.prompt, list(quiz.choices)))
                wanted -= 1
    return found


def _order_split(key: str) -> str:
    return "dev" if zlib.crc32(b"split:" + key.encode()) % 3 == 0 else "release"


def build(root: Path) -> None:
    """Write `release.jsonl` and `dev.jsonl` below `root`/evalsets/tiny_general."""
    seen: set[str] = set()
    for offset, split in enumerate(PROBLEMS):
        rng = random.Random(SEED + offset)
        parts = fact_rows(split, rng) + problem_rows(split, rng, seen)
        rows = [row(number, split, *part, rng) for number, part in enumerate(parts)]
        text = "".join(json.dumps(entry, ensure_ascii=True) + "\n" for entry in rows)
        path = root / "evalsets/tiny_general" / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="folder to write below (default: this repository)")
    build(parser.parse_args().root)


if __name__ == "__main__":
    main()
