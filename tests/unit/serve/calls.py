"""Finished calls made by hand."""

from __future__ import annotations

import time
from typing import Any

from serve.keys import Key
from serve.plugin.call import Call


def key(capture: float = 1.0, name: str = "k-1") -> Key:
    return Key(key_id=name, name=name, secret_sha256="0" * 64, scopes=["infer"], capture=capture, created="2026-11-27")


def call(**changes: Any) -> Call:
    """A chat call of one key that was answered by aac@v1 in 0.5 s, first byte after 0.1 s."""
    began = time.monotonic()
    made = Call("/v1/chat/completions", "POST", "req-1", began=began)
    values: dict[str, Any] = {
        "key": key(),
        "body": {
            "model": "aac@v1", "messages": [{"role": "user", "content": "hello"}], "temperature": 0.5, "user": "u1",
            "metadata": {"not": "for us"},
        },
        "asked": "aac", "model": "aac@v1", "alias": "aac@prod", "status": 200, "first_byte": began + 0.1,
        "ended": began + 0.5, "completion_id": "chatcmpl-1", "prompt_tokens": 3, "completion_tokens": 5,
        "finish_reasons": ["stop"], "answer": ["good day"],
    }  # fmt: skip
    for name, value in (values | changes).items():
        setattr(made, name, value)
    return made
