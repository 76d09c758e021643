"""The training worker: `python -m harness.train.worker JOBS.json`, a child process of whoever wants runs trained.

JOBS.json: {"lab": absolute folder, "jobs": [RunJob, …]}; all jobs share base and quantization, so the base is loaded
once. Writes runs/<run_id>/: job.json, settings.json, metrics.jsonl, reference.json, adapter/ and, last, adapter.json.
Events on stdout, one JSON object a line; anything else goes to stderr:
    {"event": "loading"}
    {"event": "started", "run_id", "label", "total_steps", "rows_used", "rows_cut", "rows_dropped", …}
    {"event": "step", "run_id", "step", "total", "loss"}
    {"event": "done", "run_id", "seconds"}       a run that was complete before: 0 seconds, no "started"
    {"event": "failed", "run_id", "error", "fix"}
Exit: 0 all done, 3 some failed (a run with neither "done" nor "failed" was not tried: start it in a new worker),
1 the jobs could not be read. Linux ends the worker when the thread that started it ends.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.core.errors import InputError, RatchetError
from harness.core.machine import first_gpu
from harness.core.paths import Lab, check_name, read_json
from harness.core.process import die_with_parent
from harness.core.records import RunJob
from harness.train.arguments import check_job
from harness.train.events import Events
from harness.train.output import is_complete

if TYPE_CHECKING:
    from harness.train.model import Base

# What a run may die of while others can still succeed. Anything else is a bug: the process ends with its traceback.
RUN_FAILURES = (RatchetError, RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, OSError, MemoryError)


def main(argv: list[str]) -> int:
    die_with_parent()
    _prepare_libraries()
    try:
        lab, jobs = read_jobs(Path(argv[1]))
    except RatchetError as error:
        print(error.one_line(), file=sys.stderr)
        return 1
    events = Events()
    events.send("loading")  # importing torch and TRL takes 8 to 30 s, and happens when the first run needs it
    return 0 if train_all(lab, jobs, events) else 3


def read_jobs(path: Path) -> tuple[Lab, list[RunJob]]:
    """InputError if the file is not a list of jobs over one base and one quantization."""
    try:
        content = read_json(path)
        jobs = [RunJob.model_validate(job) for job in content["jobs"]]
        lab = Lab(Path(content["lab"]))
    except (FileNotFoundError, ValidationError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no list of jobs ({error})", "write {lab, jobs: [RunJob, …]}") from error
    if len({(job.base.sha256, job.base.path, job.quantization) for job in jobs}) > 1:
        raise InputError(f"{path} mixes bases or quantizations", "give each pair a worker of its own")
    for job in jobs:
        check_name(job.run_id, "run_id")
    return lab, jobs


def train_all(lab: Lab, jobs: list[RunJob], events: Events) -> bool:
    """Train what is missing, one run after the other; True if every run is done."""
    loaded: list[Base] = []  # at most one: all jobs share it
    complete = True
    for job in jobs:
        began = time.monotonic()
        try:
            trained = _train_missing(job, loaded, lab.runs / job.run_id, events)
        except RUN_FAILURES as error:
            complete = False
            traceback.print_exc()
            events.send("failed", run_id=job.run_id, **_told(error))
            if _accelerator_broke(error):
                break
        else:
            events.send("done", run_id=job.run_id, seconds=round(time.monotonic() - began, 3) if trained else 0)
    return complete


def _train_missing(job: RunJob, loaded: list[Base], folder: Path, events: Events) -> bool:
    """Train one run unless it is complete; says whether it was. The first one imports torch and loads the base."""
    if is_complete(folder):
        return False
    check_job(job)
    from harness.train.model import load_base, use_all_cores
    from harness.train.run import release_memory, train_run

    release_memory()  # what a failed run before this one held
    if not loaded:
        use_all_cores()
        loaded.append(load_base(job.base, job.quantization))
    train_run(job, loaded[0], folder, events)
    return True


def _told(error: BaseException) -> dict[str, Any]:
    """What is wrong and the fix, each in one line."""
    if isinstance(error, RatchetError):
        return {"error": " ".join(error.problem.split()), "fix": error.fix}
    text = " ".join(str(error).split()) or type(error).__name__
    if _out_of_memory(error):
        return {
            "error": f"out of memory: {text[:300]}",
            "fix": "lower train.per_device_train_batch_size or train.max_length, or set train.quantization: nf4",
        }
    return {"error": f"{type(error).__name__}: {text[:500]}", "fix": "see the log for where it happened"}


def _out_of_memory(error: BaseException) -> bool:
    # On a CPU torch has no type of its own for it, only "[…] DefaultCPUAllocator: can't allocate memory".
    return isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error)


def _accelerator_broke(error: BaseException) -> bool:
    """After a CUDA error other than out-of-memory the context is lost: every run after it would fail, too."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.AcceleratorError)


def _prepare_libraries() -> None:
    """Before they are imported: no progress bars, no telemetry (TRL pings the hub from every trainer).

    PASSIVE: torch's threads sleep at barriers instead of spinning. Measured on a busy machine (2 cores, load 6): two to
    three times the tokens per CPU second.

    One GPU: transformers splits every batch over all that it sees, and a run would depend on how many a machine has.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = first_gpu(os.environ)
    for name in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
        os.environ[name] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


if __name__ == "__main__":
    sys.exit(main(sys.argv))
