"""Events for the parent, before anything heavy is imported."""

from __future__ import annotations

import json
import os
from typing import Any


class Events:
    """JSON lines on what was stdout; from here on, stdout itself goes to stderr, where library noise belongs."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def send(self, event: str, **fields: Any) -> None:
        self._out.write(json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n")
        self._out.flush()
