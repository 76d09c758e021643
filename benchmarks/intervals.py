"""Do the gate's promises hold? Simulations of what intervals, verdicts, grids, looks and plans say about themselves.

Everything runs the product's own code (`paired_difference`, `corpus_difference`, `choose_best`, `judge`, …);
only the data is made up. Each ratio is the promise over what was found (or the other way round where more is better),
so 1 or more means kept; shares are judged by their one-sided 95 % Clopper-Pearson bound, as they are counts of draws.

    python -m benchmarks.intervals [--quick] [--format json]
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from harness import looks
from harness.core.records import MetricInfo, Subject, SubjectScores
from harness.gate import choose_best, judge, judge_all
from harness.spec import Gate
from harness.stats import (
    Sample,
    alpha_at,
    corpus_difference,
    flip_spread,
    joint_power,
    paired_difference,
    power_at,
)
from harness.stats.looks import BUDGET, MOST_LOOKS

Floats = npt.NDArray[np.float64]
Sizes = Sequence[int]

ADAPTERS = 12
ITEMS = 300  # on each of dev and release
METRIC, GUARDED = "sim/acc", "sim_guard/acc"
COVER = (0.93, 0.97)
GRID_LIMIT = 0.06
LONG_TAIL = [1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6, 8, 10, 12, 15, 20, 30]
CLUSTERINGS: dict[str, list[int]] = {
    "20 balanced": [6] * 20,
    "20 unbalanced": LONG_TAIL,
    "200 balanced": [6] * 200,
    "200 unbalanced": LONG_TAIL * 10,
}


def share_at_most(hits: int, draws: int) -> float:
    """Upper end of the one-sided 95 % Clopper-Pearson interval."""
    from scipy.stats import beta

    return float(beta.ppf(0.95, hits + 1, draws - hits)) if hits < draws else 1.0


def share_at_least(hits: int, draws: int) -> float:
    """Lower end of the same."""
    return 1 - share_at_most(draws - hits, draws)


# --- data -------------------------------------------------------------------------------------------------------


def scores_of(name: str, values: Floats, split: str = "release", metric: str = METRIC, **changes: Any) -> SubjectScores:
    """Scores of an adapter (or of 'base') on items 0, 1, …, each its own cluster."""
    kind = "base" if name == "base" else "adapter"
    subject = Subject(
        kind=kind, label=name, model=name, base_sha256="b", adapter_sha256=None if kind == "base" else name
    )
    items = [str(place) for place in range(len(values))]
    given = {
        "subject": subject,
        "eval_id": f"{name}-{split}",
        "metric": metric,
        "info": MetricInfo(),
        "split": split,
        "evalset_sha256": metric,
        "values": dict(zip(items, values.tolist(), strict=True)),
        "clusters": dict(zip(items, items, strict=True)),
        "counts": {},
    }
    return SubjectScores(**given | changes)


def gate_of(min_gain: float = 0.0, max_loss: float | None = None, decide: str = "chosen") -> Gate:
    rails = [{"metric": GUARDED, "against": ["base"], "max_loss": max_loss}] if max_loss is not None else []
    primary = {"metric": METRIC, "better_than": ["base"], "min_gain": min_gain}
    return Gate.model_validate({"primary": primary, "guardrails": rails, "decide": decide})


def answers(rng: np.random.Generator, hard: Floats) -> Floats:
    """Right (1) or wrong (0): an item's chance is its own, the same for everybody who is equal."""
    return (rng.random(len(hard)) < hard).astype(np.float64)


def flipped(rng: np.random.Generator, base: Floats, flips: float, difference: float) -> Floats:
    """Outcomes of a subject that differs from `base` on a share `flips` of all items, by `difference` on average.

    `base` is right half of the time: gains fall on zeros and losses on ones, each twice as often there.
    """
    gain, loss = flips + difference, flips - difference
    draw = rng.random(len(base))
    return np.where(base == 0, draw < gain, draw >= loss).astype(np.float64)


# --- what is promised -------------------------------------------------------------------------------------------


def coverage(sizes: Sizes, draws: int, rng: np.random.Generator) -> float:
    """How often the interval of clustered continuous differences holds the truth; half of the variance is shared."""
    index = np.repeat(np.arange(len(sizes)), sizes)
    clusters, nothing, covered = [f"c{group}" for group in index], np.zeros(len(index)), 0
    for _ in range(draws):
        values = 5 * (rng.normal(size=len(sizes))[index] + rng.normal(size=len(index))) / np.sqrt(2)
        found = paired_difference(values.tolist(), nothing.tolist(), clusters, unit="nats")
        covered += found.low is not None and found.high is not None and found.low <= 0 <= found.high
    return covered / draws


