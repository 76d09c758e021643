"""The sides of benchmarks.evaluate, each as its user would run it, and what each said, to be compared.

A side scores one or several adapters and answers with seconds and, per adapter, {(task, document): Answer}.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from harness.core.journal import read_all

TOLERANCE = 1e-3  # nats, fp32
LONGEST = 800  # characters of a document: all fit into 512 tokens, where every side would cut in its own way
FORMS = {
    "arc_easy": ("arc_easy", "multiple_choice", "{{query}}\\nAnswer:", "{{choices}}", "gold", " "),
    "piqa": ("piqa", "multiple_choice", "{{query}}Answer:", "{{choices}}", "gold", " "),
    "lambada": ("lambada_openai", "loglikelihood", "{{context}}", None, " {{continuation}}", ""),
    "letters": (
        "arc_easy",
        "multiple_choice",
        "{{query}}\\n{% for c in choices %}({{'ABCDE'[loop.index0]}}) {{c}}\\n{% endfor %}Answer: (",
        "{{['A', 'B', 'C', 'D', 'E'][:choices|length]}}",
        "gold",
        "",
    ),
}
LONG_TASKS, LETTERS = ["arc_easy", "piqa", "lambada"], ["letters"]


# Left to itself, `hf` puts the tokenizer's BOS before a prompt and `local-completions` does not.
NO_BOS = {"add_bos_token": False}


class Spent(NamedTuple):
    """Seconds on the wall, and of processors: of the side's own processes and of the engine meanwhile.

    The second says more on a machine that others use as well.
    """

    wall: float
    cpu: float


class Answer(NamedTuple):
    """Per choice its log-prob and whether it is greedy; and whether the document was got right."""

    choices: tuple[tuple[float, bool], ...]
    acc: float


Said = dict[tuple[str, int], Answer]


@dataclass(frozen=True)
class World:
    """One base with its adapters, served by one engine; `url` and `engine` are empty while there is none."""

    base: Path
    adapters: Path
    tasks: Path
    work: Path
    url: str = ""
    engine: tuple[psutil.Process, ...] = ()

    def cpu(self) -> float:
        """Processor seconds of the engine and of all ended children so far."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        serving = [process.cpu_times() for process in self.engine]
        return children.ru_utime + children.ru_stime + sum(times.user + times.system for times in serving)


