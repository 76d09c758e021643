"""Where things lie in a lab, and how files get there: whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import InputError, LabError, MissingRecord
from harness.core.faults import reached

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def check_name(name: str, what: str) -> str:
    """`name` if it is safe as a file name and a model name, else InputError."""
    if not NAME.fullmatch(name) or ".." in name:
        raise InputError(
            f"{what} {name!r} is not a valid name",
            "use 1 to 64 of a-z, 0-9, '.', '_', '-', starting with a letter or digit",
            f"bad_{what}",
            name=repr(name),
        )
    return name


@dataclass(frozen=True)
class Lab:
    """The folders of one lab. Building it touches nothing; writers make the folders they need."""

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", self.root.absolute())

    @property
    def plans(self) -> Path:
        return self.root / "plans"

    def planned_evals(self, plan_id: str) -> Path:
        """What is evaluated of a plan; there once its runs are trained."""
        return self.plans / plan_id / "evals.json"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def adapter_record(self, run_id: str) -> Path:
        """Where it exists, the run is complete."""
        return self.runs / run_id / "adapter.json"

    def eval_record(self, eval_id: str) -> Path:
        """Where it exists, every item of the evaluation is stored."""
        return self.evals / eval_id / "eval.json"

    @property
    def evals(self) -> Path:
        return self.root / "evals"

    @property
    def registry(self) -> Path:
        return self.root / "registry"

    @property
    def engines(self) -> Path:
        """Leases of running engines; `RATCHET_ENGINES` lets several labs share them (the test suite does)."""
        return Path(os.environ.get("RATCHET_ENGINES") or self.root / "engines").absolute()

    @property
    def keys(self) -> Path:
        """API keys (serve.keys); readable by their owner only."""
        return self.root / "keys"

    @property
    def people(self) -> Path:
        """Accounts, sessions and the audit log (harness.people, harness.audit); readable by their owner only."""
        return self.root / "people"

    @property
    def campaigns(self) -> Path:
        return self.root / "campaigns"

    @property
    def requests(self) -> Path:
        """Captured calls, feedback and usage, as journal segments (harness.core.traffic)."""
        return self.root / "requests"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def database(self) -> Path:
        """The published DuckDB file: readers open only this, read-only."""
        return self.root / "ratchet.duckdb"


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into a LabError that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise LabError(
                f"the disk is full: {path} was not written", "free some space and run the command again"
            ) from error
        if error.errno is None:  # not the disk's: a lock that was not free in time, for example
            raise
        raise LabError(
            f"{path} cannot be written ({error.strerror})", "check the lab folder and who owns it"
        ) from error


def write_atomic(path: Path, data: bytes, point: str | None = None, mode: int = 0o666) -> None:
    """Put `data` at `path` whole or not at all: temporary file, fsync, rename, fsync of the folder.

    `point` names the write point (harness.core.faults) reached just before the rename. `mode` is what open(2) takes:
    0o600 for what only its owner may read, from its first byte on.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        try:
            with open(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if point:
                reached(point)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def _sweep(path: Path) -> None:
    """Take away what processes that were killed while writing `path` left behind; a living one's file stays."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        pid = left.name.removeprefix(f".{path.name}.").split(".")[0]
        if not (pid.isdigit() and Path("/proc", pid).exists()):
            left.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make names in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any, point: str | None = None) -> None:
    """`write_atomic` of indented JSON."""
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(), point)


def json_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as JSONL, one object a line. ValueError for a NaN or an infinity, which are not JSON."""
    return "".join(json.dumps(dict(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows).encode()


def read_json(path: Path) -> Any:
    """The JSON value in `path`; LabError names a file that is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingRecord(f"{path} is missing", "restore it, or run the command that makes it again") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise LabError(
            f"{path} is damaged ({error})", "move it away and run the command again to rebuild it"
        ) from error
