"""A look at rows before they leave the lab: e-mail addresses, phone and card numbers, keys, by their form.

By form alone: names and addresses of people are not found, and a few long numbers are taken for phones. Pure.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from harness.core.errors import InputError
from serve.redact import redact_value

KINDS = ("email", "phone", "card", "key")


def scan(rows: Iterable[Any]) -> dict[str, int]:
    """How often each of KINDS occurs in the texts of some JSON values; none that does not occur."""
    found: Counter[str] = Counter()
    for row in rows:
        redact_value(row, found)
    return {kind: found[kind] for kind in KINDS if found[kind]}


def scan_text(text: str) -> dict[str, int]:
    """`scan` of a file's text: JSON lines where it is such, else every line as it stands."""
    rows: list[Any] = []
    for line in text.splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            rows.append(line)
    return scan(rows)


def refuse(found: dict[str, int], what: str, allow: bool) -> None:
    """InputError where something was found in `what` and nobody said that it may be there."""
    if found and not allow:
        raise InputError(
            f"{what} would hold personal data: {said(found)}",
            "take it out of the answers and prompts, or say --allow-pii if it is made up or agreed to",
        )


def said(found: dict[str, int]) -> str:
    """'2 email, 1 card', or 'none found'."""
    return ", ".join(f"{count} {kind}" for kind, count in found.items()) or "none found"
