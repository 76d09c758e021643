"""The words of the warm style, read from `warm.yaml`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

WARM_FILE = Path(__file__).with_name("warm.yaml")


@lru_cache(maxsize=1)
def warm_tables() -> dict[str, Any]:
    """All tables of `warm.yaml`."""
    return yaml.safe_load(WARM_FILE.read_text(encoding="utf-8"))


def pet_name(word: str) -> str:
    """`dog` -> `doggy`; words without a pet name stay."""
    return warm_tables()["pets"].get(word, word)


def sweet_word(kind: str) -> str:
    """The sweet word for a kind of noun, or nothing."""
    return warm_tables()["sweets"].get(kind, "")
