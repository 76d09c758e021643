"""A desk to work at: a folder with a base, data, an evalset and a spec, and the `ratchet` command."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cli import app, one_line
from harness.core.fingerprint import folder_sha256
from harness.core.journal import Journal
from harness.core.paths import Lab
from harness.core.records import AdapterRecord, EvalRecord, ItemResult, RunJob, Score, Subject, TrainSummary
from harness.pipeline.context import Context, adapter_subject, resolve, run_adapter
from harness.pipeline.evaluation import wanted
from harness.plan import again
from tests.unit.serve.versions import weights

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
WHEN = "2026-11-20T10:00:00+00:00"
CONFIG = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 64,
    "max_position_embeddings": 128,
    "dtype": "float32",
}
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def safetensors(shape: tuple[int, ...] = (10, 3), dtype: str = "F32") -> bytes:
    """A weights file with one tensor of zeros: 8 bytes of header length, the header, the values."""
    size = 4
    for dimension in shape:
        size *= dimension
    header = json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


def make_base(folder: Path, **config: Any) -> Path:
    """A folder that looks like a Llama-shaped base; nothing can compute with it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    (folder / "model.safetensors").write_bytes(safetensors())
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "</s>"}, "bos_token": None}))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line on stderr of a command that failed."""
        assert self.code != 0, self.out
        assert self.err.count("\n") == 1, f"not one line: {self.err!r}"
        return self.err.strip()


class Desk:
    """Files under `root`, which is the current folder; `ratchet` runs in this process, through its own door."""

    def __init__(self, root: Path, ratchet: Callable[..., Outcome]) -> None:
        self.root, self.ratchet = root, ratchet
        self.lab = Lab(root / "lab")
        make_base(root / "base")
        self.write("train.jsonl", [{"prompt": f"train {i}", "completion": f"yes {i}"} for i in range(8)])
        self.evalset("mini")
        self.spec()

    def write(self, name: str, content: str | list[Any]) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else lines(content), encoding="utf-8")
        return path

    def evalset(
        self, folder: str, rows: list[Any] | str | None = None, files: dict[str, str] | None = None, **yaml_keys: Any
    ) -> None:
        """An evalset of 10 dev and 40 release items, 'item N' -> 'answer N'; None removes a key."""
        if rows is None:
            rows = [
                {"id": f"i{n}", "split": "dev" if n < 10 else "release", "prompt": f"item {n}", "gold": [f"answer {n}"]}
                for n in range(50)
            ]
        definition = {
            "name": folder, "version": 1, "licence": "Apache-2.0", "metrics": {"exact": {"scorer": "exact"}},
        } | yaml_keys  # fmt: skip
        self.write(
            f"evalsets/{folder}/evalset.yaml", yaml.safe_dump({k: v for k, v in definition.items() if v is not None})
        )
        self.write(f"evalsets/{folder}/items.jsonl", rows)
        for file, text in (files or {}).items():
            self.write(f"evalsets/{folder}/{file}", text)

    def spec(self, file: str = "spec.yaml", **changes: Any) -> Path:
        """A spec with one run; dotted keys (`train.adapter.r` as `train__adapter__r`) change it, None removes."""
        spec: dict[str, Any] = {
            "name": "desk",
            "base_model": "base",
            "train": {"dataset": "train.jsonl", "adapter": {"r": 8}},
            "baselines": ["zero_shot"],
            "evaluate": {"evalsets": ["mini"]},
            "gate": {"primary": {"metric": "mini/exact", "better_than": ["incumbent", "best_baseline"]}},
        }
        for key, value in changes.items():
            *parents, last = key.split("__")
            target = spec
            for parent in parents:
                target = target.setdefault(parent, {})
            target[last] = value
        for key in [key for key, value in spec.items() if value is None]:
            del spec[key]
        return self.write(file, yaml.safe_dump(spec, sort_keys=False))

    def resolve(self, spec: str = "spec.yaml") -> Context:
        return resolve(self.lab, Path(spec))

    def files(self) -> set[str]:
        """Every file of the lab, its cache left out."""
        found = {str(path.relative_to(self.lab.root)) for path in self.lab.root.rglob("*") if path.is_file()}
        return {path for path in found if not path.startswith("cache/")}

    # --- a lab as a finished run leaves it, without an engine ---

    def trained(self, job: RunJob) -> AdapterRecord:
        """A finished run: its adapter's files (every weight a number of the run's own), then the record."""
        folder = self.lab.runs / job.run_id
        (folder / "adapter").mkdir(parents=True, exist_ok=True)
        (folder / "adapter" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8}))
        (folder / "adapter" / "adapter_model.safetensors").write_bytes(
            weights(int(job.run_id.removeprefix("r-")[:6], 16), rank=8)
        )
        record = AdapterRecord(
            run_id=job.run_id, job=job, sha256=folder_sha256(folder / "adapter", ADAPTER_FILES), rank=8,
            trainable_parameters=1, bytes=7, versions={}, created=WHEN,
            summary=TrainSummary(
                steps=1, epochs=1, seconds=1, tokens=1, first_loss=1, final_loss=1, device="cpu", dtype="float32"
            ),
        )  # fmt: skip
        record.write(folder / "adapter.json")
        return record

    def evaluated(self, spec: str = "spec.yaml", right: Callable[[Subject, int], bool] | None = None) -> Context:
        """Every run trained and every evaluation stored; `right(subject, item number)` says which answers are."""
        right = right or (lambda subject, number: subject.kind == "adapter")
        for job in self.resolve(spec).plan.runs:
            self.trained(job)
        context = self.resolve(spec)
        runs = [adapter_subject(run_adapter(self.lab, job)) for job in context.plan.runs]
        incumbent = [adapter_subject(context.incumbent)] if context.incumbent else []
        twice = [again(subject) for subject in [context.base_subject, *runs[:1]]]
        for one in wanted(context, [*context.baseline_subjects(), *runs, *incumbent, *twice]):
            folder = self.lab.evals / one.eval_id
            evalset = next(evalset for evalset in context.evalsets if evalset.name == one.evalset)
            if (folder / "eval.json").is_file():
                continue
            with Journal(folder, "items") as journal:
                for number, item in enumerate(evalset.items):
                    score = Score(value=float(right(one.subject, number)))
                    journal.append(
                        ItemResult(
                            item_id=item.id, split=item.split, cluster=evalset.cluster_of(item), bucket="scored",
                            scores={"exact": score}, prompt_sha256="0" * 64,
                        ).model_dump(mode="json")
                    )  # fmt: skip
            EvalRecord(
                eval_id=one.eval_id, kind="business", subject=one.subject, evalset=one.evalset,
                evalset_version=one.version, evalset_sha256=one.sha256,
                metrics={name: metric.info for name, metric in evalset.definition.metrics.items()},
                decoding=one.decoding, engine=context.engine_facts, counts={"scored": len(evalset.items)},
                journals=[journal.path.name], seconds=1, versions={}, created=WHEN,
            ).write(folder / "eval.json")  # fmt: skip
        return context


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("RATCHET_USER", "tester")

    def ratchet(*arguments: object) -> Outcome:
        capsys.readouterr()
        try:
            code = one_line(lambda: app([str(argument) for argument in arguments]))
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    return Desk(tmp_path, ratchet)
