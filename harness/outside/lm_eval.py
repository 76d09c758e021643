"""lm-eval's sample logs: `samples_<task>_<time>.jsonl`, one line per document and filter (`--log_samples`).

Written against lm-eval 0.4.13; logs without `filter`, `metrics` or hashes, as 0.4.0 to 0.4.4 wrote them, are read too.
Metrics are called as in a spec: `lm_eval/<task>/<metric>`, and `…,<filter>` where a task names its filters.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.core.errors import InputError
from harness.core.paths import read_json
from harness.core.records import Direction
from harness.data import read_json_lines
from harness.outside.results import Observed, Results, cluster_of, number

NAME = re.compile(r"samples_(?P<task>.+?)(?:_(?P<time>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?))?\.jsonl")
# What a sample holds besides its metrics, for logs that do not list these.
NO_METRICS = {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"} | {
    "doc_hash", "prompt_hash", "target_hash", "schema_version", "gen_kwargs",
}  # fmt: skip

Sample = dict[str, Any]


def is_sample(line: Mapping[str, Any]) -> bool:
    """Is this a line of a sample log, and not one of somebody's own?"""
    return {"doc_id", "filtered_resps"} <= line.keys()


def read_folder(folder: Path, cluster: str | None) -> Results:
    """Every task in one model's folder; of several logs of a task the newest."""
    newest: dict[str, Path] = {}
    times: dict[str, list[str]] = {}
    for path in sorted(folder.glob("samples_*.jsonl"), key=lambda path: _named(path)[1]):
        task, time = _named(path)
        newest[task] = path
        times.setdefault(task, []).append(time)
    notes = [
        f"{task}: of {len(found)} logs in {folder.name} the newest counts, of {found[-1]}"
        for task, found in times.items()
        if len(found) > 1
    ]
    return read_files(list(newest.values()), cluster, notes)


def read_files(paths: list[Path], cluster: str | None, notes: list[str] | None = None) -> Results:
    """The logs of different tasks as one result. InputError names file and line for what does not fit."""
    results = Results(path=paths[0] if len(paths) == 1 else paths[0].parent, scores={}, notes=notes or [])
    for path in paths:
        task, time = _named(path)
        higher = _higher_is_better(path.with_name(f"results_{time}.json"), task)
        for line, sample in read_json_lines(path, finite=False):
            _add(results, task, sample, cluster, f"{path}:{line}")
        for metric in results.scores.keys() - results.directions.keys():
            name = metric.removeprefix(f"lm_eval/{task}/").partition(",")[0]
            results.directions[metric] = _direction(higher.get(name))
    for metric in results.unusable:
        results.scores.pop(metric, None)
    if not results.scores:
        raise InputError(f"{results.path} holds no number per document", "run lm-eval with --log_samples")
    return results


def _named(path: Path) -> tuple[str, str]:
    """(task, time) of a log's file name; a renamed file is a task of its own."""
    found = NAME.fullmatch(path.name)
    return (found["task"], found["time"] or "") if found else (path.stem, "")


def _add(results: Results, task: str, sample: Sample, cluster: str | None, where: str) -> None:
    if not is_sample(sample):
        raise InputError(f"{where}: no sample of lm-eval (doc_id or filtered_resps is missing)", "log the task again")
    item, document = f"{task}/{sample['doc_id']}", sample.get("doc")
    group = cluster_of(document if isinstance(document, dict) else {}, cluster, item, where)
    named = sample.get("filter", "none")
    suffix = "" if named == "none" else f",{named}"
    content = f"{_hash_of(sample, 'doc')} {_hash_of(sample, 'target')}"
    for name in sample.get("metrics") or sample.keys() - NO_METRICS:
        metric = f"lm_eval/{task}/{name}{suffix}"
        try:
            value = number(sample.get(name))
        except ValueError as error:  # perplexities and corpus scores keep lists per document
            results.unusable[metric] = f"holds a {error} per document"
            continue
        seen = Observed(value, group, content=content, prompt=sample.get("prompt_hash"))
        if results.scores.setdefault(metric, {}).setdefault(item, seen) is not seen:
            raise InputError(f"{where}: document {sample['doc_id']} is there twice", "keep one log per task and model")


def _hash_of(sample: Sample, key: str) -> str:
    """lm-eval's own hash, or the same made here for logs that have none."""
    known = sample.get(f"{key}_hash")
    if isinstance(known, str):
        return known
    value = sample.get(key)
    text = json.dumps(value, indent=2, ensure_ascii=False) if key == "doc" else str(value)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _higher_is_better(path: Path, task: str) -> dict[str, Any]:
    """What the run's own results file says of the task's metrics; nothing where it is not beside the samples."""
    found = read_json(path) if path.is_file() else {}
    known = found.get("higher_is_better") if isinstance(found, dict) else None
    metrics = known.get(task) if isinstance(known, dict) else None
    return metrics if isinstance(metrics, dict) else {}


def _direction(higher_is_better: Any) -> Direction:
    return "down" if higher_is_better is False else "up"
