"""English for people, where several pages and commands say the same."""

from __future__ import annotations


def counted(number: int, what: str) -> str:
    """'1 vote', '2 votes'."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
