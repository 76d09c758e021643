"""Personal links: who may rate, or see results. Tokens are random, shown once, and kept only as their SHA-256.

`campaigns/<name>/raters.json` and `dashboard/viewers.json` (mode 0600) hold [{"rater", "sha256", "created"}]. A new
link never ends an older one, so whoever has an open page keeps it over a restart; removing a line, or the file, ends a
link at once.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
import secrets
from pathlib import Path

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from harness.core.errors import InputError, LabError
from harness.core.paths import check_name, read_json, write_atomic
from harness.core.records import now

LINK_DAYS = 30


class Link(TypedDict):
    rater: str
    sha256: str
    created: str


_LINKS = TypeAdapter(list[Link])


class Links:
    """The links of one page, read from disk at every check."""

    def __init__(self, place: Path, file: str = "raters.json") -> None:
        self.path = place / file

    def raters(self) -> list[str]:
        """Names with a link that still works."""
        return sorted({link["rater"] for link in self._current()})

    def new(self, raters: list[str]) -> dict[str, str]:
        """A fresh token for each rater: rater -> token. Raises InputError for a name that is not a valid one."""
        for rater in raters:
            check_name(rater, "rater")
        if not raters:
            raise InputError("nobody is named to rate", "give --rater NAME")
        tokens = {rater: secrets.token_urlsafe(32) for rater in raters}
        with FileLock(self.path.with_suffix(".lock"), mode=0o600):
            added = [Link(rater=rater, sha256=_hash(token), created=now()) for rater, token in tokens.items()]
            data = (json.dumps([*self._current(), *added], indent=2) + "\n").encode()
            write_atomic(self.path, data, mode=0o600)
        return tokens

    def rater_of(self, token: str | None) -> str | None:
        """Whose token this is, or None. Every link is compared, in the same time whether it matches or not."""
        digest = _hash(token or "")
        found = [link["rater"] for link in self._current() if hmac.compare_digest(link["sha256"], digest)]
        return found[0] if token and found else None

    def _current(self) -> list[Link]:
        if not self.path.exists():
            return []
        try:
            links = _LINKS.validate_python(read_json(self.path))
        except ValidationError as error:
            raise LabError(f"{self.path} is damaged", "move it away; new links will be made") from error
        oldest = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=LINK_DAYS)
        return [link for link in links if link["created"] >= oldest.isoformat(timespec="seconds")]


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
