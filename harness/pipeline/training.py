"""The train stage, as the pipeline sees it: jobs in, finished adapters and failures out, with a bar for people."""

from __future__ import annotations

import contextlib
from typing import Any

from harness.core.paths import Lab
from harness.core.records import RunJob
from harness.executors import local
from harness.progress import Advance, Progress


def train_missing(lab: Lab, jobs: list[RunJob], progress: Progress) -> dict[str, str]:
    """Train what has no adapter.json yet. Returns run_id -> why, for each run that failed."""
    missing = [job for job in jobs if not lab.adapter_record(job.run_id).is_file()]
    done = len(jobs) - len(missing)
    if done:
        progress.say(f"train: {done} of {len(jobs)} runs already finished")
    if not missing:
        return {}
    with contextlib.ExitStack() as stack:
        shown = _Shown(progress, stack, {job.run_id: job.label for job in missing})
        failed = local.train(lab, missing, shown.event)
    for run_id, reason in failed.items():
        progress.say(f"train: {run_id} failed: {reason}", style="red")
    return failed


class _Shown:
    """Turns a worker's events into lines and one bar per run."""

    def __init__(self, progress: Progress, stack: contextlib.ExitStack, labels: dict[str, str]) -> None:
        self._progress, self._stack, self._labels = progress, stack, labels
        self._advance: Advance | None = None

    def event(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "loading":
            self._progress.say("train: loading the base and the trainer")
        elif kind == "started":
            self._stack.close()
            self._advance = self._stack.enter_context(
                self._progress.bar(f"train {event['label']}", int(event["total_steps"]))
            )
        elif kind == "step" and self._advance:
            self._advance(int(event["step"]), f"loss {event['loss']:.3f}" if event.get("loss") is not None else "")
        elif kind == "done":
            self._stack.close()
            label = self._labels.get(event["run_id"], "")
            self._progress.say(f"train: {event['run_id']} ({label}) in {event['seconds']:.0f} s")
