"""Ingests that are killed, meet a full disk or one another; readers meanwhile."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pytest

from harness.core.errors import LabError, RatchetError, StoreError
from harness.core.paths import Lab
from harness.store import counts, ingest, query, reindex
from tests.unit.harness.store.made import (
    add_eval,
    dump,
    fill,
    item,
)


def test_killed_at_every_commit_nothing_is_lost_or_doubled(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_eval(lab, "e-0", [[item(0)]])
    ingest(lab)
    fill(lab, tmp_path)
    monkeypatch.setenv("RATCHET_KILL_AT", "store.ingest")
    # a run, a plan, a parity, a registry, a report, an evaluation, a campaign, votes, acts, calls, feedback; usage next
    for _ in range(11):
        with pytest.raises(StoreError, match="killed by signal 9"):
            ingest(lab)
        assert counts(lab)["plans"] == 0, "readers must not see a store that was not published"
    with pytest.raises(StoreError, match="killed by signal 9"):
        ingest(lab)
    assert ingest(lab).sources == 0, "all is committed, so no write point is reached, and it is published"
    monkeypatch.delenv("RATCHET_KILL_AT")
    after = dump(lab)
    reindex(lab)
    assert dump(lab) == after
    assert counts(lab)["votes"] == 4


@pytest.mark.parametrize("point", ["store.ingest", "store.publish"])
def test_the_first_ingest_killed(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    fill(lab, tmp_path)
    monkeypatch.setenv("RATCHET_KILL_AT", point)
    for _ in range(2):
        with pytest.raises(StoreError, match="run it again"):
            ingest(lab)
        with pytest.raises(StoreError, match="no results yet"):
            counts(lab)
    monkeypatch.delenv("RATCHET_KILL_AT")
    assert ingest(lab).published
    assert (counts(lab)["items"], counts(lab)["votes"]) == (4, 4)


def test_killed_while_publishing_readers_keep_the_old_file(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    add_eval(lab, "e-1", [[item(0)]])
    ingest(lab)
    add_eval(lab, "e-2", [[item(0)]])
    monkeypatch.setenv("RATCHET_KILL_AT", "store.publish")
    with pytest.raises(StoreError, match="killed"):
        ingest(lab)
    assert counts(lab)["evals"] == 1
    monkeypatch.delenv("RATCHET_KILL_AT")
    again = ingest(lab)
    assert (again.sources, again.published, counts(lab)["evals"]) == (0, True, 2)


@pytest.mark.parametrize("point", ["store.ingest", "store.publish"])
def test_a_full_disk_is_said_and_survived(lab: Lab, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    add_eval(lab, "e-1", [[item(0)]])
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", point)
    with pytest.raises(LabError, match="the disk is full"):
        ingest(lab)
    monkeypatch.delenv("RATCHET_FULL_DISK_AT")
    ingest(lab)
    assert counts(lab)["items"] == 1


def test_two_ingests_at_once(lab: Lab, tmp_path: Path) -> None:
    fill(lab, tmp_path)
    done: list[int] = []
    threads = [threading.Thread(target=lambda: done.append(ingest(lab).sources)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 2
    assert 0 in done
    assert (counts(lab)["items"], counts(lab)["vote_events"]) == (4, 4)


def test_readers_never_wait_and_never_see_half_an_evaluation(lab: Lab) -> None:
    """Threads of one process read without a pause while evaluations of 50 items arrive and are published."""
    add_eval(lab, "e-0", [[item(number) for number in range(50)]])
    ingest(lab)
    over, seen, failures = threading.Event(), set(), []

    def read() -> None:
        while not over.is_set():
            try:
                (evals, items) = query(lab, "SELECT (SELECT count(*) FROM evals), (SELECT count(*) FROM items)")[1][0]
            except RatchetError as error:
                failures.append(error)
                return
            seen.add((evals, items))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(1, 4):
        add_eval(lab, f"e-{number}", [[item(number) for number in range(50)]])
        ingest(lab)
        assert counts(lab)["evals"] == number + 1, "a query must see the file published last"
    over.set()
    for reader in readers:
        reader.join()
    assert not failures
    assert seen <= {(number, 50 * number) for number in range(1, 5)}
    assert len(seen) > 1


def test_plain_duckdb_reads_the_published_file(full: Lab) -> None:
    """As an analyst's notebook does: another process, no Ratchet, and held open while we publish again."""
    script = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); "
        "print(c.execute('SELECT count(*) FROM item_scores').fetchone()[0], flush=True); input()"
    )
    analyst = subprocess.Popen(
        [sys.executable, "-c", script, str(full.database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert analyst.stdout is not None
        assert analyst.stdout.readline() == "4\n"
        assert reindex(full).published
    finally:
        analyst.communicate("\n")
    assert analyst.returncode == 0


def test_the_file_stays_readable_by_the_older_command_line(full: Lab) -> None:
    with duckdb.connect(str(full.database), read_only=True) as connection:
        tags = connection.execute("SELECT tags FROM duckdb_databases() WHERE path IS NOT NULL").fetchall()
    assert tags[0][0]["storage_version"].startswith("v1.5.0")
