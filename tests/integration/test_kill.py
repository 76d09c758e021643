"""`ratchet` killed at every named write point, and run again: it finishes, repeats nothing finished, doubles no row.

A finished lab is put back for each point, and what lies behind that point is taken away: only this is done again.
It always lies at the same path, so that all tests share the engine that its first run started.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from loop import ROOT, Finished, answer, ratchet, sql, succeed

from harness.core.faults import WRITE_POINTS
from harness.core.records import EvalRecord

TABLES = ("plans", "runs", "train_steps", "evals", "items", "scores", "parity", "verdicts")
COUNTS = " union all ".join(f"select '{table}' what, count(*) n from {table}" for table in TABLES)
DOUBLED = "select 'doubled', count(*) from (select 1 from items group by eval_id, item_id having count(*) > 1)"


@pytest.fixture(scope="module")
def counts(finished: Finished) -> dict[str, int]:
    """Of the store that the run left."""
    found = _counts(finished.kept)
    assert found["doubled"] == 0
    return found


@pytest.fixture
def lab(finished: Finished, counts: dict[str, int]) -> Path:
    return finished.fresh()


def _remove(*patterns: str) -> Callable[[Path], None]:
    def remove(lab: Path) -> None:
        for pattern in patterns:
            found = list(lab.glob(pattern))
            assert found, pattern
            for path in found:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


STORE = ("store", "ratchet.duckdb", "reports")


def _remove_evals(kind: str = "", evalset: str = "") -> Callable[[Path], None]:
    """Those of one kind of subject or on one evalset, and what was made of them; the others must stay as they are."""

    def remove(lab: Path) -> None:
        found = [EvalRecord.read(path) for path in lab.glob("evals/e-*/eval.json")]
        gone = [one for one in found if kind in ("", one.subject.kind) and evalset in ("", one.evalset)]
        assert 0 < len(gone) < len(found)
        _remove(*(f"evals/{one.eval_id}" for one in gone), *STORE)(lab)

    return remove


# write point -> what is taken away before, so that a command comes by it again
BEHIND: dict[str, Callable[[Path], None]] = {
    "plan.record": _remove("plans", *STORE),
    "adapter.files": _remove("runs", *STORE),
    "adapter.record": _remove("runs", *STORE),
    "parity.record": _remove("evals", *STORE),
    "eval.item": _remove_evals(kind="adapter"),
    "eval.record": _remove_evals(kind="adapter"),
    "store.ingest": _remove(*STORE),
    "store.publish": _remove(*STORE),
    "registry.look": _remove("registry/looks", "reports"),
    "report.record": _remove("reports"),
}


# These train or evaluate anew for one to three minutes each; `make test` keeps the points before and after them, and
# test_training_dies_with_the_command.
SLOW = ("adapter.files", "adapter.record", "parity.record", "eval.record")
POINTS = [pytest.param(point, marks=pytest.mark.long if point in SLOW else ()) for point in BEHIND]


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_run_is_finished_by_the_next(
    point: str, finished: Finished, counts: dict[str, int], lab: Path
) -> None:
    BEHIND[point](lab)
    killed = ratchet(lab, "run", str(finished.spec), RATCHET_KILL_AT=point)
    by_child = point.split(".")[0] in ("adapter", "store")  # there the command survives, and says so
    assert killed.returncode == (1 if by_child else -signal.SIGKILL), killed.stderr
    kept = _stamps(lab)
    again = ratchet(lab, "run", str(finished.spec))
    assert again.returncode == 0, again.stderr
    assert {path: stamp for path, stamp in _stamps(lab).items() if path in kept} == kept
    assert _counts(lab) == counts
    assert list(lab.rglob("*.tmp")) == []


def test_every_write_point_is_covered() -> None:
    elsewhere = {
        "engine.lease": test_a_run_killed_while_its_engine_starts_leaves_nothing_behind.__name__,
        "registry.record": test_a_killed_promotion_and_campaign_are_repeated.__name__,
        "campaign.record": test_a_killed_promotion_and_campaign_are_repeated.__name__,
        "plan.evals": "tests/unit/harness/pipeline/test_live.py",
        "keys.record": "tests/unit/serve/test_keys.py",
        "capture.event": "tests/unit/serve/test_capture.py",
        "capture.rewrite": "tests/unit/harness/test_captured.py",
        "capture.audit": "tests/unit/harness/test_captured.py",
        "feedback.event": "tests/unit/serve/test_feedback.py",
        "usage.event": "tests/unit/serve/test_feedback.py",
        "vote.event": "tests/browser and tests/unit/harness/test_campaign.py",
        "act.event": "tests/unit/harness/campaign/test_acts.py",
        "rewrite.event": "tests/unit/harness/campaign/test_rewriting.py",
        "people.record": "tests/unit/harness/test_people.py",
        "people.erase": "tests/unit/harness/pipeline/test_privacy.py",
        "people.audit": "tests/unit/harness/test_people.py",
        "tag.event": "tests/unit/harness/pipeline/test_failures.py",
        "shadow.event": "tests/unit/serve/test_shadow.py",
        "registry.webhook": "tests/unit/serve/test_webhooks.py",
        "registry.burn": "tests/unit/harness/pipeline/test_failures.py",
    }
    assert set(BEHIND) | set(elsewhere) == set(WRITE_POINTS)
    assert not set(BEHIND) & set(elsewhere)


def test_a_killed_promotion_and_campaign_are_repeated(lab: Path) -> None:
    run_id = next(lab.glob("runs/r-*")).name
    promote = ("promote", run_id, "--as", "small@prod", "--force", "--reason", "a test")
    assert ratchet(lab, *promote, RATCHET_KILL_AT="registry.record").returncode == -signal.SIGKILL
    succeed(lab, *promote)
    (version,) = answer(lab, "ls")["versions"]
    assert version["version"] == "small@v1"
    assert version["aliases"] == ["prod"]

    create = ("campaign", "create", "c", "small@prod", "base", "--name", "small", "--limit", "12", "--max-tokens", "24",
              "--pool", "experiments/data/aac/pool.jsonl")  # fmt: skip
    assert ratchet(lab, *create, RATCHET_KILL_AT="campaign.record").returncode == -signal.SIGKILL
    assert answer(lab, "campaign", "list") == []
    succeed(lab, *create)
    assert [one["campaign"] for one in answer(lab, "campaign", "list")] == ["c"]


def test_training_dies_with_the_command(finished: Finished, counts: dict[str, int], lab: Path) -> None:
    """kill -9 of `ratchet run` in the middle of training leaves no worker, and the next command finishes the run."""
    _remove("runs", *STORE)(lab)
    environment = {**os.environ, "RATCHET_LAB": str(lab), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "harness.cli", "run", str(finished.spec)]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL) as running:
        worker = _wait(lambda: _workers(running.pid), 120)[0]
        running.kill()
    _wait(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, 30)
    succeed(lab, "run", str(finished.spec))
    assert _counts(lab) == counts


def test_a_run_killed_while_its_engine_starts_leaves_nothing_behind(
    finished: Finished, counts: dict[str, int], lab: Path, tmp_path: Path
) -> None:
    """The supervisor dies at its lease; the next command reaps the process group and starts a new engine."""
    engines = tmp_path / "engines"
    _remove_evals(evalset="aac_style")(lab)
    killed = ratchet(lab, "run", str(finished.spec), RATCHET_KILL_AT="engine.lease", RATCHET_ENGINES=str(engines))
    assert killed.returncode == 1
    assert killed.stderr.strip().count("\n") < 20
    try:
        succeed(lab, "run", str(finished.spec), RATCHET_ENGINES=str(engines))
        assert _counts(lab) == counts
        (engine,) = answer_with(lab, engines)["engines"]
        group = os.getpgid(_pid_of(engines))
        os.killpg(group, signal.SIGSTOP)  # a supervisor that cannot clean up after itself …
        os.kill(_pid_of(engines), signal.SIGKILL)  # … dies,
        os.killpg(group, signal.SIGCONT)
        succeed(lab, "doctor", RATCHET_ENGINES=str(engines))  # and any next command takes away what it left
        _wait(lambda: not _alive(group), 30)
        assert engine["state"] == "ready"
    finally:
        succeed(lab, "stop", RATCHET_ENGINES=str(engines))


def answer_with(lab: Path, engines: Path) -> dict:
    return json.loads(succeed(lab, "status", "--format", "json", RATCHET_ENGINES=str(engines)))


def _pid_of(engines: Path) -> int:
    return int(json.loads(next(engines.glob("*/lease.json")).read_text(encoding="utf-8"))["pid"])


def _alive(group: int) -> list[int]:
    """Processes of a group that still run; the init process may take a while to collect dead ones."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def _workers(pid: int) -> list[psutil.Process]:
    children = psutil.Process(pid).children(recursive=True)
    return [child for child in children if "harness.train.worker" in " ".join(child.cmdline())]


def _wait(condition: Callable[[], object], limit_s: float) -> object:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError("it did not happen in time")


def _stamps(lab: Path) -> dict[str, int]:
    """Finished work, by path and time: what must not be made again."""
    paths = [*lab.glob("runs/*/adapter.json"), *lab.glob("evals/*/eval.json"), *lab.glob("evals/parity/*.json")]
    return {str(path.relative_to(lab)): path.stat().st_mtime_ns for path in paths}


def _counts(lab: Path) -> dict[str, int]:
    """Rows of each table, and items that stand in the store twice."""
    return {row["what"]: int(row["n"]) for row in sql(lab, f"{COUNTS} union all {DOUBLED}")}
