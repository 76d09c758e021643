"""What the worker refuses before it imports anything heavy, and how a run's folder is published."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import InputError, LabError
from harness.core.records import AdapterRecord, BaseRef, RunJob, TrainSummary
from harness.train.output import ADAPTER_FILES, adapter_sha256, is_complete, only_worker, publish, stage
from harness.train.worker import read_jobs

BASE = BaseRef(source="base", path="/nowhere/base", sha256="0" * 64)


def job(run_id: str = "run-1", **changes: Any) -> RunJob:
    settings: dict[str, Any] = {
        "label": "r=8",
        "base": BASE,
        "method": {"type": "sft"},
        "adapter": {"type": "lora", "r": 8},
        "quantization": "none",
        "data": [],
        "arguments": {},
        "seed": 0,
    }
    return RunJob(run_id=run_id, **(settings | changes))


def write_jobs(folder: Path, *jobs: RunJob) -> Path:
    path = folder / "jobs.json"
    path.write_text(json.dumps({"lab": str(folder / "lab"), "jobs": [job.model_dump(mode="json") for job in jobs]}))
    return path


def publish_one(folder: Path) -> AdapterRecord:
    folder.mkdir(parents=True, exist_ok=True)
    with stage(folder) as staging:
        adapter = staging / "adapter"
        adapter.mkdir()
        for name in ADAPTER_FILES:
            (adapter / name).write_bytes(name.encode())
        summary = TrainSummary(
            steps=1, epochs=1, seconds=1, tokens=1, first_loss=1, final_loss=1, device="cpu", dtype="float32"
        )
        record = AdapterRecord(
            run_id=folder.name,
            job=job(folder.name),
            sha256=adapter_sha256(adapter),
            rank=8,
            trainable_parameters=1,
            bytes=1,
            summary=summary,
            versions={},
            created="2026-01-01T00:00:00+00:00",
        )
        (folder / "reference.json").write_text("{}")
        publish(folder, adapter, record)
    return record


def test_jobs_must_share_base_and_quantization(tmp_path: Path) -> None:
    lab, jobs = read_jobs(write_jobs(tmp_path, job("run-1"), job("run-2")))
    assert lab.root == tmp_path / "lab"
    assert [job.run_id for job in jobs] == ["run-1", "run-2"]
    with pytest.raises(InputError, match="mixes bases or quantizations"):
        read_jobs(write_jobs(tmp_path, job("run-1"), job("run-2", quantization="nf4")))


def test_a_run_id_cannot_leave_the_lab(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run_id"):
        read_jobs(write_jobs(tmp_path, job("../../etc")))


def test_unreadable_jobs_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "jobs.json"
    path.write_text('{"lab": "/x", "jobs": [{"run_id": 3}]}')
    done = subprocess.run([sys.executable, "-m", "harness.train.worker", str(path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


def test_bad_argument_fails_its_run_without_torch(tmp_path: Path) -> None:
    path = write_jobs(tmp_path, job("run-1", arguments={"learning_rat": 1}))
    done = subprocess.run([sys.executable, "-m", "harness.train.worker", str(path)], capture_output=True, text=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 3
    assert [event["event"] for event in events] == ["loading", "failed"]
    assert events[1]["run_id"] == "run-1"
    assert events[1]["fix"] == "did you mean 'learning_rate'"


def test_complete_run_is_skipped(tmp_path: Path) -> None:
    publish_one(tmp_path / "lab" / "runs" / "run-1")
    done = subprocess.run(
        [sys.executable, "-m", "harness.train.worker", str(write_jobs(tmp_path, job("run-1")))],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[-1]) == {"event": "done", "run_id": "run-1", "seconds": 0}


def test_published_whole(tmp_path: Path) -> None:
    folder = tmp_path / "run-1"
    assert not is_complete(folder)
    (folder / "adapter").mkdir(parents=True)  # what a worker killed before its record leaves
    (folder / "adapter" / "adapter_config.json").write_text("half")
    (folder / ".stage-old").mkdir()
    record = publish_one(folder)
    assert is_complete(folder)
    assert AdapterRecord.read(folder / "adapter.json") == record
    assert sorted(path.name for path in (folder / "adapter").iterdir()) == sorted(ADAPTER_FILES)
    assert not list(folder.glob(".stage-*"))


def test_damage_is_said_not_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "run-1"
    publish_one(folder)
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"other")
    with pytest.raises(LabError, match="move it away"):
        is_complete(folder)


def test_full_disk_leaves_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for point in ("adapter.files", "adapter.record"):
        monkeypatch.setenv("RATCHET_FULL_DISK_AT", point)
        folder = tmp_path / point
        with pytest.raises((OSError, LabError)):
            publish_one(folder)
        assert not is_complete(folder)
        monkeypatch.delenv("RATCHET_FULL_DISK_AT")
        publish_one(folder)
        assert is_complete(folder)


def test_two_workers_on_one_run(tmp_path: Path) -> None:
    with only_worker(tmp_path), pytest.raises(LabError, match="another command"), only_worker(tmp_path):
        pass
    with only_worker(tmp_path):
        pass
