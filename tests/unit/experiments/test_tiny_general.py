"""The forgetting check: reproducible, and asked in ways that the corpus does not hold."""

import itertools
import json
import random
from pathlib import Path

import pytest
import yaml

from experiments.bases.tiny.corpus import FIRST_MIX, SECOND_MIX, closed_sets, documents
from experiments.bases.tiny.facts import all_facts
from experiments.bases.tiny.general import build
from experiments.bases.tiny.quiz import MAKERS

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "evalsets/tiny_general"


def rows(split: str) -> list[dict]:
    return [json.loads(line) for line in (FOLDER / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_regenerating_gives_the_same_bytes(tmp_path):
    build(tmp_path)
    for split in ("release", "dev"):
        assert (tmp_path / "evalsets/tiny_general" / f"{split}.jsonl").read_bytes() == (
            FOLDER / f"{split}.jsonl"
        ).read_bytes()


def test_items_are_sound():
    for split, least in (("release", 300), ("dev", 150)):
        items = rows(split)
        assert len(items) >= least
        assert len({i["id"] for i in items}) == len(items)
        assert all(len(set(i["choices"])) == 4 and 0 <= i["gold"] < 4 for i in items)
        assert len({i["cluster"] for i in items}) >= 30
    assert not {i["prompt"] for i in rows("dev")} & {i["prompt"] for i in rows("release")}


def test_tasks_name_existing_files():
    for name in ("tiny_general", "tiny_general_dev"):
        task = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
        assert task["task"] == name
        assert (ROOT / task["dataset_kwargs"]["data_files"]["test"]).exists()


def test_the_corpus_does_not_hold_the_items():
    """A few thousand documents: no prompt of an item in them, no reserved icon set in their prompts."""
    text = "\n".join(text for mix in (FIRST_MIX, SECOND_MIX) for text in itertools.islice(documents(mix), 2000))
    prompts = [i["prompt"] for split in ("dev", "release") for i in rows(split)]
    assert not [p for p in prompts if p in text]
    assert len(closed_sets()) == 480
    assert "Say it:" not in text


def test_facts_have_one_wording_held_out():
    facts = all_facts()
    assert len(facts) > 400
    assert all(f.questions[f.held_out] not in f.corpus_questions() for f in facts)


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_problems_have_four_choices(kind):
    rng = random.Random(3)
    assert all(len(set(MAKERS[kind](rng).choices)) == 4 for _ in range(300))


def test_counting_by_hand():
    """Right answers of three problems read back from their text."""
    numbers = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    for seed in range(200):
        quiz = MAKERS["counting"](random.Random(seed))
        first = quiz.prompt.splitlines()[0].rstrip(".").split()
        start, change = numbers.index(first[2]), next(numbers.index(w) for w in first[5:] if w in numbers)
        result = start + change if "gets" in first else start - change
        assert quiz.choices[0] == numbers[result]
