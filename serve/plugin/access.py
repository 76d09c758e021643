"""Who may call what: the table of routes (serve.plugin.routetable) and the keys of `lab/keys/` as they are now.

Keys are in force from the first one that was ever made. Before that, inference on this machine is open, as vLLM's is;
revoking the last key, or letting it expire, must not open the door again.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hmac
import json
import os
import re
import time
from pathlib import Path

from harness.core.errors import LabError
from serve.keys import Key, Keyring, sha256
from serve.plugin.call import Call, Refused
from serve.plugin.routetable import CLOSED, ROUTES, Need, need_of

USED_EVERY_S = 60.0
BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)


class Access:
    """Lets a call in or refuses it; fills `call.key` and `call.admin`.

    `keys` is the file of serve.keys (None: a server without keys), `used` where last use is kept. `public`: others can
    reach this server, so keys are in force even before there are any.
    """

    def __init__(self, admin_token: str, keys: Path | None, public: bool = False, used: Path | None = None) -> None:
        self._token = admin_token.encode()
        self._keys, self._public = keys, public
        self._stamp: tuple[int, int, int] | None = None
        self._by_hash: dict[str, tuple[Key, float]] = {}  # with the second at which it ends
        self._made = False
        self.used = Used(used)

    def admit(self, call: Call) -> None:
        """Refused with 401 (who are you), 403 (not for you), 405 (not this method)."""
        need = need_of(call.method, call.path)
        if need is Need.NOTHING:
            return
        given = credential(call)
        if given is not None and hmac.compare_digest(given.encode(), self._token):
            call.admin = True
            return
        if self.in_force():
            call.key = self._key(given)
            call.admin = call.key.may("admin")
            self.used.note(call.key.key_id)
            self._judge(call, call.key, need)
        elif need is Need.ADMIN:
            _other_method(call)
            raise _unauthorised(f"{call.path[:80]} needs the engine's admin token")

    def in_force(self) -> bool:
        """Whether callers need a key. Follows the file by its identity: one stat per request."""
        if self._keys is None:
            return self._public
        try:
            status = self._keys.stat()
        except FileNotFoundError:
            self._stamp, self._by_hash, self._made = None, {}, False
            return self._public
        except OSError:  # there may be keys: whoever has no token stays outside
            self._stamp, self._by_hash, self._made = None, {}, True
            return True
        stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
        if stamp != self._stamp:
            self._load(self._keys)
            self._stamp = stamp
        return self._public or self._made

    def _load(self, path: Path) -> None:
        try:
            self._by_hash = {key.secret_sha256: (key, _ends(key)) for key in Keyring.read(path).keys}
            self._made = bool(self._by_hash)
        except (LabError, OSError, ValueError):  # damaged: whoever has no token stays outside until it is mended
            self._by_hash, self._made = {}, True

    def _key(self, given: str | None) -> Key:
        if given is None:
            raise _unauthorised("no API key: send it as Authorization: Bearer or x-api-key")
        # A table by the hash of 256 random bits: how long a look-up takes says nothing about any secret.
        hashed = sha256(given)
        found = self._by_hash.get(hashed)
        if found is None or not hmac.compare_digest(found[0].secret_sha256, hashed):
            raise _unauthorised("the API key is not known here", "invalid_api_key")
        key, ends = found
        if key.revoked is not None:
            raise _unauthorised("the API key was revoked", "invalid_api_key")
        if time.time() >= ends:
            raise _unauthorised("the API key has expired", "invalid_api_key")
        return key

    def _judge(self, call: Call, key: Key, need: Need) -> None:
        if call.admin or need is Need.KEY:
            return
        if need in (Need.ADMIN, Need.OPERATOR):
            _other_method(call)
            why = CLOSED.get(call.path, "it is not for apps")
            raise Refused(403, "PermissionDeniedError", f"{call.path[:80]} is closed: {why}")
        if need.value not in key.scopes:
            raise Refused(403, "PermissionDeniedError", f"the API key lacks the scope {need.value}")


class Used:
    """When each key was last used, written at most once a minute, by a thread: no request waits for it."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._at = path, dict[str, float]()
        self._wrote, self._due = -USED_EVERY_S, False

    def note(self, key_id: str) -> None:
        """The key is used now. Only inside a running event loop."""
        self._at[key_id] = time.time()
        if self._path is None or self._due:
            return
        self._due = True
        loop = asyncio.get_running_loop()
        wait = max(0.0, self._wrote + USED_EVERY_S - time.monotonic())
        loop.call_later(wait, lambda: loop.run_in_executor(None, self.write))

    def write(self) -> None:
        """Write now. A disk that refuses is passed over: the next minute tries again."""
        self._wrote, self._due = time.monotonic(), False
        if self._path is None or not self._at:
            return
        said = {key: datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="seconds")
                for key, at in list(self._at.items())}  # fmt: skip
        temporary = self._path.with_suffix(".tmp")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(said), encoding="utf-8")
            os.replace(temporary, self._path)


def credential(call: Call) -> str | None:
    """The secret that a call carries; 400 where the two headers say different things."""
    bearer = BEARER.fullmatch(call.headers.get("authorization", ""))
    given = [found for found in (bearer[1] if bearer else None, call.headers.get("x-api-key")) if found]
    if len(set(given)) > 1:
        raise Refused(400, "BadRequestError", "authorization and x-api-key differ: send one")
    return given[0] if given else None


def _ends(key: Key) -> float:
    return float("inf") if key.expires is None else datetime.datetime.fromisoformat(key.expires).timestamp()


def _other_method(call: Call) -> None:
    """405 where the path is open with another method."""
    known = sorted(method for method, path in ROUTES if path == call.path)
    if known and (call.method, call.path) not in ROUTES:
        allow = {"allow": ", ".join(known)}
        raise Refused(405, "MethodNotAllowedError", f"{call.path} takes {', '.join(known)}", headers=allow)


def _unauthorised(message: str, code: str | int | None = None) -> Refused:
    return Refused(401, "AuthenticationError", message, headers={"www-authenticate": "Bearer"}, code=code)
