"""Content hashes: the same content has the same name on every machine, whatever its path or time.

Idea from marin's `fingerprint.py`: a value without a stable form is an error, never a guess.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

ID_HEX_DIGITS = 12  # 48 bits: a collision among a million ids has odds of about 1 in 500


def canonical(value: Any) -> str:
    """The one JSON text of `value`: sorted keys, no spaces, NaN refused.

    Raises TypeError for anything that JSON has no form for, ValueError for NaN and infinities.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_of(value: Any) -> str:
    """64 hex digits over the canonical JSON of `value`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def short_id(prefix: str, value: Any) -> str:
    """`prefix-xxxxxxxxxxxx`: a content-addressed id, safe as file and model name."""
    return f"{prefix}-{sha256_of(value)[:ID_HEX_DIGITS]}"


def file_sha256(path: Path) -> str:
    """64 hex digits over the bytes of one file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path, patterns: tuple[str, ...] = ("*",)) -> str:
    """64 hex digits over names and bytes of the files in `folder` (not below it) that match `patterns`."""
    files = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return sha256_of({path.name: file_sha256(path) for path in sorted(files)})
