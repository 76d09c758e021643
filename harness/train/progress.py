"""What a running training tells: events on stdout for the parent, one line per logged step in metrics.jsonl."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict
from io import TextIOWrapper
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from harness.train.encode import RowCounts
from harness.train.events import Events

EVENT_INTERVAL_S = 0.2  # a progress bar needs no more, and a pipe per step would slow small models


class Progress(TrainerCallback):
    """Writes metrics.jsonl and sends `started` and `step` events; remembers the losses and tokens for the record."""

    def __init__(self, events: Events, run_id: str, label: str, counts: RowCounts, metrics: TextIOWrapper) -> None:
        self._events, self._metrics = events, metrics
        self._run_id, self._label = run_id, label
        self._rows = {f"rows_{name}": value for name, value in asdict(counts).items()}
        self._began = self._sent = time.monotonic()
        self.first_loss: float | None = None
        self.final_loss: float | None = None
        self.tokens = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._began = time.monotonic()
        self._events.send("started", run_id=self._run_id, label=self._label, total_steps=state.max_steps, **self._rows)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **_: Any
    ) -> None:
        if "loss" not in logs:
            return  # the summary at the end
        values = {name: _finite(value) for name, value in logs.items()}
        self.tokens = int(values.pop("num_tokens", None) or self.tokens)
        self.final_loss = values["loss"]
        self.first_loss = self.final_loss if self.first_loss is None else self.first_loss
        seconds = round(time.monotonic() - self._began, 3)
        where = {"step": state.global_step, "total": state.max_steps}
        line = where | values | {"tokens": self.tokens, "seconds": seconds} | self._rows
        self._metrics.write(json.dumps(line, allow_nan=False) + "\n")
        self._metrics.flush()
        self._step(state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if not control.should_log:
            self._step(state)

    def _step(self, state: TrainerState) -> None:
        step, total = state.global_step, state.max_steps
        if step < total and time.monotonic() - self._sent < EVENT_INTERVAL_S:
            return
        self._sent = time.monotonic()
        self._events.send("step", run_id=self._run_id, step=step, total=total, loss=self.final_loss)


def _finite(value: Any) -> Any:
    """JSON has no NaN: null says that the figure is none."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
