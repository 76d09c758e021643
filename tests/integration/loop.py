"""Commands and small specs that the integration tests share."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
TRAIN_ROWS, ITEMS_PER_SPLIT = 320, 40
# 60 of the 395 of tiny_general. Without that guardrail `general` would come in, with 400 items.
FEW_DOCUMENTS = 'lm_eval: {tasks: [tiny_general], limit: 60}\n  forgetting: "off"'
GUARDRAIL = "  guardrails: [{metric: lm_eval/tiny_general/acc, against: [base, incumbent], max_loss: 0.9}]\n"


def ratchet(lab: Path, *arguments: str, timeout_s: float = 600, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one command from the repository's root, as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "RATCHET_LAB": str(lab), "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


def succeed(lab: Path, *arguments: str, **environment: str) -> str:
    """Run a command that must exit 0; its stdout."""
    done = ratchet(lab, *arguments, **environment)
    assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def answer(lab: Path, *arguments: str) -> Any:
    """The JSON that a command prints."""
    return json.loads(succeed(lab, *arguments, "--format", "json"))


def sql(lab: Path, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answer(lab, "sql", query)
    return found


def json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def small_evalset(folder: Path, name: str) -> Path:
    """A few items of each split of a shipped evalset, as an evalset of its own."""
    source = ROOT / "evalsets" / name
    items = json_lines(source / "items.jsonl")
    few = [item for split in ("dev", "release") for item in [i for i in items if i["split"] == split][:ITEMS_PER_SPLIT]]
    write_lines(folder / name / "items.jsonl", few)
    (folder / name / "evalset.yaml").write_text((source / "evalset.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    if (source / "scorer.py").is_file():
        (folder / name / "scorer.py").write_text((source / "scorer.py").read_text(encoding="utf-8"), encoding="utf-8")
    return folder / name


def small_spec(folder: Path) -> Path:
    """The quickstart in little: a LoRA and a QLoRA run on a few rows of its data, a few items of its evalsets."""
    data = write_lines(folder / "train.jsonl", json_lines(ROOT / "experiments/data/aac/train.jsonl")[:TRAIN_ROWS])
    evalsets = [str(small_evalset(folder, name)) for name in ("aac", "aac_style")]
    spec = folder / "small.yaml"
    spec.write_text(
        f"""
name: small
base_model: experiments/bases/tiny
train:
  method: {{type: sft}}
  dataset: {data}
  adapter: {{type: lora, r: 8}}
  learning_rate: 5.0e-3
  per_device_train_batch_size: 16
  max_length: 256
grid:
  _: [{{train.adapter.r: 4}}, {{train.adapter.r: 8, train.quantization: nf4}}]
baselines: [zero_shot, {{few_shot: 2}}]
evaluate:
  evalsets: {json.dumps(evalsets)}
  lm_eval: {{tasks: [tiny_general]}}
gate:
  decide: all
  primary: {{metric: aac/chrf, better_than: [incumbent, best_baseline], min_gain: 0}}
{GUARDRAIL}""",
        encoding="utf-8",
    )
    return spec


def one_adapter(spec: Path) -> Path:
    """The same spec cut to one run, one baseline and a few documents, where a test needs a finished lab of any kind."""
    text = spec.read_text(encoding="utf-8")
    cuts = {
        "  _: [{train.adapter.r: 4}, {train.adapter.r: 8, train.quantization: nf4}]": "  train.adapter.r: [4]",
        "baselines: [zero_shot, {few_shot: 2}]": "baselines: [zero_shot]",
        "lm_eval: {tasks: [tiny_general]}": FEW_DOCUMENTS,
        GUARDRAIL: "",  # a gate may not stand on documents that a limit cuts
    }
    for before, after in cuts.items():
        assert before in text
        text = text.replace(before, after)
    spec.write_text(text, encoding="utf-8")
    return spec


class Finished(NamedTuple):
    """A finished run with one adapter, made while keys were in force: a copy of its lab, its spec, a key's secret."""

    kept: Path
    spec: Path
    secret: str

    def fresh(self) -> Path:
        """The lab as the run left it, always at the same path: whoever takes it shares the engine that the run started.

        What somebody else did in it before is gone.
        """
        lab = self.kept.parent / "lab"
        shutil.rmtree(lab)
        shutil.copytree(self.kept, lab)
        return lab


def finish(place: Path) -> Finished:
    """Train, serve, evaluate and report one adapter in `place`, with an API key there from the beginning."""
    lab, spec = place / "lab", one_adapter(small_spec(place))
    secret: str = answer(lab, "keys", "create", "infer")["secret"]
    succeed(lab, "run", str(spec))
    shutil.copytree(lab, place / "kept")
    return Finished(place / "kept", spec, secret)
