"""The local executor: one child per base and quantisation, failures kept apart, every child ended by its own pid."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import TrainError
from harness.executors import local


def child(code: str, log: Path) -> Iterator[dict[str, Any]]:
    return local.child_events([sys.executable, "-c", textwrap.dedent(code)], log)


def test_events_are_lines_of_json_and_the_rest_is_noise(tmp_path: Path):
    code = """
        import sys
        print('{"event": "loading"}')
        print("progress 10 %")
        print("{'loss': 1.5}")
        print('{"no": "event"}')
        print('{"event": "done", "run_id": "r-1"}')
        print("warning: something", file=sys.stderr)
        sys.exit(3)
    """
    found = list(child(code, tmp_path / "deep" / "log"))
    assert [event["event"] for event in found] == ["loading", "done", "exit"]
    assert found[-1]["code"] == 3
    assert local.last_line(tmp_path / "deep" / "log") == "warning: something"


def test_whoever_stops_listening_ends_the_child(tmp_path: Path):
    code = """
        import json, os, time
        print(json.dumps({"event": "loading", "pid": os.getpid()}), flush=True)
        time.sleep(600)
    """
    events = child(code, tmp_path / "log")
    pid = next(events)["pid"]
    os.kill(pid, 0)
    events.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_log_without_words(tmp_path: Path):
    (tmp_path / "log").write_bytes(b"\n\xff \n  \n")
    assert local.last_line(tmp_path / "log") == "\ufffd"
    (tmp_path / "log").write_bytes(b"\n")
    assert local.last_line(tmp_path / "log") == "it printed nothing"


class Workers:
    """Stands for the worker process: `plan` says what happens to each run; keeps what each was started with."""

    def __init__(self, desk, plan: dict[str, str]) -> None:
        self.desk, self.plan, self.started = desk, plan, []

    def __call__(self, command: list[str], log: Path) -> Iterator[dict[str, Any]]:
        assert command[1:4] == ["-P", "-m", "harness.train.worker"]
        job = json.loads(Path(command[4]).read_text())
        assert job["lab"] == str(self.desk.lab.root)
        self.started.append([run["label"] for run in job["jobs"]])
        log.write_text("Traceback\nRuntimeError: boom\n")
        yield {"event": "loading"}
        for run in job["jobs"]:
            what = self.plan.get(run["label"], "done")
            if what == "die before":
                yield {"event": "exit", "code": 1}
                return
            yield {"event": "started", "run_id": run["run_id"], "label": run["label"], "total_steps": 1}
            if what == "die":
                yield {"event": "exit", "code": -9}
                return
            if what == "fail":
                yield {"event": "failed", "run_id": run["run_id"], "error": "bad data.", "fix": "mend it"}
                continue
            if what == "done":
                (done,) = [job for job in self.desk.resolve().plan.runs if job.run_id == run["run_id"]]
                self.desk.trained(done)
            yield {"event": "done", "run_id": run["run_id"], "seconds": 1}
        yield {"event": "exit", "code": 0}


@pytest.fixture
def train(desk, monkeypatch):
    def with_plan(plan: dict[str, str], **grid: Any):
        desk.spec(grid=grid or {"train.seed": [0, 1, 2]})
        workers = Workers(desk, plan)
        monkeypatch.setattr(local, "child_events", workers)
        jobs = desk.resolve().plan.runs
        names = {job.run_id: job.label for job in jobs}
        events: list[dict[str, Any]] = []
        failed = local.train(desk.lab, jobs, events.append)
        return {names[run_id]: why for run_id, why in failed.items()}, workers.started, events

    return with_plan


def test_one_worker_trains_all_runs_of_one_base(train, desk):
    failed, started, events = train({})
    assert (failed, started) == ({}, [["seed=0", "seed=1", "seed=2"]])
    assert [event["event"] for event in events] == ["loading"] + ["started", "done"] * 3 + ["exit"]
    assert local.train(desk.lab, desk.resolve().plan.runs, events.append) == {}
    assert len(started) == 1, "finished runs start nothing"


def test_each_quantisation_has_a_worker_of_its_own(train):
    grid = {"train.quantization": ["none", "nf4"], "train.seed": [0, 1]}
    _, started, _ = train({}, **grid)
    assert sorted(started) == [["16-bit seed=0", "16-bit seed=1"], ["nf4 seed=0", "nf4 seed=1"]]


def test_a_failed_run_does_not_take_the_others_along(train):
    failed, started, _ = train({"seed=1": "fail"})
    assert failed == {"seed=1": "bad data. mend it"}
    assert started == [["seed=0", "seed=1", "seed=2"]]


def test_a_worker_that_dies_takes_only_the_run_it_was_on(train):
    failed, started, _ = train({"seed=1": "die"})
    assert list(failed) == ["seed=1"]
    assert failed["seed=1"].startswith("the training process ended with code -9: RuntimeError: boom (log: ")
    assert started == [["seed=0", "seed=1", "seed=2"], ["seed=2"]]


def test_a_worker_that_dies_between_runs_is_replaced_before_a_run_is_blamed(train):
    """The first dies after seed=0 and blames nobody; the second cannot begin seed=1 either; the third does the rest."""
    failed, started, _ = train({"seed=1": "die before"})
    assert started == [["seed=0", "seed=1", "seed=2"], ["seed=1", "seed=2"], ["seed=2"]]
    assert list(failed) == ["seed=1"]


def test_a_worker_that_says_done_and_left_no_record_does_not_loop(train):
    with pytest.raises(TrainError, match="the training process finished no run"):
        train(dict.fromkeys(["seed=0", "seed=1", "seed=2"], "lie"))


def test_a_worker_that_does_nothing_is_an_error(desk, monkeypatch):
    def nothing(command: list[str], log: Path) -> Iterator[dict[str, Any]]:
        log.write_text("ImportError: no torch\n")
        yield {"event": "exit", "code": 0}

    monkeypatch.setattr(local, "child_events", nothing)
    with pytest.raises(TrainError, match="the training process did nothing: ImportError: no torch"):
        local.train(desk.lab, desk.resolve().plan.runs, lambda event: None)
