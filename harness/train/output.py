"""A run's folder: staged, published whole, its record last. Without torch, so that a finished run costs no imports."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.core.errors import LabError
from harness.core.faults import reached
from harness.core.fingerprint import folder_sha256
from harness.core.paths import sync_folder
from harness.core.records import AdapterRecord

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def adapter_sha256(folder: Path) -> str:
    """Hash over config and weights: what `AdapterRecord.sha256` and `RunJob.init_adapter_sha256` hold."""
    return folder_sha256(folder, ADAPTER_FILES)


def missing_file(folder: Path) -> str | None:
    """The first of the adapter's files that is not there."""
    return next((name for name in ADAPTER_FILES if not (folder / name).is_file()), None)


def is_complete(folder: Path) -> bool:
    """Is this run's adapter there and whole? LabError if a record is there and its adapter is not what it says."""
    if not (folder / "adapter.json").is_file():
        return False
    record = AdapterRecord.read(folder / "adapter.json")
    there = (folder / "reference.json").is_file() and missing_file(folder / "adapter") is None
    if not there or adapter_sha256(folder / "adapter") != record.sha256:
        raise LabError(f"{folder} does not hold the adapter that its record names", "move it away to train it again")
    return True


def publish(folder: Path, staged: Path, record: AdapterRecord) -> None:
    """Put the staged adapter in place and write the record, each whole or not at all."""
    for path in staged.iterdir():
        path.chmod(0o644)  # safetensors makes its files private; a server may run as someone else
        with path.open("rb") as file:
            os.fsync(file.fileno())
    reached("adapter.files")
    final = folder / "adapter"
    if final.exists():
        shutil.rmtree(final)  # left by a run that was killed before its record: nobody was told of it
    os.replace(staged, final)
    sync_folder(folder)
    record.write(folder / "adapter.json", "adapter.record")


@contextmanager
def only_worker(folder: Path) -> Iterator[None]:
    """Two commands may plan the same run; the second says so instead of mixing its files in. Freed if we are killed."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(f"{folder} is being trained by another command", "wait for that one") from None
        yield


@contextmanager
def stage(folder: Path) -> Iterator[Path]:
    """A temporary folder on the same disk; what a killed worker left is cleared first."""
    for left in folder.glob(".stage-*"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=".stage-", dir=folder) as name:
        yield Path(name)
