"""Which version of a weighted alias answers whom: the same user always the same one, while the weights stand. Pure.

Weighted rendezvous hashing: each version draws a number from a hash of alias, version and user, and the lowest
-ln(u)/weight wins. A version then gets its share of users exactly, and raising one weight moves users to that version
only; nobody changes between the others. (Wang & Ravishankar, "Hash-based virtual hierarchies", 2003; the weights as in
Schindelhauer & Schomaker, "Weighted distributed hash tables", 2005.)
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Mapping
from typing import Any

SESSION_HEADER = "x-session-id"


def pick(name: str, weights: Mapping[int, int], who: str) -> int:
    """The version that answers `who` under the alias `name` (`aac@prod`). Weights of 0 never win."""
    return min((version for version in weights if weights[version] > 0), key=lambda v: _draw(name, v, who) / weights[v])


def sampled(name: str, share: float, who: str) -> bool:
    """Whether `who` belongs to the `share` of users (0 to 1) that `name` stands for; the same answer every time."""
    return share >= 1 or _unit(name, who) < share


def identity(body: Mapping[str, Any], headers: Mapping[str, str], key_id: str | None) -> str:
    """Who asks, for stickiness: OpenAI's `user` field, else the session header, else the key, else nobody twice."""
    user = body.get("user")
    if isinstance(user, str) and user:
        return f"user:{user}"
    if session := headers.get(SESSION_HEADER):
        return f"session:{session}"
    return f"key:{key_id}" if key_id else f"once:{secrets.token_hex(8)}"


def _draw(name: str, version: int, who: str) -> float:
    """An exponentially distributed number of its own for every version and user."""
    return -math.log(_unit(f"{name}:v{version}", who))


def _unit(what: str, who: str) -> float:
    """Uniform in (0, 1), from content only. Lengths are hashed too, so that no two pairs are one text."""
    data = f"{len(what)}:{what}{who}".encode("utf-8", "surrogatepass")
    return (int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") + 0.5) / 2**64
