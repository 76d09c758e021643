"""Traffic over many adapters against the base alone, on Ratchet's kernels and on vLLM's own, every answer checked."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from typing import Any

from benchmarks.serve_sides import Load, Side, load

ROUTE = "/v1/completions"
PROMPT, ANSWER = 128, 48  # tokens
PROMPTS = 2  # different ones per adapter; the prefix cache is off, so each costs in full
CONCURRENT = 16
MIXES = (0, 1, 8, 32)  # adapters; 0 is the base alone
Say = Callable[[str], None]
Answers = dict[tuple[str, int], str]


def prompt(number: int) -> list[int]:
    draw = random.Random(number)  # noqa: S311 - no secret
    return [1, *(draw.randrange(259, 512) for _ in range(PROMPT - 1))]


def traffic(base: str, adapters: int, requests: int) -> list[tuple[str, int]]:
    """(model, number of the prompt) for each request, adapters in turn."""
    if adapters == 0:
        return [(base, number % PROMPTS) for number in range(requests)]
    return [(f"a{number % adapters}", number // adapters % PROMPTS) for number in range(requests)]


def bodies(wanted: list[tuple[str, int]]) -> list[dict[str, Any]]:
    settings = {"max_tokens": ANSWER, "ignore_eos": True, "temperature": 0, "stream": True}
    return [{"model": model, "prompt": prompt(number), **settings} for model, number in wanted]


def alone(side: Side, base: str, adapters: int) -> Answers:
    """What each model answers when nothing else is in its batch."""
    wanted = [(model, number) for model in (base, *(f"a{n}" for n in range(adapters))) for number in range(PROMPTS)]
    got = load(side, ROUTE, bodies(wanted), 1)
    if got.failed:
        raise RuntimeError(f"{side.name}: {got.failed} of {len(wanted)} answers alone failed")
    return {one: reply.text for one, reply in zip(wanted, got.replies, strict=True)}


def measure(
    side: Side, base: str, mixes: tuple[int, ...], requests: int, rounds: int, right: Answers, say: Say
) -> dict[str, Any]:
    """Requests per second for each mix, the median of its rounds, relative to the base alone; and wrong answers.

    "base among them" is not timed: base and all adapters in one batch, where vLLM's own kernels go wrong.
    """
    load(side, ROUTE, bodies(traffic(base, max(mixes), CONCURRENT)), CONCURRENT)
    loads: dict[int, list[Load]] = {mix: [] for mix in mixes}
    wrong = dict.fromkeys(mixes, 0)
    for number in range(rounds):
        for mix in mixes:
            wanted = traffic(base, mix, requests)
            loads[mix].append(load(side, ROUTE, bodies(wanted), CONCURRENT))
            wrong[mix] += count_wrong(wanted, loads[mix][-1], right)
        say(f"  {side.name}, round {number + 1} of {rounds}: {_listed(loads, wrong)}")
    among = [one for pair in zip(traffic(base, 0, 16), traffic(base, max(mixes), 16), strict=True) for one in pair]
    checked = load(side, ROUTE, bodies(among), 32)
    base_wrong = count_wrong(among[::2], checked._replace(replies=checked.replies[::2]), right)
    adapters_wrong = count_wrong(among[1::2], checked._replace(replies=checked.replies[1::2]), right)
    per_s = {mix: statistics.median(one.per_s for one in loads[mix]) for mix in mixes}
    return {
        "requests_per_s": {str(mix): value for mix, value in per_s.items()},
        "relative_to_base": {
            str(mix): statistics.median(a.per_s / b.per_s for a, b in zip(loads[mix], loads[0], strict=True))
            for mix in mixes[1:]
        },
        "figures": {str(mix): loads[mix][-1].figures() for mix in mixes},
        "answers": {str(mix): {"checked": requests * rounds, "wrong": wrong[mix]} for mix in mixes},
        "base_among_adapters": {
            "base": {"checked": 16, "wrong": base_wrong},
            "adapters": {"checked": 16, "wrong": adapters_wrong},
        },
    }


def count_wrong(wanted: list[tuple[str, int]], got: Load, right: Answers) -> int:
    """Answers that failed, or are not what the model says alone."""
    return sum(
        reply.error is not None or reply.text != right[one] for one, reply in zip(wanted, got.replies, strict=True)
    )


def _listed(loads: dict[int, list[Load]], wrong: dict[int, int]) -> str:
    words = [f"{mix or 'base'} {loads[mix][-1].per_s:.2f} req/s" for mix in loads]
    return f"{', '.join(words)}; {sum(wrong.values())} wrong answers"
