"""`ratchet keys`: who may use the lab's servers. The secret is printed once and never stored."""

from __future__ import annotations

from typing import Any, get_args

from harness.core.errors import InputError
from harness.core.paths import Lab
from harness.pipeline.usage import KeyUsage, totals
from serve import keys
from serve.keys import Key, Scope


def create(lab: Lab, wanted: dict[str, Any]) -> dict[str, Any]:
    """Make a key from the fields of serve.keys.Key as a person gave them; `expires` as `90d` or a date.

    Returns it with `secret`, which nobody sees again, and `text`. InputError names what does not fit.
    """
    scopes = list(dict.fromkeys(wanted["scopes"]))
    if unknown := [scope for scope in scopes if scope not in get_args(Scope)]:
        raise InputError(f"there is no scope {unknown[0]!r}", f"use {', '.join(get_args(Scope))}")
    if not 0 <= wanted["capture"] <= 1:
        raise InputError(f"--capture {wanted['capture']} is no share", "use a number from 0 to 1")
    expires = keys.life(wanted["expires"]) if wanted["expires"] else None
    draft = Key(**{**wanted, "scopes": scopes, "expires": expires}, key_id="", secret_sha256="", created="")
    first = not keys.read(lab.keys).keys
    key, secret = keys.create(lab.keys, draft)
    lines = [f"{key.name} ({key.key_id}): {_summary(_shown(key))}", secret, "Keep it now: it is stored nowhere."]
    if first:
        lines.append("From now on every caller of this lab's servers needs a key.")
    return {**_shown(key), "secret": secret, "text": "\n".join(lines)}


def listed(lab: Lab) -> list[dict[str, Any]]:
    """Every key, living ones first, with its state, last use and totals; no secret and no hash."""
    used, sums = keys.last_used(lab.keys), totals(lab)
    found = [
        {**_shown(key), "last_used": used.get(key.key_id)} | _total(sums.get(key.key_id))
        for key in keys.read(lab.keys).keys
    ]
    return sorted(found, key=lambda key: key["state"] != "living")


def revoke(lab: Lab, name: str) -> list[dict[str, Any]]:
    """End the keys of that name or id."""
    return [_shown(key) for key in keys.revoke(lab.keys, name)]


def table(found: list[dict[str, Any]]) -> str:
    """`listed` for people."""
    if not found:
        return "no keys: whoever reaches this machine's servers may use them. ratchet keys create NAME"
    lines = []
    for key in found:
        used = f"last used {key['last_used']}" if key["last_used"] else "never used"
        if key["requests"]:
            used += f", {key['requests']} requests, {key['tokens']} tokens"
        lines.append(f"{key['name']:<20} {key['key_id']}  {key['state']:<8} {_summary(key)}; {used}")
    return "\n".join(lines)


def _shown(key: Key) -> dict[str, Any]:
    state = "revoked" if key.revoked else "living" if key.lives() else "expired"
    return {**key.model_dump(mode="json", exclude={"secret_sha256"}), "state": state}


def _total(used: KeyUsage | None) -> dict[str, int]:
    return {
        "requests": used.requests if used else 0,
        "tokens": used.prompt_tokens + used.completion_tokens if used else 0,
    }


def _summary(key: dict[str, Any]) -> str:
    parts = [", ".join(key["scopes"]), f"models {', '.join(key['models']) or 'all'}"]
    for name, word in (
        ("requests_per_minute", "requests/min"),
        ("tokens_per_minute", "tokens/min"),
        ("max_tokens", "tokens an answer"),
    ):
        if key[name] is not None:
            parts.append(f"{key[name]} {word}")
    if key["capture"]:
        parts.append(f"captures {key['capture']:g}")
    parts.append(f"until {key['expires']}" if key["expires"] else "does not expire")
    return "; ".join(parts)
