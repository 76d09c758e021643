"""API keys: hashed, scoped, expiring."""

from __future__ import annotations

from typing import Literal

from harness.core.records import Record

Scope = Literal["infer", "feedback", "admin"]


class Key(Record):
    """One key as it is stored: never the secret, only its hash."""

    key_id: str
    name: str
    secret_sha256: str
    scopes: list[Scope]
    models: list[str] = []  # names or patterns; empty: all
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    capture: float = 0.0  # the share of calls that is captured
    created: str
    expires: str | None = None
    revoked: str | None = None
