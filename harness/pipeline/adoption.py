"""An adapter trained elsewhere becomes a run of the lab: checked, copied, with the proof that parity asks for.

Its run id hashes its bytes and the base, so adopting it again finds it; nothing in the folder is ever executed.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness import store
from harness.base import BaseInfo, describe
from harness.core.errors import InputError, TrainError
from harness.core.fingerprint import file_sha256, short_id
from harness.core.paths import Lab, disk_errors, read_json, write_json
from harness.core.records import AdapterRecord, DataRef, RunJob, TrainSummary, now
from harness.data import inspect
from harness.executors.local import child_events, last_line
from harness.outside import Found, examine
from harness.progress import Progress
from harness.train.output import ADAPTER_FILES, adapter_sha256, is_complete, only_worker, publish, stage

# What trainers leave beside an adapter; kept as hashes, so that it can be told later which training this was.
PROVENANCE = ("*.md", "*.json", "*.jsonl", "*.yaml", "*.yml", "training_args.bin")
MAX_PROVENANCE_BYTES = 64 << 20  # tokenizers and logs; never a weight file
MAX_LABEL = 60  # characters: it stands in tables
# Texts to compare log-probs on where the training data is not given: any text will do, as both sides read the same.
PROBES = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("Write a short note to a neighbour about a parcel.", "Hello! Your parcel is with me; come by any evening."),
    ("List three things to check before a journey.", "Tickets, keys and the weather."),
    ("Explain why the sky is blue, in one sentence.", "Air scatters blue light more than red light."),
    ("Turn this into a question: the shop opens at nine.", "When does the shop open?"),
    ("def area(width, height):", "    return width * height"),
    ("Summarise: the meeting moved from Monday to Thursday.", "The meeting is now on Thursday."),
    ("How much is seven times eight?", "Seven times eight is 56."),
)  # fmt: skip


def adopt(lab: Lab, folder: Path, base_source: str, label: str, data: list[Path], progress: Progress) -> dict[str, Any]:
    """Take the adapter in `folder` into the lab. `data`: what it was trained on, where that is known.

    Returns run_id, label, `new` (False when it was there before), rank, parameters, warnings. Raises InputError or
    AdapterRefused for a folder that is no adapter of this base, LabError for a lab that cannot be written, TrainError
    when PEFT cannot load it.
    """
    base = describe(base_source, lab)
    found = examine(folder, base)
    refs = [inspect(path.absolute()) for path in data]
    run_id = short_id("r", {"adopted": adapter_sha256(folder), "base": base.ref.sha256})
    place = lab.runs / run_id
    new = not is_complete(place)
    if new:
        job = _job(run_id, _label(label, folder), folder, base, found, refs)
        with disk_errors(place), only_worker(place), stage(place) as staging:
            _take(job, folder, staging, place, found, progress)
        store.ingest(lab)
    record = AdapterRecord.read(lab.adapter_record(run_id))
    return {
        "run_id": run_id,
        "label": record.job.label,
        "new": new,
        "sha256": record.sha256,
        "rank": record.rank,
        "trainable_parameters": record.trainable_parameters,
        "warnings": found.warnings,
    }


def _take(job: RunJob, folder: Path, staging: Path, place: Path, found: Found, progress: Progress) -> None:
    """Copy, compute the reference from the copy, publish; the record last."""
    adapter = staging / "adapter"
    adapter.mkdir()
    for name in ADAPTER_FILES:
        shutil.copyfile(folder / name, adapter / name)
    sha256 = adapter_sha256(adapter)
    if sha256 != adapter_sha256(folder):
        raise InputError(f"{folder} changed while it was copied", "wait until its trainer is done")
    job.write(place / "job.json")
    progress.say(f"adopt: log-probs of {job.label} in process, for parity")
    _reference(job, adapter, place)
    record = AdapterRecord(
        run_id=job.run_id,
        job=job,
        sha256=sha256,
        rank=found.rank,
        trainable_parameters=found.parameters,
        bytes=sum((adapter / name).stat().st_size for name in ADAPTER_FILES),
        summary=_summary(folder, found),
        versions={"peft": str(found.config["peft_version"])} if "peft_version" in found.config else {},
        created=now(),
    )
    publish(place, adapter, record)


def _job(run_id: str, label: str, folder: Path, base: BaseInfo, found: Found, refs: list[DataRef]) -> RunJob:
    kept = ("r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora", "rank_pattern", "alpha_pattern", "bias")
    settings = {name: found.config[name] for name in kept if name in found.config}
    return RunJob(
        run_id=run_id,
        label=label,
        base=base.ref,
        method={"type": "adopted"},
        adapter={"type": "lora", **settings},
        quantization="none",
        data=refs,
        arguments={
            "base_model_name_or_path": found.config.get("base_model_name_or_path"),
            "files": {path.name: file_sha256(path) for path in _beside(folder)},
        },
        seed=0,
    )


def _beside(folder: Path) -> list[Path]:
    """What else lies in the folder and tells of the training."""
    paths = {path for pattern in PROVENANCE for path in folder.glob(pattern) if path.name not in ADAPTER_FILES}
    return [path for path in sorted(paths) if path.is_file() and path.stat().st_size <= MAX_PROVENANCE_BYTES]


def _label(label: str, folder: Path) -> str:
    """As asked, else the folder's name; a checkpoint is called by its run as well."""
    here = folder.resolve()
    own = f"{here.parent.name}/{here.name}" if here.name.startswith("checkpoint-") else here.name
    text = " ".join((label or own).split())
    if not text.isprintable() or not 0 < len(text) <= MAX_LABEL:
        raise InputError(
            f"label {text[:MAX_LABEL]!r} is empty, too long or not printable",
            f"give --label of 1 to {MAX_LABEL} characters",
        )
    return text


