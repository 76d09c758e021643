"""An evalset's own `scorer.py`: `score(item: dict, answer: str) -> {"value", "explanation"}`.

It is run in this process with all rights: it is the evalset's author's code, as a test suite is.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

from harness.core.errors import InputError
from harness.core.records import Score
from harness.evalset import Item
from harness.evalset.metric import FULL_MARKS
from harness.evaluate.answer import Answer
from harness.evaluate.scorers.base import Scorer


def own(path: Path, unit: str) -> Scorer:
    """The scorer in `path`. Values must lie within the range of share or points; of another unit, be finite."""
    if not path.is_file():
        raise InputError(f"{path} does not exist", "write `def score(item, answer) -> dict` there")
    spec = importlib.util.spec_from_file_location(f"ratchet_scorer_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        function = module.score
    except Exception as error:  # somebody's file: anything may go wrong in it
        raise InputError(f"{path}: {type(error).__name__}: {error}", "it must define score(item, answer)") from error
    low, high = (0.0, FULL_MARKS[unit]) if unit in FULL_MARKS else (-math.inf, math.inf)

    def score(item: Item, answer: Answer) -> Score:
        result = function(item.model_dump(by_alias=True), answer.text)
        value = float(result["value"])
        if not (low <= value <= high and math.isfinite(value)):
            bounds = f"within {low:g} to {high:g}" if unit in FULL_MARKS else "a finite number"
            raise ValueError(f"{path.name} gave {value}, which is not {bounds}")
        return Score(value=value, explanation=str(result.get("explanation", "")))

    return score