def corpus_coverage(sizes: Sizes, draws: int, rng: np.random.Generator) -> float:
    """The same of macro-F1 on three classes: two subjects that are equally good, 70 % right, clusters of like items."""
    info, index = MetricInfo(aggregate="macro_f1"), np.repeat(np.arange(len(sizes)), sizes)
    clusters, covered = [f"c{group}" for group in index], 0

    def side(gold: Floats, easy: Floats) -> list[list[float]]:
        right = rng.random(len(gold)) < easy
        guessed = np.where(right, gold, (gold + rng.integers(1, 3, len(gold))) % 3)
        return [[float(one), float(other)] for one, other in zip(gold, guessed, strict=True)]

    for _ in range(draws):
        gold, easy = rng.integers(0, 3, len(index)).astype(float), (0.5 + 0.4 * rng.random(len(sizes)))[index]
        found = corpus_difference(info, side(gold, easy), side(gold, easy), clusters)
        covered += found.low is not None and found.high is not None and found.low <= 0 <= found.high
    return covered / draws


def ships_on_the_line(draws: int, rng: np.random.Generator, guardrail: bool) -> int:
    """Of `draws` candidates whose true gain is exactly min_gain (or true loss exactly max_loss), how many ship."""
    gate = gate_of(min_gain=0.0 if guardrail else 0.03, max_loss=0.05)
    primary, guarded = ((0.3, 0.2), (0.15, -0.05)) if guardrail else ((0.3, 0.03), (0.15, 0.1))
    return sum(_ships(gate, primary, guarded, rng) for _ in range(draws))


def _ships(gate: Gate, primary: tuple[float, float], guarded: tuple[float, float], rng: np.random.Generator) -> bool:
    """One candidate with these true (flips, difference) on the gate's two metrics, on new items."""
    base, mine = {}, {}
    for metric, (flips, difference) in ((METRIC, primary), (GUARDED, guarded)):
        known = (rng.random(ITEMS) < 0.5).astype(np.float64)
        base[metric] = scores_of("base", known, metric=metric)
        mine[metric] = scores_of("new", flipped(rng, known, flips, difference), metric=metric)
    return judge(gate, mine, {"base": base}).verdict == "SHIP"


def grid(rng: np.random.Generator, looks: int, decide: str = "chosen") -> bool:
    """Whether any of `looks` grids of 12 adapters, all truly as good as the base, ships one on the same items."""
    gate, hard, dev_hard = gate_of(decide=decide), rng.random(ITEMS), rng.random(ITEMS)
    base = {"base": {METRIC: scores_of("base", answers(rng, hard))}}
    for look in range(1, looks + 1):
        alpha = alpha_at(look)
        assert alpha is not None
        names = [f"a{place}" for place in range(ADAPTERS)]
        if decide == "all":
            cases = {name: ({METRIC: scores_of(name, answers(rng, hard))}, base) for name in names}
            verdicts = [one.verdict for one in judge_all(gate, cases, alpha).values()]
        else:
            dev = [scores_of(name, answers(rng, dev_hard), "dev") for name in names]
            chosen = choose_best(dev).subject.label
            verdicts = [judge(gate, {METRIC: scores_of(chosen, answers(rng, hard))}, base, alpha).verdict]
        if "SHIP" in verdicts:
            return True
    return False


def overlapping(rng: np.random.Generator, kept: float) -> bool:
    """Whether any of five grids ships one, where each look keeps a share `kept` of the last one's items, drawn at
    random, and takes new ones for the others. What is kept is answered by the base as before."""
    gate, dev_hard = gate_of(), rng.random(ITEMS)
    hard, names, so_far = rng.random(ITEMS), np.arange(ITEMS), list[looks.Look]()
    base = answers(rng, hard)
    for look in range(MOST_LOOKS):
        if look:
            fresh = rng.random(ITEMS) >= kept
            hard = np.where(fresh, rng.random(ITEMS), hard)
            base = np.where(fresh, answers(rng, hard), base)
            names = np.where(fresh, names + ITEMS, names)
        items = [str(name) for name in names]
        alpha = alpha_at(looks.number(so_far, METRIC, items))
        assert alpha is not None
        so_far.append(
            looks.Look(seq=look, key=str(look), plan_id="", name="", at="", evalset=METRIC, items=items)
        )  # fmt: skip
        dev = [scores_of(f"a{place}", answers(rng, dev_hard), "dev") for place in range(ADAPTERS)]
        mine = {METRIC: scores_of(choose_best(dev).subject.label, answers(rng, hard))}
        if judge(gate, mine, {"base": {METRIC: scores_of("base", base)}}, alpha).verdict == "SHIP":
            return True
    return False


def skewed(sizes: Sizes, draws: int, rng: np.random.Generator) -> int:
    """How many ship of candidates that are no better: exponential cluster effects, the long tail on the losing side."""
    index = np.repeat(np.arange(len(sizes)), sizes)
    clusters = {str(place): f"c{group}" for place, group in enumerate(index)}
    shared: dict[str, Any] = {"info": MetricInfo(unit="nats"), "clusters": clusters}
    base, shipped = {METRIC: scores_of("base", np.zeros(len(index)), **shared)}, 0
    for _ in range(draws):
        values = (1 - rng.exponential(size=len(sizes)))[index] + 0.5 * rng.normal(size=len(index))
        shipped += judge(gate_of(), {METRIC: scores_of("new", values, **shared)}, {"base": base}).verdict == "SHIP"
    return shipped


