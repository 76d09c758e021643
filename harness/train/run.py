"""One run: from a RunJob to an adapter on disk, its record last."""

from __future__ import annotations

import gc
import importlib
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PrinterCallback, Trainer, set_seed
from trl.trainer import utils as trl_utils

from harness.core.paths import disk_errors, write_json
from harness.core.records import AdapterRecord, RunJob, TrainSummary, now
from harness.data import load_rows
from harness.train.encode import for_base
from harness.train.events import Events
from harness.train.methods import METHODS
from harness.train.model import Base, rank_of, save_adapter
from harness.train.output import adapter_sha256, only_worker, publish, stage
from harness.train.progress import Progress
from harness.train.reference import reference, write_reference
from harness.train.settings import eager_attention_fits, training_arguments

VERSIONED = ("torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate")


def train_run(job: RunJob, base: Base, folder: Path, events: Events) -> None:
    """Train one job into `folder`. The same job gives the same bytes, alone or after others in one process.

    Raises RatchetError for what a person can set right; whatever TRL, PEFT and torch raise passes through.
    """
    with disk_errors(folder), only_worker(folder), stage(folder) as staging:
        job.write(folder / "job.json")
        rows = list(itertools.chain.from_iterable(load_rows(ref) for ref in job.data))
        model, summary = _train(job, base, for_base(rows, job.base.has_chat_template), folder, staging, events)
        adapter = staging / "adapter"
        save_adapter(model, adapter, job.base.source)
        rank, parameters = rank_of(model), int(model.get_nb_trainable_parameters()[0])
        del model
        release_memory()  # the reference loads the base once more, in fp32
        write_reference(folder / "reference.json", reference(job.base, adapter, rows))
        record = AdapterRecord(
            run_id=job.run_id,
            job=job,
            sha256=adapter_sha256(adapter),
            rank=rank,
            trainable_parameters=parameters,
            bytes=sum(path.stat().st_size for path in adapter.iterdir()),
            summary=summary,
            versions={name: version(name) for name in VERSIONED},
            created=now(),
        )
        publish(folder, adapter, record)


def release_memory() -> None:
    """Give back what a finished or failed run held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _train(
    job: RunJob, base: Base, rows: list[dict[str, Any]], folder: Path, staging: Path, events: Events
) -> tuple[PeftModel, TrainSummary]:
    arguments, chosen = training_arguments(job, base, str(staging / "trainer"))
    set_seed(job.seed)
    method = importlib.import_module(f"harness.train.{job.method['type']}")  # a key of METHODS: check_job was here
    trainer, counts = method.build_trainer(base, job, rows, arguments)
    rows_at_once = trainer.args.per_device_train_batch_size * METHODS[job.method["type"]].sequences
    config = trainer.model.config.get_text_config()
    if base.device.type == "cpu" and eager_attention_fits(config, rows_at_once, counts.longest):
        trainer.model.get_base_model().set_attn_implementation("eager")
        chosen["attn_implementation"] = "eager: faster than fused attention on a CPU for rows this short"
    shown = {name: value for name, value in arguments.items() if name != "output_dir"}
    write_json(folder / "settings.json", {"arguments": shown, "chosen_here": chosen})
    trainer.remove_callback(PrinterCallback)
    with (folder / "metrics.jsonl").open("w", encoding="utf-8") as metrics:
        progress = Progress(events, job.run_id, job.label, counts, metrics)
        trainer.add_callback(progress)
        began = time.monotonic()
        with labelled_positions_only(base.device):
            trainer.train()
        seconds = time.monotonic() - began
    return trainer.model, _summary(trainer, base, progress, seconds)


def _summary(trainer: Trainer, base: Base, progress: Progress, seconds: float) -> TrainSummary:
    return TrainSummary(
        steps=trainer.state.global_step,
        epochs=round(trainer.state.epoch or 0.0, 4),
        seconds=round(seconds, 3),
        tokens=progress.tokens,
        first_loss=progress.first_loss,
        final_loss=progress.final_loss,
        device=torch.cuda.get_device_name() if base.device.type == "cuda" else "cpu",
        dtype=str(base.dtype).removeprefix("torch."),
    )


@contextmanager
def labelled_positions_only(device: torch.device) -> Iterator[None]:
    """Have TRL put only positions with a label through the LM head on a CPU too, as it does on CUDA.

    TRL 1.16 scores every position unless Triton is there, to keep shapes constant for compilers; eager CPU kernels gain
    nothing from that. The unlabelled ones count zero either way. Measured: 15 to 30 % more tokens per CPU second. TRL
    has no option for it, and this name in `trl.trainer.utils` decides nothing else (a test holds both).
    """
    kept = trl_utils._use_triton
    if device.type == "cpu":
        trl_utils._use_triton = lambda _: True
    try:
        yield
    finally:
        trl_utils._use_triton = kept
