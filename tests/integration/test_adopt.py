"""An adapter that PEFT wrote elsewhere: into the lab, into a spec, behind an alias. No engine is started."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.core.paths import Lab, read_json
from harness.core.records import AdapterRecord
from harness.evaluate import parity
from harness.train.output import is_complete
from serve import registry

HERE = Path(__file__).parent
BASE = HERE.parents[1] / "experiments" / "bases" / "tiny"
STATE = {"global_step": 7, "epoch": 1.0, "log_history": [{"loss": 3.0}, {"loss": 2.5}, {"train_runtime": 4.0}]}


def ratchet(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an adapter `mine` on the embedded base, one of all zeros, and what a trainer leaves beside it."""
    folder = tmp_path_factory.mktemp("adopt")
    adapters = {"mine": {"r": 4, "seed": 1, "rank_pattern": {"q_proj": 2}}, "other": {"r": 2, "seed": 2}}
    job = {"base": str(BASE), "folder": str(folder), "adapters": adapters, "sequences": [[1, 2]]}
    (folder / "job.json").write_text(json.dumps(job))
    command = [sys.executable, str(HERE / "make_adapters.py"), str(folder / "job.json")]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    (folder / "mine" / "trainer_state.json").write_text(json.dumps(STATE))
    (folder / "mine" / "training_args.bin").write_bytes(b"never read as a pickle")
    return folder


@pytest.fixture(scope="module")
def adopted(place: Path) -> dict[str, object]:
    done = ratchet("adopt", "mine", "--base", BASE, "--label", "from afar", "--format", "json", cwd=place)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["new"] is True
    return found


def test_what_lies_in_the_lab_is_the_adapter_and_where_it_came_from(place, adopted):
    lab, run_id = Lab(place / "lab"), str(adopted["run_id"])
    folder = lab.runs / run_id
    assert is_complete(folder)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (folder / "adapter" / name).read_bytes() == (place / "mine" / name).read_bytes()
    assert sorted(path.name for path in (folder / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    record = AdapterRecord.read(lab.adapter_record(run_id))
    assert (record.rank, record.job.method, record.job.label) == (4, {"type": "adopted"}, "from afar")
    assert (record.summary.steps, record.summary.first_loss, record.summary.final_loss) == (7, 3.0, 2.5)
    assert set(record.job.arguments["files"]) == {"README.md", "trainer_state.json", "training_args.bin"}


def test_its_reference_is_what_parity_asks_for(place, adopted):
    """A server that answers as PEFT does at its dtype passes, one that answers as the base does not."""
    path = Lab(place / "lab").runs / str(adopted["run_id"]) / "reference.json"
    reference = read_json(path)
    assert reference["adapter_sha256"] == adopted["sha256"]
    assert len(reference["probes"]) == 8

    def passes(column: str) -> bool:
        def ask(model: str, tokens: list[list[int]]) -> list[list[float | None]]:
            return [probe["base_fp32" if model == "base" else column] for probe in reference["probes"]]

        sha256, run_id = str(adopted["sha256"]), str(adopted["run_id"])
        return parity.check(path, run_id, sha256, run_id, "base", reference["serving_dtype"], ask).passed

    assert passes("adapter_serving")
    assert not passes("base_fp32")


def test_adopting_it_again_finds_it_even_from_another_place(place, adopted):
    shutil.copytree(place / "mine", place / "copy", dirs_exist_ok=True)
    done = ratchet("adopt", "copy", "--base", BASE, "--format", "json", cwd=place)
    assert json.loads(done.stdout) == adopted | {"new": False}


def test_its_run_id_works_in_a_spec_and_in_promote(place, adopted):
    run_id = adopted["run_id"]
    (place / "evalsets" / "mini").mkdir(parents=True)
    (place / "evalsets" / "mini" / "evalset.yaml").write_text(
        "name: mini\nversion: 1\nlicence: Apache-2.0\nmetrics: {exact: {scorer: exact}}\n"
    )
    (place / "evalsets" / "mini" / "items.jsonl").write_text('{"id": "1", "prompt": "p", "gold": ["a"]}\n')
    (place / "spec.yaml").write_text(
        f"name: afar\nbase_model: {BASE}\nsubjects: [{run_id}]\nbaselines: [zero_shot, {{adapter: {run_id}}}]\n"
        "evaluate: {evalsets: [mini]}\n"
    )
    checked = ratchet("check", "spec.yaml", cwd=place)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    refused = ratchet("promote", run_id, "--as", "afar@prod", cwd=place)
    assert "has no verdict" in refused.stderr
    done = ratchet("promote", run_id, "--as", "afar@prod", "--force", "--reason", "it was there before", cwd=place)
    assert done.returncode == 0, done.stderr
    assert registry.resolve(Lab(place / "lab"), "afar@prod").run_id == run_id
    assert "from afar" in ratchet("ls", cwd=place).stdout


def test_an_adapter_that_does_nothing_is_not_taken_in(place):
    """PEFT's B starts at zero: an untrained adapter answers as the base does, and parity could never be shown."""
    source = place / "other" / "adapter_model.safetensors"
    data = source.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    (place / "empty").mkdir()
    shutil.copy(place / "other" / "adapter_config.json", place / "empty")
    (place / "empty" / source.name).write_bytes(data[:start] + bytes(len(data) - start))
    done = ratchet("adopt", "empty", "--base", BASE, "--lab", "second", cwd=place)
    assert done.returncode == 1
    assert "the adapter changes nothing on" in done.stderr
    assert list((place / "second" / "runs").glob("*/adapter.json")) == []