def naive_grid(rng: np.random.Generator) -> bool:
    """The rule "ship the higher mean" on the same data: the best of 12 on release, if it beats the base."""
    hard = rng.random(ITEMS)
    return bool(max(answers(rng, hard).mean() for _ in range(ADAPTERS)) > answers(rng, hard).mean())


def planned(draws: int, rng: np.random.Generator) -> tuple[float, int]:
    """(how often the plan says that a gain of the planned size ships, how often it does) on primary and guardrail."""
    gain, flips, max_loss, rail_flips = 0.09, 0.25, 0.06, 0.12
    sample = Sample(items=ITEMS, clusters=ITEMS, spread=flip_spread(flips, gain), flips=flips)
    rail = Sample(items=ITEMS, clusters=ITEMS, spread=flip_spread(rail_flips), flips=rail_flips)
    said = joint_power([power_at(sample, gain, 0.0), power_at(rail, 0.0, -max_loss)]).at_least
    gate = gate_of(max_loss=max_loss)
    return said, sum(_ships(gate, (flips, gain), (rail_flips, 0.0), rng) for _ in range(draws))


# --- the run ----------------------------------------------------------------------------------------------------


def _counted(hits: int, draws: int) -> dict[str, float]:
    return {
        "share": hits / draws,
        "at_most": share_at_most(hits, draws),
        "at_least": share_at_least(hits, draws),
        "hits": hits,
        "draws": draws,
    }


def measure(quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Every simulation; the full form takes about ten minutes on two cores."""
    rng, less = np.random.default_rng(2026), 10 if quick else 1
    draws, corpus_draws, grids = 4_000 // less, 1_000 // less, 2_000 // less
    details: dict[str, Any] = {"coverage": {}, "corpus_coverage": {}}
    for name, sizes in CLUSTERINGS.items():
        details["coverage"][name] = coverage(sizes, draws, rng)
        details["corpus_coverage"][name] = corpus_coverage(sizes, corpus_draws, rng)
        say(f"coverage, {name}: {details['coverage'][name]:.3f}, macro-F1 {details['corpus_coverage'][name]:.3f}")
    for name, hits, count in _verdicts(draws, grids, rng):
        details[name] = _counted(hits, count)
        say(f"{name}: {hits} of {count} ({hits / count:.2%}, at most {details[name]['at_most']:.2%})")
    said, shipped = planned(draws, rng)
    details["planned"] = {"said": said, **_counted(shipped, draws)}
    say(f"planned gain: said {said:.1%}, ships {shipped / draws:.1%}")
    return {
        "benchmark": "intervals",
        "device": platform.machine() + ", simulation",
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "ratios": _ratios(details),
        "details": details,
    }


def _verdicts(draws: int, grids: int, rng: np.random.Generator) -> Iterator[tuple[str, int, int]]:
    """(name, how many shipped what should not ship, of how many)."""
    yield "gain_is_min_gain", ships_on_the_line(draws, rng, guardrail=False), draws
    yield "loss_is_max_loss", ships_on_the_line(draws, rng, guardrail=True), draws
    yield "twelve_equal", sum(grid(rng, 1) for _ in range(grids)), grids
    yield "twelve_equal_all_tested", sum(grid(rng, 1, "all") for _ in range(grids)), grids
    yield "five_looks", sum(grid(rng, MOST_LOOKS) for _ in range(grids)), grids
    yield "higher_mean", sum(naive_grid(rng) for _ in range(grids)), grids
    for kept in (0.9, 0.5):
        name = f"five_looks_{kept:.0%}_of_items_kept".replace("%", "")
        yield name, sum(overlapping(rng, kept) for _ in range(grids)), grids
    for name, sizes in CLUSTERINGS.items():
        yield f"skewed, {name}", skewed(sizes, draws, rng), draws


def _ratios(details: dict[str, Any]) -> dict[str, float]:
    worst = max(abs(found - 0.95) for found in details["coverage"].values())
    return {
        "coverage": (COVER[1] - 0.95) / max(worst, 1e-9),
        "grid_limit": GRID_LIMIT / details["twelve_equal"]["at_most"],
        "looks_limit": GRID_LIMIT / details["five_looks"]["at_most"],
        "overlapping_looks_limit": GRID_LIMIT
        / max(details[f"five_looks_{kept}_of_items_kept"]["at_most"] for kept in (90, 50)),
        "false_ship_vs_mean": details["higher_mean"]["share"] / max(details["twelve_equal"]["share"], BUDGET / 1000),
        "planned_gain": details["planned"]["share"] / details["planned"]["said"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.intervals", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the draws")
    parser.add_argument("--format", choices=["text", "json"], default="text")
    asked = parser.parse_args(arguments)
    found = measure(asked.quick, print if asked.format == "text" else lambda _: None)
    if asked.format == "json":
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(f"{name}: {value:.2f}" for name, value in found["ratios"].items()))


if __name__ == "__main__":
    main()
