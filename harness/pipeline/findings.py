"""What check found, one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    level: Literal["error", "warning", "ok"]
    topic: str
    text: str
    fix: str = ""
