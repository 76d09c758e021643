"""New evalsets: a folder that appears whole, checked by whoever knows the scorers before anyone sees it."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from harness.core.errors import InputError
from harness.core.paths import check_name, disk_errors
from harness.evalset import EVALSETS

DEV_SHARE = 0.2


def split_by_hash(cluster: str, dev_share: float = DEV_SHARE) -> str:
    """'dev' or 'release', the same for all items of a cluster and for ever: items added later move none."""
    place = int(hashlib.sha256(cluster.encode()).hexdigest()[:8], 16) / 2**32
    return "dev" if place < dev_share else "release"


def free_folder(name: str) -> Path:
    """Where a new evalset goes; InputError for a bad name or one that is taken."""
    folder = EVALSETS / check_name(name, "evalset")
    if "." in name:
        raise InputError(f"evalset {name!r} is not a valid name", "use a-z, 0-9, '_' and '-'")
    if folder.exists():
        raise InputError(f"{folder} exists", "choose another name, or remove the folder")
    return folder


def create(name: str, files: Mapping[str, str | bytes], proved: Callable[[Path], object]) -> Path:
    """Write `files` (name -> text or bytes) as the folder of evalset `name`, once `proved(folder)` raises nothing."""
    folder = free_folder(name)
    draft = folder.with_name(f".{name}.{os.getpid()}.{secrets.token_hex(4)}")
    with disk_errors(folder):
        try:
            draft.mkdir(parents=True)
            for file, content in files.items():
                (draft / file).write_bytes(content.encode() if isinstance(content, str) else content)
            try:
                proved(draft)
            except InputError as error:  # say it of the folder that people know
                raise InputError(error.problem.replace(str(draft), str(folder)), error.fix) from None
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


def definition_text(values: Mapping[str, Any]) -> str:
    """evalset.yaml, keys in the order given."""
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=110)


def item_lines(items: Sequence[Mapping[str, Any]]) -> str:
    """items.jsonl; empty fields are left out."""
    rows = [{key: value for key, value in item.items() if value not in (None, "", [], {})} for item in items]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
