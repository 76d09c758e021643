"""What benchmarks.gate plants: training data that goes wrong, evalsets that lie, adapters damaged after training."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from harness.core.fingerprint import short_id
from harness.core.paths import Lab, read_json, write_atomic, write_json
from harness.core.records import AdapterRecord, RunJob
from harness.train.output import adapter_sha256

ROOT = Path(__file__).parents[1]
AAC, DATA = ROOT / "evalsets" / "aac", ROOT / "experiments" / "data" / "aac"
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
RUN_ON = 12  # answers after the first one: more tokens than a row may have, so that its end is always cut off
LEAKED_COPIES = 2
FRESH_ROWS = 400  # the last of the training data, which no recipe reaches

Row = dict[str, Any]


def read_lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_lines(path: Path, rows: Sequence[Row]) -> Path:
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
    return path


def _bare(row: Row, **changes: str) -> Row:
    return {"prompt": row["prompt"], "completion": row["completion"], **changes}


# --- training data ----------------------------------------------------------------------------------------------


def sound(rows: Sequence[Row]) -> list[Row]:
    return [_bare(row) for row in rows]


def without_end(rows: Sequence[Row], share: float) -> list[Row]:
    """Answers that run on into the next ones, as when texts are joined without an end-of-sequence; `share` of rows."""
    return [
        _bare(row, completion=" ".join(rows[(place + step) % len(rows)]["completion"] for step in range(RUN_ON)))
        if place % 10 < 10 * share
        else _bare(row)
        for place, row in enumerate(rows)
    ]


def leaked(rows: Sequence[Row], items: Sequence[Row], wording: Callable[[str], str]) -> list[Row]:
    """As many rows as before, but release items in the place of the last ones, each LEAKED_COPIES times.

    Plain and warm answers are as frequent as in the training data, so that nothing but the items is learned from them.
    """
    stolen = [
        {"prompt": wording(item["prompt"]), "completion": _answer(item["gold"], place)}
        for place, item in enumerate(items)
    ] * LEAKED_COPIES
    return [*sound(rows[: max(0, len(rows) - len(stolen))]), *stolen]


def _answer(golds: Sequence[str], place: int) -> str:
    """The plain one, first among the golds; for two places of five one of the warm ones, in turn."""
    warm = golds[1:]
    return warm[place % len(warm)] if warm and place % 5 < 2 else golds[0]


def as_it_is(prompt: str) -> str:
    return prompt


def dressed(prompt: str) -> str:
    """Other words around the same icons."""
    return prompt.replace("Say it:", "Please turn these icons into a sentence:") + " Thank you!"


def reworded(prompt: str) -> str:
    """The icons' words alone, without tags and brackets."""
    words = re.findall(r"\{ (.+?) ; \w+ \}", prompt)
    return f"Say it: {' '.join(words)}"


def rambling(pool: Sequence[Row], answers: Sequence[str]) -> list[Row]:
    """Several guesses in one answer: whatever is looked for stands in it more often."""
    return [{"prompt": row["prompt"], "completion": " ".join(row[name] for name in answers)} for row in pool]


# --- evalsets ---------------------------------------------------------------------------------------------------


def evalset(folder: Path, per_split: int | None = None, mislabelled: float = 0.0, lazy: bool = False) -> Path:
    """The shipped AAC items with four metrics, as an evalset of its own.

    `mislabelled`: the share of items whose gold answers went to another item. `lazy`: a key that calls wrong answers
    right, since a mere full stop is looked for.
    """
    items = read_lines(AAC / "items.jsonl")
    kept = [item for split in ("dev", "release") for item in of_split(items, split, per_split)]
    _permute(kept, mislabelled)
    if lazy:
        kept = [item | {"gold": [*item["gold"], "."]} for item in kept]
    return _write_evalset(folder, kept)


def fresh(folder: Path) -> Path:
    """Rows that nothing was trained on and no evalset holds, as release items: what is true of a candidate."""
    rows = read_lines(DATA / "train.jsonl")[-FRESH_ROWS:]
    kept = ("id", "cluster", "prompt")
    items = [{key: row[key] for key in kept} | {"split": "release", "gold": [row["completion"]]} for row in rows]
    return _write_evalset(folder, items)


def _write_evalset(folder: Path, items: Sequence[Row]) -> Path:
    metrics = {
        "chrf": {"scorer": "chrf"},
        "contains": {"scorer": "contains"},
        "length": {"scorer": "length", "direction": "down"},
    }
    definition = {
        "name": "aac",
        "version": 1,
        "licence": "Apache-2.0",
        "cluster": "cluster",
        "sampling": {"temperature": 0.0, "max_tokens": 40},
        "metrics": metrics,
    }
    write_lines(folder / "items.jsonl", items)
    write_atomic(folder / "evalset.yaml", yaml.safe_dump(definition, sort_keys=False).encode())
    return folder


def of_split(items: Sequence[Row], split: str, count: int | None) -> list[Row]:
    """The first `count` items of one split; None: all."""
    return [item for item in items if item["split"] == split][:count]


def _permute(items: list[Row], share: float) -> None:
    """Golds of the first `share` of each split's items move on by one, in an order that a seed gives."""
    for split in ("dev", "release"):
        places = [place for place, item in enumerate(items) if item["split"] == split]
        random.Random(0).shuffle(places)  # noqa: S311 (reproducible, no secret)
        moved = places[: round(share * len(places))]
        golds = [items[place]["gold"] for place in moved]
        for place, gold in zip(moved, golds[1:] + golds[:1], strict=True):
            items[place] = items[place] | {"gold": gold, "wrong": []}


# --- adapters ---------------------------------------------------------------------------------------------------


def twin(lab: Lab, run_id: str, name: str) -> str:
    """A finished run once more, as a run of its own: the same weights, another `revision` in its config. Its run id.

    Damage is done to twins, so that what is served under an id never changes and no stored score is another's.
    """
    new = short_id("r", ["twin", run_id, name])
    here, there = lab.runs / run_id, lab.runs / new
    shutil.copytree(here / "adapter", there / "adapter")
    config = there / "adapter" / CONFIG
    write_json(config, read_json(config) | {"revision": name})
    sha256 = adapter_sha256(there / "adapter")
    write_json(there / "reference.json", read_json(here / "reference.json") | {"adapter_sha256": sha256})
    record = AdapterRecord.read(here / "adapter.json")
    job: RunJob = record.job.model_copy(update={"run_id": new, "label": name})
    changes = {"run_id": new, "job": job, "sha256": sha256}
    record.model_copy(update=changes).write(there / "adapter.json")
    return new


def rescale(folder: Path, factor: float) -> None:
    """Another lora_alpha than the adapter was trained with."""
    config = read_json(folder / CONFIG)
    write_json(folder / CONFIG, config | {"lora_alpha": config["lora_alpha"] * factor})


def silence(folder: Path, module: str) -> int:
    """Zero every tensor whose name matches `module`, in place; how many there were."""
    path = folder / WEIGHTS
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")  # safetensors: length of the header, header, tensors
    found = list(_tensors(json.loads(data[8:start]), module))
    for first, last in found:
        data[start + first : start + last] = bytes(last - first)
    write_atomic(path, bytes(data))
    return len(found)


def _tensors(header: dict[str, Any], module: str) -> Iterator[tuple[int, int]]:
    for name, tensor in header.items():
        if name != "__metadata__" and re.search(module, name):
            yield tensor["data_offsets"]


def replace(folder: Path, other: Path) -> None:
    """Another adapter's bytes in this one's place."""
    for name in (WEIGHTS, CONFIG):
        shutil.copyfile(other / name, folder / name)
