"""The style scorer: gold is 1.0, plain is 0, a constant phrase gets nothing."""

import importlib.util
import json
from pathlib import Path

import pytest

from experiments.data.aac.warm_words import warm_tables

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "evalsets/aac_style"


@pytest.fixture(scope="module")
def scorer():
    spec = importlib.util.spec_from_file_location("aac_style_scorer", FOLDER / "scorer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def items():
    return [json.loads(line) for line in (FOLDER / "items.jsonl").read_text(encoding="utf-8").splitlines()]


def test_gold_scores_one_and_wrong_does_not(scorer, items):
    for item in items:
        for gold in item["gold"]:
            assert scorer.score(item, gold)["value"] == 1.0, (gold, scorer.score(item, gold))
        for wrong in item["wrong"]:
            assert scorer.score(item, wrong)["value"] < 0.7, wrong


def test_plain_is_low_everywhere(scorer, items):
    plain = [scorer.score(item, item["wrong"][0])["value"] for item in items]
    assert max(plain) <= 1 / 3
    assert sum(plain) / len(plain) < 0.05


def test_worked_by_hand(scorer):
    """Two icons, two marks of three (playful, exclaims; nothing soft), one icon heard: 2/3 x 1/2."""
    item = {"content": [["dog", "doggy"], ["sleep", "sleeps"]]}
    assert scorer.score(item, "Yay, the dog runs!")["value"] == pytest.approx(1 / 3, abs=1e-6)
    assert scorer.score(item, "Yay, the doggy sleeps!")["value"] == 1.0
    assert scorer.score(item, "Yay!")["value"] == 0.0
    assert scorer.score(item, "")["value"] == 0.0


def test_negation_is_content(scorer):
    item = {"content": [["I".lower(), "me"], ["not", "n't", "cannot"], ["swim"]]}
    assert scorer.score(item, "Aww, I can't swim!")["value"] == 1.0
    assert scorer.score(item, "Aww, I'm here to swim!")["value"] == pytest.approx(2 / 3, abs=1e-6)


def test_scorer_knows_the_words_of_the_data(scorer):
    """The scorer stands alone, so its lists repeat `warm.yaml`; they must not drift apart."""
    tables = warm_tables()
    assert set(tables["sweets"].values()) <= scorer.SWEET
    for pet in tables["pets"].values():
        assert any(word in pet for word in scorer.PETS), pet
