"""Tells other systems of every move of an alias: one JSON POST per URL in `registry/webhooks.yaml`.

    - url: https://chat.example.com/hooks/ratchet
      secret_env: RATCHET_HOOK_SECRET     # optional: the body is signed with what this environment variable holds

The header `x-ratchet-signature` is `sha256=` and the hex HMAC-SHA256 of the body, as GitHub signs its own. A move has
happened when it is told, and stays whatever the other side says: what could not be delivered is kept in
`registry/webhooks/failed-*.jsonl` and shown by `ratchet registry webhook ls`.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import yaml
from filelock import FileLock
from pydantic import ValidationError

from harness.core.errors import InputError, LabError
from harness.core.journal import Journal, read_all
from harness.core.paths import Lab, disk_errors, write_atomic
from harness.core.records import AliasMove, Record, now

SIGNATURE = "x-ratchet-signature"
TIMEOUT_S = 5.0
PAUSES_S = (0.5, 2.0)  # between tries: a service that restarts; a command must not wait longer than a few seconds
AT_ONCE = 8
STEM = "failed"


class Webhook(Record):
    """One address. `secret_env` names the environment variable, so that no secret lies in the lab."""

    url: str
    secret_env: str | None = None


def path_of(lab: Lab) -> Path:
    return lab.registry / "webhooks.yaml"


def read(lab: Lab) -> list[Webhook]:
    """The addresses; InputError names the file and what is wrong with it."""
    path = path_of(lab)
    if not path.is_file():
        return []
    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8")) or []
        hooks = [Webhook.model_validate({"url": row} if isinstance(row, str) else row) for row in rows]
    except (yaml.YAMLError, ValidationError, TypeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no list of webhooks", "write `- url: https://…`, one per line") from error
    for hook in hooks:
        check_url(hook.url)
    return hooks


def check_url(url: str) -> str:
    """`url` if it is http or https with a host and without a password in it, else InputError."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username
        usable = usable and url.isprintable() and " " not in url and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise InputError(f"webhook {shown(url)!r} is no http(s) URL", "use https://host/path, secrets in secret_env")
    return url


def shown(url: str) -> str:
    """The URL without its query and user, where tokens may stand: for messages, lists and journals."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
    except ValueError:
        return "(not a URL)"


def add(lab: Lab, hook: Webhook) -> list[Webhook]:
    """Add an address, or replace the one with the same URL; the list as it is then."""
    check_url(hook.url)
    return _change(lab, lambda hooks: [*(one for one in hooks if one.url != hook.url), hook])


def remove(lab: Lab, url: str) -> list[Webhook]:
    """Take an address away; InputError where it is not there."""
    if url not in [hook.url for hook in read(lab)]:
        raise InputError(f"webhook {shown(url)!r} is not in {path_of(lab)}", "see `ratchet registry webhook ls`")
    return _change(lab, lambda hooks: [one for one in hooks if one.url != url])


def tell(lab: Lab, name: str, move: AliasMove, pauses_s: tuple[float, ...] = PAUSES_S) -> list[str]:
    """Send the move to every address, all at once; one line per address that did not take it. Never raises for them."""
    try:
        hooks = read(lab)
    except InputError as error:
        return [error.one_line()]
    if not hooks:
        return []
    event = {"event": "alias.moved", "name": name, **move.model_dump(mode="json")}
    body = json.dumps(event, ensure_ascii=False, sort_keys=True).encode()
    with ThreadPoolExecutor(min(AT_ONCE, len(hooks))) as pool:
        problems = list(pool.map(lambda hook: _deliver(hook, body, pauses_s), hooks))
    failed = [(hook, problem) for hook, problem in zip(hooks, problems, strict=True) if problem]
    _keep(lab, name, move, failed)
    return [f"webhook {shown(hook.url)}: {problem}" for hook, problem in failed]


def failures(lab: Lab) -> list[dict[str, Any]]:
    """What could not be delivered, oldest first."""
    return list(read_all(lab.registry / "webhooks", STEM))


def _deliver(hook: Webhook, body: bytes, pauses_s: tuple[float, ...]) -> str:
    """Empty when it was taken, else why not. Tried again: lost connections, 429 and 5xx."""
    headers = {"content-type": "application/json", "user-agent": "ratchet"}
    if hook.secret_env:
        secret = os.environ.get(hook.secret_env)
        if not secret:
            return f"{hook.secret_env} is not set, so nothing was sent"
        headers[SIGNATURE] = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    problem = ""
    for pause_s in (*pauses_s, None):
        try:
            response = httpx.post(hook.url, content=body, headers=headers, timeout=TIMEOUT_S, follow_redirects=False)
            if response.is_success:
                return ""
            problem, again = f"HTTP {response.status_code}", response.status_code == 429 or response.status_code >= 500
        except (httpx.TransportError, httpx.InvalidURL) as error:
            problem, again = type(error).__name__, True
        if not again or pause_s is None:
            break
        time.sleep(pause_s)
    return problem


def _keep(lab: Lab, name: str, move: AliasMove, failed: list[tuple[Webhook, str]]) -> None:
    """Put failures on record; a full disk here changes nothing about the move."""
    with contextlib.suppress(LabError), Journal(lab.registry / "webhooks", STEM, "registry.webhook") as journal:
        for hook, problem in failed:
            at = {"at": now(), "url": shown(hook.url), "problem": problem}
            journal.append({**at, "name": name, "alias": move.alias, "seq": move.seq})


def _change(lab: Lab, change: Callable[[list[Webhook]], list[Webhook]]) -> list[Webhook]:
    path = path_of(lab)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        hooks = change(read(lab))
        rows = [hook.model_dump(exclude_none=True) for hook in hooks]
        write_atomic(path, yaml.safe_dump(rows, sort_keys=False).encode(), "registry.webhook", 0o600)
    return hooks
