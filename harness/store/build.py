"""The build file and the published one: who writes them, when, and in which order.

`store/build.duckdb` is written by one short-lived child process at a time, under `store/ingest.lock`. When it is at
rest it is copied and renamed to `ratchet.duckdb`, which nobody ever writes to. The child matters: data loaders that
fork would inherit DuckDB's file lock, and copying an open database inside the process that holds it drops that lock.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
from filelock import FileLock, Timeout

from harness.core.errors import LabError, RatchetError, StoreError
from harness.core.faults import reached
from harness.core.paths import Lab, disk_errors, sync_folder
from harness.store.ingest import Ingest
from harness.store.queries import attached
from harness.store.schema import first_line, open_build

# An ingest takes seconds; a rebuild of some ten million items stays below this.
LOCK_TIMEOUT_S = 600

# What was read, as one value: two stores with the same stamp hold the same rows.
STAMP = """SELECT (SELECT max(number) FROM migrations), count(*),
    md5(string_agg(concat_ws('|', source, bytes, sha256), '|' ORDER BY source)) FROM ingested"""


@dataclass(frozen=True)
class Ingested:
    """What one ingest did: files that held something new, and whether readers got a new database."""

    sources: int
    published: bool


def ingest(lab: Lab) -> Ingested:
    """Bring everything new in the lab's journals and records into the store and publish it, in a child process.

    Safe to repeat, to kill and to run several times at once. What was deleted from the lab stays in the store until
    `reindex`. Raises LabError for a damaged record or journal (all
    others are in the store then), StoreError when the store itself cannot be written.
    """
    return _in_child(lab, "ingest")


def reindex(lab: Lab) -> Ingested:
    """Build the store anew from journals and records, whatever state it is in, and publish it. Else as `ingest`."""
    return _in_child(lab, "reindex")


def _in_child(lab: Lab, action: str) -> Ingested:
    # -P: a folder `harness/` where the command runs must not stand in for the package.
    command = [sys.executable, "-P", "-m", "harness.store", action, str(lab.root)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode < 0:
        raise StoreError(f"the {action} was killed by signal {-child.returncode}", "nothing is lost: run it again")
    try:
        said: dict[str, Any] = json.loads(child.stdout)
    except ValueError:
        last = (child.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise StoreError(f"the {action} failed: {last}", "run it alone with `ratchet reindex`") from None
    if "problem" in said:
        raise (LabError if said["error"] == "LabError" else StoreError)(said["problem"], said["fix"])
    return Ingested(**said)


def main(action: str, root: str) -> int:
    """The child: prints one JSON object, an Ingested or an error."""
    try:
        print(json.dumps(asdict(build(Lab(Path(root)), anew=action == "reindex"))))
    except RatchetError as error:
        kind = "LabError" if isinstance(error, LabError) else "StoreError"
        print(json.dumps({"error": kind, "problem": error.problem, "fix": error.fix}))
        return 1
    return 0


def build(lab: Lab, anew: bool = False) -> Ingested:
    """What the child does, holding the lock. Call `ingest` or `reindex` instead."""
    if not lab.root.is_dir():
        raise LabError(f"there is no lab at {lab.root}", "run `ratchet run …` first, or name another with --lab")
    with disk_errors(lab.store):
        lab.store.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lab.store / "ingest.lock", timeout=LOCK_TIMEOUT_S):
                return _build(lab, anew)
        except Timeout as error:
            raise StoreError(f"another ingest has held {lab.store} for {LOCK_TIMEOUT_S} s", "end it") from error


def _build(lab: Lab, anew: bool) -> Ingested:
    target = lab.store / "build.duckdb"
    # A store made from nothing is made beside its place, so that a kill leaves no half-made file there.
    fresh = anew or not target.exists()
    path = lab.store / "rebuild.duckdb" if fresh else target
    if fresh:
        _remove(path)
    taken, stamp, problems = _write(lab, path)
    if fresh:
        # First the log: replayed on the new file it would damage it; the old file without it is only older.
        _log_of(target).unlink(missing_ok=True)
        os.replace(path, target)
        sync_folder(lab.store)
    # An empty lab gets no database, so that readers can say "no results yet".
    published = (anew or stamp != _published_stamp(lab)) and (stamp[1] > 0 or lab.database.exists())
    if published:
        _publish(lab, target)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise LabError(problems[0].problem + more, problems[0].fix)
    return Ingested(sources=taken, published=published)


def _write(lab: Lab, path: Path) -> tuple[int, tuple[Any, ...], list[RatchetError]]:
    """Take everything new into `path` and leave it closed; returns how many sources, its stamp, what was left out."""
    connection = open_build(path)
    try:
        work = Ingest(lab, connection)
        taken = work.run()
        stamp = connection.execute(STAMP).fetchall()[0]
        connection.execute("CHECKPOINT")
    except duckdb.Error as error:
        raise StoreError(
            f"{path} failed ({first_line(error)})", "check the disk; if it is fine, `ratchet reindex`"
        ) from error
    finally:
        connection.close()
    return taken, stamp, work.problems


def _published_stamp(lab: Lab) -> tuple[Any, ...] | None:
    """The stamp of the published file; None when there is none that can be read."""
    try:
        with attached(lab) as connection:
            stamp: tuple[Any, ...] = connection.execute(STAMP).fetchall()[0]
            return stamp
    except StoreError:
        return None


def _publish(lab: Lab, target: Path) -> None:
    """Give readers a copy of the closed build file, whole or not at all."""
    temporary = lab.store / "publish.duckdb"
    with disk_errors(lab.database):
        shutil.copyfile(target, temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        reached("store.publish")
        os.replace(temporary, lab.database)
        sync_folder(lab.root)


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")


def _remove(path: Path) -> None:
    for leftover in (path, _log_of(path)):
        leftover.unlink(missing_ok=True)
