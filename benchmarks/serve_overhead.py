"""What Ratchet adds to vLLM, and LiteLLM's proxy to it: rounds on a base so small that nothing else costs much."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from scipy import stats

from benchmarks.serve_sides import Load, Side, load, paired

ROUTE = "/v1/chat/completions"
PIECES = 16  # tokens per answer
Say = Callable[[str], None]


def bodies(model: str, requests: int, seed: int) -> list[dict[str, Any]]:
    """Chats that differ in their first words, so that no prompt is in the prefix cache."""
    return [
        {
            "model": model,
            "messages": [{"role": "user", "content": f"{seed}.{number}: tell me of a dog that went to the park"}],
            "max_tokens": PIECES,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
        }
        for number in range(requests)
    ]


def measure(
    vllm: Side, ours: Side, proxy: Side | None, model: str, rounds: int, levels: dict[int, int], say: Say
) -> dict[str, Any]:
    """All sides at every level (concurrent requests -> requests per round), taking turns at who goes first.

    The proxy, several times slower, joins every third round; its pairs are with vLLM in the same round.
    """
    found: dict[int, dict[str, list[Load | None]]] = {level: {} for level in levels}
    for number in range(-1, rounds):  # round -1 warms up and is not counted
        sides = [vllm, ours] if number % 2 else [ours, vllm]
        if proxy and (number % 3 == 0 or number < 0):
            sides.append(proxy)
        for level, requests in levels.items():
            asked = requests if number >= 0 else min(requests, 2 * level)
            loads = {side.name: load(side, ROUTE, bodies(model, asked, number), level) for side in sides}
            for side in [vllm, ours, *([proxy] if proxy else [])]:
                if number >= 0:
                    found[level].setdefault(side.name, []).append(loads.get(side.name))
        say(f"  round {number + 1} of {rounds}: {_listed(loads)} at {level} concurrent")
    table = {str(level): {name: _summary(loads) for name, loads in by.items()} for level, by in found.items()}
    compared = {
        str(level): {name: _against(by[vllm.name], by[name]) for name in by if name != vllm.name}
        for level, by in found.items()
    }
    return {"rounds": rounds, "requests_per_round": levels, "figures": table, "against_bare": compared}


def _listed(loads: dict[str, Load]) -> str:
    return ", ".join(f"{name} {one.per_s:.1f} req/s" for name, one in loads.items())


def _summary(loads: list[Load | None]) -> dict[str, float]:
    """Medians over the rounds in which the side took part."""
    took = [one.figures() for one in loads if one]
    failed = sum(one["failed"] for one in took)
    return {key: statistics.median(one[key] for one in took) for key in took[0]} | {"failed": failed}


def _against(theirs: list[Load | None], ours: list[Load | None]) -> dict[str, Any]:
    """Throughput as a ratio and latencies as differences (ms), each with its 95 % interval over paired rounds."""
    pairs = [(one, other) for one, other in zip(ours, theirs, strict=True) if one and other]
    ratio = paired([one.per_s for one, _ in pairs], [other.per_s for _, other in pairs], _t)
    more = {
        name: _difference([getattr(a, name) - getattr(b, name) for a, b in pairs])
        for name in ("ttft_p50", "between_p50", "whole_p50")
    }
    return {"throughput": ratio, "more_ms": more}


def _difference(values: list[float]) -> dict[str, float]:
    middle = statistics.fmean(values)
    half = _t(len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("inf")
    return {"mean": middle, "low": middle - half, "high": middle + half}


def _t(freedom: int) -> float:
    return float(stats.t.ppf(0.975, freedom))