def write_tasks(folder: Path, data: Path, documents: int) -> Path:
    """lm-eval tasks over the first `documents` rows of each file that are short enough."""
    folder.mkdir(parents=True)
    for name, (file, kind, text, choices, target, delimiter) in FORMS.items():
        lines = [line for line in (data / f"{file}.jsonl").read_text(encoding="utf-8").splitlines()]
        kept = [line for line in lines if len(line) < LONGEST][:documents]
        (folder / f"{name}.jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")
        config = {
            "task": f"bench_{name}",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(folder / f"{name}.jsonl")}},
            "output_type": kind,
            "test_split": "test",
            "doc_to_text": text.replace("\\n", "\n"),
            "doc_to_target": target,
            "target_delimiter": delimiter,
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
            "metadata": {"version": 1.0},
        } | ({"doc_to_choice": choices} if choices else {})
        (folder / f"{name}.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    return folder


def ratchet(world: World, adapters: list[str], tasks: list[str]) -> tuple[Spent, dict[str, Said], list[float]]:
    """The worker that `ratchet run` starts, for all adapters at once; also the seconds of each subject by itself."""
    folder = world.work / "ratchet" / "-".join([adapters[0], *tasks])
    folder.mkdir(parents=True)
    job = {
        "url": world.url,
        "tokenizer": str(world.base),
        "max_model_len": 512,
        "include_path": [str(world.tasks)],
        "own_tasks": [],
        "tasks": [f"bench_{task}" for task in tasks],
        "num_fewshot": None,
        "apply_chat_template": False,
        "dev_share": 0.2,
        "limit": None,
        "subjects": [{"eval_id": name, "model": name, "folder": str(folder / name)} for name in adapters],
    }
    (folder / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-P", "-m", "harness.evaluate.lm_eval_worker", str(folder / "job.json")]
    spent, printed = _timed(command, world, folder / "log", "\n")
    events = [json.loads(line) for line in printed.splitlines() if line.startswith('{"event": "done"')]
    return spent, {name: _from_journal(folder / name) for name in adapters}, [event["seconds"] for event in events]


def stock(
    world: World, adapters: list[str], tasks: list[str], settings: dict[str, int]
) -> tuple[Spent, dict[str, Said]]:
    """`lm_eval --model local-completions`, one process per adapter, `settings` being lm-eval's own of concurrency."""
    options = {
        "base_url": f"{world.url}/v1/completions",
        "tokenizer": str(world.base),
        "tokenizer_backend": "huggingface",
        "max_length": 512,
        **{key: value for key, value in settings.items() if key != "batch_size"},
    }
    batch = ["--batch_size", str(settings["batch_size"])] if "batch_size" in settings else []
    kind = ("local-completions", "-".join(["stock", *(f"{key}{value}" for key, value in settings.items())]))
    return _lm_eval(world, adapters, tasks, kind, lambda name: options | {"model": name}, batch)


def scoring_alone(world: World, adapter: str, documents: int) -> dict[str, dict[str, float]]:
    """Seconds by side and task, start-up not counted: what is left of the ratios when evaluations are long."""
    arguments = [world.url, str(world.base), str(world.tasks), adapter, str(documents)]
    command = [sys.executable, "-m", "benchmarks.evaluate_scoring", *arguments]
    _, printed = _timed(command, world, world.work / "scoring.log")
    spent: dict[str, dict[str, float]] = json.loads(printed)
    return spent


def hf(world: World, adapters: list[str], tasks: list[str], batch_size: int) -> tuple[Spent, dict[str, Said]]:
    """`lm_eval --model hf` with PEFT, one process per adapter."""
    return _lm_eval(
        world,
        adapters,
        tasks,
        ("hf", f"hf-{batch_size}"),
        lambda name: {"pretrained": str(world.base), "peft": str(world.adapters / name), "dtype": "float32"} | NO_BOS,
        ["--batch_size", str(batch_size), "--device", "cpu"],
    )


def _lm_eval(
    world: World, adapters: list[str], tasks: list[str], kind: tuple[str, str], options: Any, more: list[str]
) -> tuple[Spent, dict[str, Said]]:
    model, label = kind
    total, said = Spent(0, 0), {}
    for name in adapters:
        folder = world.work / label / "-".join([name, *tasks])
        folder.mkdir(parents=True)
        arguments = ",".join(f"{key}={value}" for key, value in options(name).items())
        command = [
            *[str(Path(sys.executable).with_name("lm_eval")), "--model", model, "--model_args", arguments],
            *["--tasks", ",".join(f"bench_{task}" for task in tasks), "--include_path", str(world.tasks)],
            *["--log_samples", "--output_path", str(folder), *more],
        ]
        spent, _ = _timed(command, world, folder / "log")
        total = Spent(total.wall + spent.wall, total.cpu + spent.cpu)
        said[name] = _from_samples(folder)
    return total, said


def _timed(command: list[str], world: World, log: Path, told: str = "") -> tuple[Spent, str]:
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(world.work / "datasets"),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    started, cpu = time.monotonic(), world.cpu()
    with log.open("w") as errors:
        done = subprocess.run(
            command, input=told, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, check=False
        )
    spent = Spent(time.monotonic() - started, world.cpu() - cpu)
    if done.returncode != 0:
        raise RuntimeError(f"{command[:3]} ended with {done.returncode}: see {log}\n{log.read_text()[-1500:]}")
    return spent, done.stdout


def _from_journal(folder: Path) -> Said:
    found = {}
    for event in read_all(folder, "items"):
        task, document = event["item_id"].split("/")
        (score,) = [score["value"] for name, score in event["scores"].items() if name.endswith("/acc")]
        found[task, int(document.split("-")[0])] = Answer(_choices(json.loads(event["answer"])), score)
    return found


def _from_samples(folder: Path) -> Said:
    found = {}
    for path in folder.rglob("samples_*.jsonl"):
        task = "_".join(path.stem.split("_")[1:-1])
        for line in path.read_text(encoding="utf-8").splitlines():
            sample = json.loads(line)
            found[task, sample["doc_id"]] = Answer(_choices(sample["filtered_resps"]), float(sample["acc"]))
    return found


def _choices(responses: list[Any]) -> tuple[tuple[float, bool], ...]:
    """lm-eval's files hold numbers and flags as text."""
    return tuple((float(value), str(greedy) == "True") for value, greedy in responses)


def same(one: dict[str, Said], other: dict[str, Said]) -> float:
    """The largest difference of a log-prob; AssertionError unless documents, accuracies and greedy flags are equal."""
    largest = 0.0
    for name in one:
        assert one[name].keys() == other[name].keys(), f"{name}: other documents"
        for key, answer in one[name].items():
            beside = other[name][key]
            pairs = list(zip(answer.choices, beside.choices, strict=True))
            largest = max([largest, *(abs(a[0] - b[0]) for a, b in pairs)])
            assert largest < TOLERANCE, f"{name} {key}: log-probs differ by {largest}"
            assert [a[1] for a, _ in pairs] == [b[1] for _, b in pairs], f"{name} {key}: greedy flags differ"
            assert answer.acc == beside.acc, f"{name} {key}: right for one, wrong for the other"
    return largest
