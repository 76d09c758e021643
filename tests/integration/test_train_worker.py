"""Training for real on a small pretrained base: through the worker process, as the executor starts it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.core.paths import Lab, read_json
from harness.core.records import AdapterRecord, BaseRef, DataRef, RunJob
from harness.data import inspect, load_rows
from harness.train.arguments import adapter_names, argument_names
from harness.train.methods import METHODS

ROOT = Path(__file__).parents[2]
LORA = {"type": "lora", "r": 4, "lora_alpha": 8}
ARGUMENTS = {"learning_rate": 5e-3, "max_steps": 4, "per_device_train_batch_size": 8, "max_length": 1024}


@dataclass(frozen=True)
class Trained:
    lab: Lab
    exit_code: int
    events: list[dict[str, Any]]
    log: str

    def of(self, run_id: str, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.events if entry.get("run_id") == run_id and entry["event"] == event]

    def folder(self, run_id: str) -> Path:
        return self.lab.runs / run_id

    def record(self, run_id: str) -> AdapterRecord:
        return AdapterRecord.read(self.folder(run_id) / "adapter.json")

    def metrics(self, run_id: str) -> list[dict[str, Any]]:
        lines = (self.folder(run_id) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def weights(self, run_id: str) -> bytes:
        return (self.folder(run_id) / "adapter" / "adapter_model.safetensors").read_bytes()


@dataclass(frozen=True)
class Inputs:
    base: BaseRef
    sft: DataRef
    preference: DataRef

    def job(self, run_id: str, data: DataRef | None = None, **changes: Any) -> RunJob:
        settings: dict[str, Any] = {
            "label": run_id,
            "base": self.base,
            "method": {"type": "sft"},
            "adapter": LORA,
            "quantization": "none",
            "data": [data or self.sft],
            "arguments": ARGUMENTS,
            "seed": 0,
        }
        return RunJob(run_id=run_id, **(settings | changes))


@pytest.fixture(scope="module")
def inputs(stories260k: Path, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder, data = tmp_path_factory.mktemp("data"), stories260k.parents[1] / "data" / "aac"
    rows = [json.loads(line) for line in (data / "aac-504-fields.jsonl").read_text(encoding="utf-8").splitlines()[:48]]
    # The warmer rewording of the same sentence is what raters would choose.
    warm_lines = (data / "aac-toddler-504.jsonl").read_text(encoding="utf-8").splitlines()[:48]
    pairs = [
        {
            "prompt": row["input"],
            "chosen": json.loads(line)["text"].split("<bot>:")[1].strip(),
            "rejected": row["output"],
        }
        for row, line in zip(rows, warm_lines, strict=True)
    ]
    base = BaseRef(source="stories260k", path=str(stories260k), sha256="0" * 64)
    return Inputs(base, _data(folder / "sft.jsonl", rows), _data(folder / "preference.jsonl", pairs))


def _data(path: Path, rows: list[dict[str, Any]]) -> DataRef:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return inspect(path)


def start_worker(lab: Lab, jobs: list[RunJob]) -> Trained:
    job_file = lab.root / "jobs.json"
    lab.root.mkdir(parents=True, exist_ok=True)
    job_file.write_text(json.dumps({"lab": str(lab.root), "jobs": [job.model_dump(mode="json") for job in jobs]}))
    command = [sys.executable, "-P", "-m", "harness.train.worker", str(job_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    return Trained(lab, done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr)


@pytest.fixture(scope="module")
def shared_process(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One process, several runs; what the earlier ones do to the model must not reach the later ones."""
    lab = Lab(tmp_path_factory.mktemp("shared-process"))
    dpo = {"type": "dpo", "beta": 0.1, "loss_type": "robust", "label_smoothing": 0.1}
    jobs = [
        # Dropout, another rank, and DPO (which switches dropout off in the model it gets) before the run that counts.
        inputs.job("run-first", adapter={**LORA, "r": 2, "lora_dropout": 0.2}, seed=1),
        inputs.job("run-fresh-dpo", inputs.preference, method=dpo),
        inputs.job("run-bad", arguments={**ARGUMENTS, "lr_scheduler_type": "sideways"}),
        inputs.job("run-again"),
        inputs.job("run-dpo", inputs.preference, method=dpo, init_adapter=str(lab.runs / "run-again" / "adapter")),
        inputs.job("run-packed", arguments={**ARGUMENTS, "packing": True, "max_length": 160, "num_train_epochs": 1}),
    ]
    return start_worker(lab, jobs)


