"""Scorers as an evalset makes them: `scored(scorer, answer, options, **item)`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core.records import Score
from harness.evalset import Definition, Evalset, Item
from harness.evaluate.scorers import Answer, Scorer, safe_score, scorers


def evalset_of(scorer: str, options: dict[str, Any] | None, *items: Item) -> Evalset:
    metrics = {"m": {"scorer": scorer, "options": options or {}}}
    definition = Definition.model_validate({"name": "e", "version": 1, "licence": "x", "metrics": metrics})
    return Evalset(folder=Path("e"), definition=definition, items=list(items), sha256="0" * 64)


@pytest.fixture
def made() -> Callable[..., Scorer]:
    """made(scorer, options, *items): the scorer of an evalset of these items."""
    return lambda scorer, options, *items: scorers(evalset_of(scorer, options, *items))["m"]


@pytest.fixture
def scored(made: Callable[..., Scorer]) -> Callable[..., Score]:
    """scored(scorer, answer, options, **fields of the item)."""

    def score(scorer: str, answer: str | Answer, options: dict[str, Any] | None = None, **fields: Any) -> Score:
        item = Item.model_validate({"id": "1", "prompt": "q", **fields})
        return safe_score(made(scorer, options, item), item, answer)

    return score
