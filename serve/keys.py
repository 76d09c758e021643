"""API keys: hashed, scoped, expiring. `lab/keys/keys.json`, readable by its owner only.

A secret is 32 random bytes (256 bits), so nobody guesses it from its hash and a plain SHA-256 is enough: slow hashes
protect what people choose. The secret is shown once and stored nowhere. Writers take a lock, write whole files by
rename and count a sequence number; a running engine notices the new file at its next request (serve.plugin.access).

When a key was last used is kept beside it by each engine, in `used-<engine>.json`, at most once a minute: it informs,
and decides nothing.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import re
import secrets
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, get_args

from filelock import FileLock, Timeout
from pydantic import Field

from harness.core.errors import InputError, LabError
from harness.core.paths import check_name, disk_errors, read_json, write_atomic
from harness.core.records import Record, now

Scope = Literal["infer", "feedback", "admin"]

KEYS = "keys.json"
PREFIX = "rk-"  # so that a key is known as one where it turns up in a text
SECRET = re.compile(r"rk-[A-Za-z0-9_-]{43}")
PATTERN = re.compile(r"[a-z0-9*?][a-z0-9._*?-]{0,63}(@[a-z0-9*?][a-z0-9._*?-]{0,63})?")
LIFE = re.compile(r"([1-9][0-9]{0,4})([dhm])")
UNITS = {"d": "days", "h": "hours", "m": "minutes"}
LOCK_TIMEOUT_S = 10
USED_KEPT = 8  # files of last use; more than engines run at once on one lab


class Key(Record):
    """One key as it is stored: never the secret, only its hash."""

    key_id: str
    name: str
    secret_sha256: str
    scopes: list[Scope]
    models: list[str] = Field(default_factory=list)  # names or patterns; empty: all
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_tokens: int | None = None  # of one answer; below the engine's own limit
    capture: float = 0.0  # the share of calls that is captured
    created: str
    expires: str | None = None
    revoked: str | None = None

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or "admin" in self.scopes

    def allows(self, name: str) -> bool:
        """Whether the key may use the model that a client calls `name`; `support` and `support@prod` are one."""
        if not self.models:
            return True
        names = {name, name.removesuffix("@prod") if "@" in name else f"{name}@prod"}
        return any(fnmatchcase(one, pattern) for one in names for pattern in self.models)

    def lives(self, at: datetime.datetime | None = None) -> bool:
        """Neither revoked nor expired at `at` (now)."""
        if self.revoked is not None:
            return False
        at = at or datetime.datetime.now(datetime.UTC)
        return self.expires is None or datetime.datetime.fromisoformat(self.expires) > at


class Keyring(Record):
    """keys.json."""

    seq: int
    keys: list[Key]


def sha256(secret: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def read(folder: Path) -> Keyring:
    """The keys in `folder`; an empty ring where none was made yet."""
    path = folder / KEYS
    return Keyring.read(path) if path.exists() else Keyring(seq=0, keys=[])


def create(folder: Path, wanted: Key) -> tuple[Key, str]:
    """Store `wanted` with a fresh id and secret; (as stored, the secret). The secret cannot be had again.

    InputError for a name that a living key has, an empty list of scopes, or a model that is no name.
    """
    check_name(wanted.name, "key name")
    if not wanted.scopes:
        raise InputError("a key without a scope opens nothing", f"use --scope {','.join(get_args(Scope))}")
    for model in wanted.models:
        if not PATTERN.fullmatch(model):
            fix = "use NAME, NAME@ALIAS, NAME@vN or a pattern such as NAME@*"
            raise InputError(f"model {model!r} is not a name", fix)
    secret = PREFIX + secrets.token_urlsafe(32)
    made = {"key_id": f"k-{secrets.token_hex(4)}", "secret_sha256": sha256(secret), "created": now()}
    with _locked(folder) as ring:
        if any(key.name == wanted.name and key.lives() for key in ring.keys):
            raise InputError(f"there is a living key {wanted.name!r}", "revoke it first, or choose another name")
        key = wanted.model_copy(update=made)
        _write(folder, ring, [*ring.keys, key])
    return key, secret


def revoke(folder: Path, name: str) -> list[Key]:
    """End the living keys called `name` (a name or an id); engines refuse them from the next request on."""
    with _locked(folder) as ring:
        ended = [key for key in ring.keys if name in (key.name, key.key_id) and key.revoked is None]
        if not ended:
            known = ", ".join(sorted({key.name for key in ring.keys if key.revoked is None})) or "none"
            raise InputError(f"there is no key {name!r} to revoke", f"keys: {known}")
        revoked = {key.key_id: key.model_copy(update={"revoked": now()}) for key in ended}
        _write(folder, ring, [revoked.get(key.key_id, key) for key in ring.keys])
    return list(revoked.values())


def require_living(folder: Path, why: str) -> None:
    """InputError, with `why` keys are needed, unless a living key exists. For servers that others can reach."""
    if not any(key.lives() for key in read(folder).keys):
        raise InputError(f"{why}, and no living key exists", "make one first: ratchet keys create NAME --scope infer")


def last_used(folder: Path) -> dict[str, str]:
    """key id -> when it was last used (UTC), over all engines; up to a minute old."""
    found: dict[str, str] = {}
    for path in folder.glob("used-*.json"):
        with contextlib.suppress(LabError, OSError):  # information only: an engine may be writing or leaving
            for key_id, at in read_json(path).items():
                found[key_id] = max(found.get(key_id, ""), at)
    return found


def life(text: str) -> str:
    """When a key made now ends, for `90d`, `12h`, `30m` or a date; InputError for anything else or the past."""
    today = datetime.datetime.now(datetime.UTC)
    if match := LIFE.fullmatch(text):
        until = today + datetime.timedelta(**{UNITS[match[2]]: int(match[1])})
    else:
        try:
            until = datetime.datetime.fromisoformat(text)
        except ValueError:
            raise InputError(f"--expires {text!r} is not a time", "use 90d, 12h or a date such as 2027-01-31") from None
        until = until if until.tzinfo else until.replace(tzinfo=datetime.UTC)
    if until <= today:
        raise InputError(f"--expires {text} is in the past", "use a later time")
    return until.astimezone(datetime.UTC).isoformat(timespec="seconds")


def _write(folder: Path, ring: Keyring, keys: list[Key]) -> None:
    changed = Keyring(seq=ring.seq + 1, keys=keys)
    text = json.dumps(changed.model_dump(mode="json"), indent=2) + "\n"
    write_atomic(folder / KEYS, text.encode(), "keys.record", mode=0o600)
    _fold(folder)


def _fold(folder: Path) -> None:
    """Leave one file of last use where ended engines left many. One that still runs writes all of its own again."""
    files = sorted(folder.glob("used-*.json"), key=lambda path: path.stat().st_mtime)
    if len(files) > USED_KEPT:
        merged = json.dumps(last_used(folder)).encode()
        write_atomic(folder / "used-before.json", merged, mode=0o600)
        for path in files:
            if path.name != "used-before.json":
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[Keyring]:
    """Hold the lock of `folder`; yields the keys as they are now."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with FileLock(folder / ".lock", timeout=LOCK_TIMEOUT_S, mode=0o600):
                yield read(folder)
        except Timeout as error:
            raise LabError(f"{folder} is locked by another command", "wait for it to end and try again") from error