@pytest.fixture(scope="module")
def alone(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return start_worker(Lab(tmp_path_factory.mktemp("alone")), [inputs.job("run-again")])


def test_one_bad_run_does_not_stop_the_others(shared_process: Trained) -> None:
    assert shared_process.exit_code == 3, shared_process.log
    assert shared_process.events[0] == {"event": "loading"}
    (failed,) = [event for event in shared_process.events if event["event"] == "failed"]
    assert failed["run_id"] == "run-bad"
    assert "sideways" in failed["error"]
    assert "\n" not in failed["error"] + failed["fix"]
    for run_id in ("run-first", "run-fresh-dpo", "run-again", "run-dpo", "run-packed"):
        (started,) = shared_process.of(run_id, "started")
        steps = shared_process.of(run_id, "step")
        assert steps[-1]["step"] == steps[-1]["total"] == started["total_steps"]
        assert len(shared_process.of(run_id, "done")) == 1
    assert not (shared_process.folder("run-bad") / "adapter.json").exists()


def test_a_run_gives_the_same_bytes_alone_and_after_others(shared_process: Trained, alone: Trained) -> None:
    assert alone.exit_code == 0, alone.log
    assert shared_process.weights("run-again") == alone.weights("run-again")
    assert shared_process.record("run-again").sha256 == alone.record("run-again").sha256
    losses = [[line["loss"] for line in trained.metrics("run-again")] for trained in (shared_process, alone)]
    assert losses[0] == losses[1]


def test_what_lies_in_the_folder(alone: Trained) -> None:
    folder, record = alone.folder("run-again"), alone.record("run-again")
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    assert names == ["adapter", "adapter.json", "job.json", "metrics.jsonl", "reference.json", "settings.json"]
    assert sorted(path.name for path in (folder / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert RunJob.read(folder / "job.json") == record.job
    config = read_json(folder / "adapter" / "adapter_config.json")
    assert config["target_modules"] == sorted(config["target_modules"])
    assert config["base_model_name_or_path"] == "stories260k"
    # r = 4 on seven linear layers of 5 blocks: 4 * (in + out); q and o 64x256, k and v 64x128, gate, up and down 64x172
    assert record.trainable_parameters == 5 * 4 * (2 * (64 + 256) + 2 * (64 + 128) + 3 * (64 + 172))
    assert (record.rank, record.summary.steps, record.summary.dtype) == (4, 4, "float32")
    assert set(record.versions) == {"torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate"}
    settings = read_json(folder / "settings.json")
    assert settings["arguments"]["gradient_checkpointing"] is False
    assert "context" in settings["chosen_here"]["max_length"]


def test_metrics_have_every_step(alone: Trained) -> None:
    lines, summary = alone.metrics("run-again"), alone.record("run-again").summary
    assert [(line["step"], line["total"]) for line in lines] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    wanted = {
        "epoch",
        "loss",
        "learning_rate",
        "grad_norm",
        "tokens",
        "seconds",
        "rows_used",
        "rows_cut",
        "rows_dropped",
    }
    assert all(wanted <= set(line) for line in lines)
    assert (summary.first_loss, summary.final_loss) == (lines[0]["loss"], lines[-1]["loss"])
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert summary.tokens == lines[-1]["tokens"] > 0


def test_dpo_takes_the_adapter_it_continues_as_reference(shared_process: Trained) -> None:
    """Before its first update the policy is the reference: log ratios 0, so every loss term is log 2 and the robust
    loss ((1-e) log 2 - e log 2) / (1-2e) = log 2. Against the bare base it would not be."""
    for run_id in ("run-dpo", "run-fresh-dpo"):
        first, last = shared_process.metrics(run_id)[0], shared_process.metrics(run_id)[-1]
        assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)
        assert first["rewards/margins"] == pytest.approx(0, abs=1e-6)
        assert last["rewards/margins"] != 0
        assert {"logps/chosen", "logps/rejected", "rewards/chosen", "rewards/accuracies"} <= set(last)
    assert shared_process.weights("run-dpo") != shared_process.weights("run-again")
    files = sorted(path.name for path in (shared_process.folder("run-dpo") / "adapter").iterdir())
    assert files == ["adapter_config.json", "adapter_model.safetensors"]  # no ref/


def test_reference_is_the_adapter_as_it_lies_on_disk(alone: Trained, inputs: Inputs) -> None:
    """Against the arithmetic of LoRA done by hand: W + (alpha / r) B A, without PEFT."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    reference = read_json(alone.folder("run-again") / "reference.json")
    assert reference["adapter_sha256"] == alone.record("run-again").sha256
    assert reference["serving_dtype"] == "float32"
    assert len(reference["probes"]) == 8
    model = AutoModelForCausalLM.from_pretrained(inputs.base.path, dtype=torch.float32)
    before = [_log_probs(model, probe["token_ids"]) for probe in reference["probes"]]
    weights = load_file(alone.folder("run-again") / "adapter" / "adapter_model.safetensors")
    for name, parameter in model.named_parameters():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{stem}.lora_A.weight" in weights:
            parameter.data += 2.0 * weights[f"{stem}.lora_B.weight"] @ weights[f"{stem}.lora_A.weight"]
    after = [_log_probs(model, probe["token_ids"]) for probe in reference["probes"]]
    for probe, base, adapter in zip(reference["probes"], before, after, strict=True):
        assert 1 < len(probe["token_ids"]) <= 128
        assert probe["base_fp32"][0] is None
        assert probe["base_fp32"][1:] == pytest.approx(base, abs=1e-4)
        assert probe["adapter_fp32"][1:] == pytest.approx(adapter, abs=1e-4)
        assert probe["adapter_serving"] == probe["adapter_fp32"]
        assert max(abs(a - b) for a, b in zip(base, adapter, strict=True)) > 0.01


def _log_probs(model: Any, ids: list[int]) -> list[float]:
    import torch

    with torch.no_grad():
        scores = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), dim=-1)
    return [float(scores[position - 1, token]) for position, token in enumerate(ids) if position]


def test_reference_for_an_adapter_trained_elsewhere(alone: Trained, inputs: Inputs, tmp_path: Path) -> None:
    from harness.train.reference import main

    job = {
        "base": inputs.base.model_dump(),
        "adapter_dir": str(alone.folder("run-again") / "adapter"),
        "probes_from": [inputs.sft.model_dump()],
        "out": str(tmp_path / "reference.json"),
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert main(["reference", str(tmp_path / "job.json")]) == 0
    assert read_json(tmp_path / "reference.json") == read_json(alone.folder("run-again") / "reference.json")


def test_loss_lies_on_the_answer_and_its_end_token(inputs: Inputs, tmp_path: Path) -> None:
    """The batch that the trainer itself feeds to the model, decoded where it carries loss."""
    from harness.train.model import load_base
    from harness.train.settings import training_arguments
    from harness.train.sft import build_trainer

    base, rows = load_base(inputs.base, "none"), load_rows(inputs.sft)[:8]
    arguments, _ = training_arguments(inputs.job("run-1"), base, str(tmp_path))
    trainer, counts = build_trainer(base, inputs.job("run-1"), rows, arguments)
    (batch,) = trainer.get_train_dataloader()
    learned = {base.tokenizer.decode(labels[labels != -100]).strip() for labels in batch["labels"]}
    assert learned == {row["completion"][0]["content"] + "</s>" for row in rows}
    assert all(int((labels == base.tokenizer.eos_token_id).sum()) == 1 for labels in batch["labels"])
    assert counts.used == 8
    _, short = build_trainer(base, inputs.job("run-1"), rows, {**arguments, "max_length": 90})
    assert short.dropped + short.cut > 0
    assert short.used + short.dropped == 8


def test_labelled_positions_alone_give_the_same_loss(inputs: Inputs, tmp_path: Path) -> None:
    """TRL's other path through the LM head; and the base in memory is as it was afterwards."""
    import torch
    from trl.trainer import utils as trl_utils

    from harness.train.model import load_base
    from harness.train.run import labelled_positions_only
    from harness.train.settings import training_arguments
    from harness.train.sft import build_trainer

    base = load_base(inputs.base, "none")
    untouched = {name: value.clone() for name, value in base.model.state_dict().items()}
    arguments, _ = training_arguments(inputs.job("run-1"), base, str(tmp_path))
    trainer, _ = build_trainer(base, inputs.job("run-1"), load_rows(inputs.sft)[:8], arguments)
    (batch,) = trainer.get_train_dataloader()
    losses = [trainer.compute_loss(trainer.model, dict(batch)).item()]
    assert not trl_utils._use_triton(torch.device("cpu")), "TRL does it itself now: drop labelled_positions_only"
    with labelled_positions_only(torch.device("cpu")):
        losses.append(trainer.compute_loss(trainer.model, dict(batch)).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert not trl_utils._use_triton(torch.device("cpu"))
    assert "forward" not in vars(base.model)
    assert all(torch.equal(untouched[name], value) for name, value in base.model.state_dict().items())
    assert next(trainer.model.parameters()).data_ptr() == next(base.model.parameters()).data_ptr()


def test_argument_names_are_those_of_the_installed_trl() -> None:
    from peft import LoraConfig
    from trl import DPOConfig, SFTConfig

    for method, config in {"sft": SFTConfig, "dpo": DPOConfig}.items():
        named = {field.name for field in fields(config) if field.init and not field.name.startswith("_")}
        assert argument_names(method) == named
        assert set(METHODS[method].fields) | set(METHODS[method].ignored) <= named
    inherited = {"task_type", "peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision"}
    named = {field.name for field in fields(LoraConfig) if field.init}
    assert adapter_names() == named - inherited - {"inference_mode"}


def test_a_bf16_base_trains_in_fp32_on_a_cpu_that_has_no_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from harness.train.model import load_base

    tiny = ROOT / "experiments" / "bases" / "tiny"
    ref = BaseRef(source="experiments/bases/tiny", path=str(tiny), sha256="1" * 64)
    stored = {}
    for capability, dtype in (("avx512_bw", torch.bfloat16), ("avx2", torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda name=capability: {name: True})
        base = load_base(ref, "none")
        assert {base.dtype, *(parameter.dtype for parameter in base.model.parameters())} == {dtype}
        stored[dtype] = base.model.lm_head.weight
    assert torch.equal(stored[torch.bfloat16].float(), stored[torch.float32]), "the same weights"


def test_memory_is_foretold_for_the_dtype_that_a_base_trains_in() -> None:
    """check decides it without torch; the worker with."""
    import torch

    from harness.core.machine import cpu_computes_bf16
    from harness.estimate import training_dtype
    from harness.train.model import _training_dtype, computes_bf16

    cpu = torch.device("cpu")
    assert cpu_computes_bf16() == computes_bf16(cpu)
    for device in (cpu, torch.device("cuda", 0)):
        for stored in (torch.float32, torch.bfloat16, torch.float16):
            foretold = training_dtype(str(stored).removeprefix("torch."), device.type == "cuda", cpu_computes_bf16())
            assert f"torch.{foretold}" == str(_training_dtype(stored, device))


@pytest.mark.parametrize("capability", ["avx512_bw", "avx2"])
def test_memory_of_a_layer_is_what_torch_keeps(
    capability: str, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tensors that the forward pass saves for the backward pass, weights aside, in bf16 and in fp32.

    Beside its layers a model keeps the last norm's input, 4 bytes a value, which is no more than rounding here.
    """
    import torch
    from peft import get_peft_model

    from harness.estimate import Setting, layer_bytes
    from harness.train.model import load_base, lora_config

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {capability: True})
    tiny = ROOT / "experiments" / "bases" / "tiny"
    base = load_base(BaseRef(source="tiny", path=str(tiny), sha256="1" * 64), "none")
    model = get_peft_model(base.skeleton(), lora_config(inputs.job("run-1"))).train()
    weights = {value.untyped_storage().data_ptr() for value in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.Tensor] = {}  # the tensors too: freed memory would be given out again

    def keep(value: torch.Tensor) -> torch.Tensor:
        if value.untyped_storage().data_ptr() not in weights:
            kept[value.untyped_storage().data_ptr()] = value
        return value

    ids, there = torch.randint(0, 2048, (2, 128)), torch.ones(2, 128, dtype=torch.long)
    there[0, -8:] = 0  # rows are padded as a rule: then keys and values are repeated for the heads that share them
    in_bf16 = base.dtype == torch.bfloat16
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value), torch.autocast("cpu", enabled=in_bf16):
        model.get_base_model().model(input_ids=ids, attention_mask=there, use_cache=False)
    config = base.model.config.to_dict()
    setting = Setting("bfloat16" if in_bf16 else "float32", "none", 4, 2, 128, gpu=False, checkpointing=False)
    foretold = 2 * 128 * (config["num_hidden_layers"] * layer_bytes(config, setting) + 4 * config["hidden_size"])
    assert sum(value.untyped_storage().nbytes() for value in kept.values()) == pytest.approx(foretold, rel=0.1)


def test_bf16_base_and_its_rounding(inputs: Inputs, tmp_path: Path) -> None:
    """On a bf16 base the adapter is kept in fp32, and the reference says what the serving dtype's rounding does."""
    from safetensors import safe_open

    from harness.train.events import Events
    from harness.train.model import load_base
    from harness.train.run import train_run

    class Silent(Events):
        def __init__(self) -> None:
            self.sent: list[str] = []

        def send(self, event: str, **fields: Any) -> None:
            self.sent.append(event)

    tiny = ROOT / "experiments" / "bases" / "tiny"
    base = BaseRef(source="experiments/bases/tiny", path=str(tiny), sha256="1" * 64)
    job = inputs.job("run-tiny", base=base, arguments={**ARGUMENTS, "max_steps": 2})
    events = Silent()
    train_run(job, load_base(base, "none"), tmp_path / "run-tiny", events)
    assert events.sent[0] == "started"
    reference = read_json(tmp_path / "run-tiny" / "reference.json")
    assert reference["serving_dtype"] == "bfloat16"
    rounding = [
        abs(served - exact)
        for probe in reference["probes"]
        for served, exact in zip(probe["adapter_serving"][1:], probe["adapter_fp32"][1:], strict=True)
    ]
    assert 1e-4 < sum(rounding) / len(rounding) < 0.2
    with safe_open(tmp_path / "run-tiny" / "adapter" / "adapter_model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F32"}  # noqa: SIM118 - no mapping


def test_nf4(inputs: Inputs, alone: Trained, tmp_path: Path) -> None:
    """QLoRA on whatever device is here: the same bytes twice in one process, DPO starts at its reference exactly."""
    quantised = {"quantization": "nf4", "arguments": {**ARGUMENTS, "max_steps": 2}}
    parent = str(alone.folder("run-again") / "adapter")
    trained = start_worker(
        Lab(tmp_path),
        [
            inputs.job("run-one", **quantised),
            inputs.job("run-dpo", inputs.preference, method={"type": "dpo"}, init_adapter=parent, **quantised),
            inputs.job("run-two", **quantised),
        ],
    )
    assert trained.exit_code == 0, trained.log
    assert trained.weights("run-one") == trained.weights("run-two") != alone.weights("run-again")
    # bf16 rounding of the policy alone would show here; TRL does that to LoRA weights on quantised bases.
    assert trained.metrics("run-dpo")[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_worker_ends_with_its_parent(inputs: Inputs, tmp_path: Path) -> None:
    """kill -9 of the parent, while the worker imports."""
    job_file = tmp_path / "jobs.json"
    job_file.write_text(json.dumps({"lab": str(tmp_path), "jobs": [inputs.job("run-1").model_dump(mode="json")]}))
    code = (
        "import subprocess, sys\n"
        f"worker = subprocess.Popen([sys.executable, '-m', 'harness.train.worker', {str(job_file)!r}])\n"
        "print(worker.pid, flush=True)\n"
        "worker.wait()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert parent.stdout
    with parent.stdout as out:
        worker = psutil.Process(int(out.readline()))
        assert json.loads(out.readline()) == {"event": "loading"}
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        deadline = time.monotonic() + 30
        while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(0.05)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
