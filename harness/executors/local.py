"""Training on this machine: one child process for all runs that share a base and quantisation.

A child that dies takes only the run it was on; the rest go on in a new one. The parent never imports torch.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from harness.core.errors import TrainError
from harness.core.paths import Lab, disk_errors, write_json
from harness.core.records import RunJob

Event = dict[str, Any]


def train(lab: Lab, jobs: list[RunJob], on_event: Callable[[Event], None]) -> dict[str, str]:
    """Train every job whose adapter.json does not exist yet. Returns run_id -> one line for each run that failed."""
    missing = [job for job in jobs if not lab.adapter_record(job.run_id).is_file()]
    failed: dict[str, str] = {}
    for _, group in groupby(sorted(missing, key=_group_key), key=_group_key):
        waiting = list(group)
        while waiting:
            failed |= _one_worker(lab, waiting, on_event)
            left = [job for job in waiting if job.run_id not in failed and not lab.adapter_record(job.run_id).is_file()]
            if len(left) == len(waiting):  # it said "done" without a record: another worker would do the same
                raise TrainError("the training process finished no run", f"see {lab.runs / 'jobs'}")
            waiting = left
    return failed


def _group_key(job: RunJob) -> tuple[str, str]:
    return job.base.sha256, job.quantization


def _one_worker(lab: Lab, jobs: list[RunJob], on_event: Callable[[Event], None]) -> dict[str, str]:
    """Run one child over `jobs` until it ends; returns what failed, the run it died on included."""
    failed: dict[str, str] = {}
    current, finished = jobs[0].run_id, set[str]()
    job_file = lab.runs / "jobs" / f"{jobs[0].run_id}.json"
    write_json(job_file, {"lab": str(lab.root), "jobs": [job.model_dump(mode="json") for job in jobs]})
    log = job_file.with_suffix(".log")
    for event in child_events([sys.executable, "-P", "-m", "harness.train.worker", str(job_file)], log):
        if event["event"] == "started":
            current = event["run_id"]
        elif event["event"] == "failed":
            failed[event["run_id"]] = " ".join(filter(None, [event["error"], event.get("fix")]))
        elif event["event"] == "done":
            finished.add(event["run_id"])
        elif (
            event["event"] == "exit" and event["code"] not in (0, 3) and current not in failed | dict.fromkeys(finished)
        ):
            failed[current] = f"the training process ended with code {event['code']}: {last_line(log)} (log: {log})"
        on_event(event)
    if not failed and not finished:
        raise TrainError(f"the training process did nothing: {last_line(log)}", f"see {log}")
    return failed


def child_events(command: list[str], log: Path) -> Iterator[Event]:
    """Start a child, tell it to go on at once, and yield its events; leaving the loop early ends it."""
    with Child(command, log) as child:
        yield from child.events()


class Child:
    """A child process that prints JSON lines, its stderr in `log`; ended by its own pid when the `with` is left.

    A child may prepare itself (import what is slow) and then read a line from stdin: `events` sends it, and in it
    `secret`, which no file, command line or environment shall hold. When this process dies, that read ends too.
    """

    def __init__(self, command: list[str], log: Path, secret: str = "") -> None:
        self._secret = secret
        with disk_errors(log):
            log.parent.mkdir(parents=True, exist_ok=True)
        with disk_errors(log), log.open("ab") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )

    def events(self) -> Iterator[Event]:
        """Let it go on; yield its events, then {"event": "exit", "code": …}."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it ended already; its exit code says how
            self._process.stdin.write(f"{self._secret}\n")
            self._process.stdin.close()
        for line in self._process.stdout:
            event = _event(line)
            if event:
                yield event
        yield {"event": "exit", "code": self._process.wait()}

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._process)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _event(line: str) -> Event | None:
    """An event of ours, or None: libraries print to stdout as they please."""
    try:
        value = json.loads(line) if line.startswith("{") else None
    except ValueError:
        return None
    return value if isinstance(value, dict) and "event" in value else None


def _end(child: subprocess.Popen[str]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def last_line(log: Path) -> str:
    """The last line of a log that says something, for an error message."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