def _reference(job: RunJob, adapter: Path, place: Path) -> None:
    """reference.json by the training worker's own code, in a child: the parent never imports torch."""
    probes = place / "probes.jsonl"
    rows = [{"prompt": prompt, "completion": completion} for prompt, completion in PROBES]
    probes.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    request = {
        "base": job.base.model_dump(mode="json"),
        "adapter_dir": str(adapter),
        "probes_from": [ref.model_dump(mode="json") for ref in job.data or [inspect(probes)]],
        "out": str(place / "reference.json"),
    }
    write_json(place / "reference-job.json", request)
    log = place / "reference.log"
    command = [sys.executable, "-P", "-m", "harness.train.reference", str(place / "reference-job.json")]
    code = next(event["code"] for event in child_events(command, log) if event["event"] == "exit")
    if code:
        raise TrainError(f"PEFT does not load the adapter on {job.base.source}: {last_line(log)}", f"see {log}")
    _tells_something(read_json(place / "reference.json"), job)


def _tells_something(reference: Mapping[str, Any], job: RunJob) -> None:
    """InputError for an adapter whose weights are broken, or that does nothing: parity could never be shown."""
    effect = 0.0
    for probe in reference["probes"]:
        for tuned, bare in zip(probe["adapter_fp32"], probe["base_fp32"], strict=True):
            if tuned is not None and not math.isfinite(tuned):
                raise InputError(
                    f"the adapter's log-probs on {job.base.source} are not numbers", "its training diverged"
                )
            effect += abs(tuned - bare) if tuned is not None else 0.0
    if effect == 0.0:
        raise InputError(
            f"the adapter changes nothing on {job.base.source}: it is untrained, or its tensors have names that PEFT "
            "does not know",
            "save it with PEFT's save_pretrained after training",
        )


def _summary(folder: Path, found: Found) -> TrainSummary:
    """What trainer_state.json tells of the training; zeros and None where it is not there."""
    state = _trainer_state(folder / "trainer_state.json")
    losses = [loss for loss in _numbers(state.get("log_history"), "loss")]
    return TrainSummary(
        steps=int(_number(state.get("global_step")) or 0),
        epochs=_number(state.get("epoch")) or 0.0,
        seconds=next(_numbers(state.get("log_history"), "train_runtime"), 0.0),
        tokens=int(_number(state.get("num_input_tokens_seen")) or 0),
        first_loss=losses[0] if losses else None,
        final_loss=losses[-1] if losses else None,
        device="elsewhere",
        dtype=found.dtype,
    )


def _trainer_state(path: Path) -> dict[str, Any]:
    """The trainer's own account; nothing where it is missing or unreadable, as nothing rests on it."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _numbers(history: Any, key: str) -> Iterator[float]:
    for entry in history if isinstance(history, list) else []:
        value = _number(entry.get(key)) if isinstance(entry, dict) else None
        if value is not None:
            yield value


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None
