"""The files of a round, written once: rounds never change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core.errors import InputError
from harness.core.paths import json_lines, write_atomic


def round_files(
    place: Path, rows: Sequence[Mapping[str, Any]], text: str, sft: Sequence[Mapping[str, Any]] = ()
) -> dict[Path, bytes]:
    """Path -> content of everything in a round's folder, in the order of writing: data first, the spec last."""
    written = {place / "sft.jsonl": json_lines(sft)} if sft else {}
    return {place / "pairs.jsonl": json_lines(rows)} | written | {place / f"{place.name}.yaml": text.encode()}


def write_round(
    place: Path, rows: Sequence[Mapping[str, Any]], text: str, sft: Sequence[Mapping[str, Any]] = ()
) -> tuple[Path, Path]:
    """Write `<place>/pairs.jsonl`, then `<place>/<place's name>.yaml`, each whole or not at all; return both paths.

    Edited answers go to `<place>/sft.jsonl` in between, where there are any. Writing the same again changes nothing.
    Raises InputError where other content stands already: rounds never change.
    """
    files = round_files(place, rows, text, sft)
    for path, data in files.items():
        if path.exists() and path.read_bytes() != data:
            raise InputError(f"{path} exists with other content", "choose another folder for this round")
    for path, data in files.items():
        if not path.exists():
            write_atomic(path, data)
    return place / "pairs.jsonl", place / f"{place.name}.yaml"
