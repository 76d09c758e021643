"""Ratchet's table as CSV that spreadsheets open and that comes back as it was."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from harness.spreadsheet import FORMULA

COLUMNS = (
    "campaign", "pair_id", "item_id", "cluster", "prompt", "a", "b", "a_subject", "b_subject", "role", "rater",
    "preferred", "left", "at", "shown_at", "seconds", "reason", "tags", "edit_side", "edit_text", "assignment", "take",
    "expected", "repeat_of", "explanation", "arm", "inclusion", "origin",
)  # fmt: skip


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Lists as JSON. Text that a spreadsheet would compute gets an apostrophe, which `from_cell` takes off."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    writer.writerows([[_cell(row[name]) for name in COLUMNS] for row in rows])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.lstrip("'").startswith(FORMULA) else text


def from_cell(text: str) -> str:
    """A cell's text without the apostrophe of `as_csv`."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(FORMULA) else text
