"""Does the lead's board say what is true of raters? Simulated campaigns, the product's own statistics on them.

Raters with a known preference, side bias, length bias, slips and real ambiguity (`raters_population`) vote on many
campaigns; each figure of the board should hold the truth within its 95 % interval in 95 % of them. Then one of eight
raters clicks blindly: the board should flag that one and nobody else. Shares are counts of draws, so each is judged by
the one-sided 97.5 % Clopper-Pearson bound on its favourable side.

    python -m benchmarks.raters [--quick] [--format json]

Ratios, 1 or more means kept: `covered`, the worst figure's coverage (its upper bound) over 0.95; `false_flags`, the
promised 5 % of campaigns with an honest rater flagged over the lower bound of what was found; `flagged`, the share of
planted raters flagged over `agreement_alone`, the share that a rule without gold, repeats and times flags.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.raters_population import Crew, Truth, draw, expected
from harness.ratings import Ballots, fit_noise, rater_table, strengths, win_rates
from harness.ratings.alpha import krippendorff
from harness.ratings.raters import LEVEL
from harness.ratings.wins import left_rate, longer_rate

NOMINAL = 0.95
WORLDS = {
    "8 raters": Truth(),
    "20 raters": Truth(raters=20),
    "clear pairs": Truth(spread=4.0, slip=0.02),
    "noisy": Truth(slip=0.15, habit=0.1, spread=2.5),
    "4 raters": Truth(raters=4, overlap=0.5, gold=30, repeats=30),
    "8 raters who differ": Truth(differ=0.7, taste=0.5),
}
OF_LIKE_RATERS = ("alpha", "clarity")  # their truth, where raters differ, would be that of each pair of them
LOGISTIC = Truth(side=0.3, length=0.5, spread=0.0, habit=0.0, slip=0.0, ties=0.0)
PLANTED = Truth(bad=1)
Bounds = tuple[float | None, float | None]


def bounds(ballots: Ballots, seed: int) -> dict[str, Bounds]:
    """Figure -> its interval."""
    alpha, noise, wins = krippendorff(ballots, seed), fit_noise(ballots, seed), win_rates(ballots)[0]
    found: dict[str, Bounds] = {
        "alpha": (alpha.low, alpha.high),
        "error": (noise.error_low, noise.error_high),
        "clarity": (noise.clarity_low, noise.clarity_high),
    }
    for name, one in {"left": left_rate(ballots), "longer": longer_rate(ballots), "win": wins.weighted}.items():
        found[name] = (one.low, one.high)
    return found


def coverage(truth: Truth, draws: int, rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """Figure -> in how many campaigns its interval held the truth, of those in which it had one. The truth is of all
    raters that there might be, but the error's of those who voted, as the board says."""
    true = expected(truth, rng)
    if truth.differ or truth.taste:
        true = {name: value for name, value in true.items() if name not in OF_LIKE_RATERS}
    held: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for number in range(draws):
        crew = Crew.of(truth, rng)
        found, actual = bounds(draw(truth, rng, crew=crew), number), true | {"error": crew.error}
        for name in true:
            low, high = found[name]
            if low is not None and high is not None:
                asked[name] += 1
                held[name] += low <= actual[name] <= high
    return {name: counted(held[name], asked[name]) | {"truth": true[name]} for name in true}


def logistic(draws: int, rng: np.random.Generator, truth: Truth = LOGISTIC) -> dict[str, dict[str, float]]:
    """The same for Bradley-Terry's strength, side and length, where its model is true."""
    true = {"y": -truth.strength, "side": truth.side, "length": truth.length}
    held: Counter[str] = Counter()
    for _ in range(draws):
        found = strengths(draw(truth, rng))
        held.update(t.name for t in [*found.strengths, *found.terms] if t.low <= true[t.name] <= t.high)
    return {name: counted(held[name], draws) | {"truth": value} for name, value in true.items()}


def informative(draws: int, rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """Win rates over a pool of which half was drawn in favour of unlike lengths: both estimates, and the plain mean's
    error beside theirs (of votes for a, unweighted)."""
    truth = Truth(strength=0.0, length=1.5, overlap=0.1, habit=0.0)
    shifted = dataclasses.replace(truth, strength=0.4)
    true = expected(shifted, rng)["win"]
    held: Counter[str] = Counter()
    for _ in range(draws):
        one = win_rates(draw(shifted, rng, informative=2.0))[0]
        for name, found in (("uniform", one.uniform), ("weighted", one.weighted)):
            held[name] += found.low is not None and found.high is not None and found.low <= true <= found.high
    return {name: counted(held[name], draws) | {"truth": true} for name in ("uniform", "weighted")}


def flags(truth: Truth, draws: int, rng: np.random.Generator) -> dict[str, Any]:
    """Campaigns with the bad rater flagged, with an honest one flagged, and by which test."""
    caught = wrong = alone = 0
    by: Counter[str] = Counter()
    for _ in range(draws):
        rows = rater_table(draw(truth, rng))
        wrong += any(row.flags for row in rows[truth.bad :])
        caught += any(row.flags for row in rows[: truth.bad])
        alone += any(flag.test in ("majority", "side") for row in rows[: truth.bad] for flag in row.flags)
        by.update({flag.test for row in rows[: truth.bad] for flag in row.flags})
    return {
        "caught": counted(caught, draws),
        "agreement_alone": counted(alone, draws),
        "honest_flagged": counted(wrong, draws),
        "by_test": {name: count / draws for name, count in by.most_common()},
    }


def counted(hits: int, draws: int) -> dict[str, float]:
    from scipy.stats import binomtest

    if not draws:
        return {"share": 0.0, "at_least": 0.0, "at_most": 1.0, "hits": 0, "draws": 0}
    bound = binomtest(hits, draws).proportion_ci(confidence_level=NOMINAL, method="exact")
    return {
        "share": hits / draws, "at_least": float(bound.low), "at_most": float(bound.high), "hits": hits, "draws": draws
    }  # fmt: skip


def measure(quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Every simulation; the full form takes about ten minutes on two cores."""
    rng, draws = np.random.default_rng(2026), 60 if quick else 400
    details: dict[str, Any] = {"coverage": {}}
    for name, truth in ({"8 raters": WORLDS["8 raters"]} if quick else WORLDS).items():
        details["coverage"][name] = coverage(truth, draws, rng)
    details["coverage"]["Bradley-Terry"] = logistic(draws, rng)
    details["coverage"]["informative half"] = informative(draws, rng)
    for world, found in details["coverage"].items():
        say(f"{world}: " + ", ".join(f"{name} {one['share']:.1%}" for name, one in found.items()))
    details["planted"] = flags(PLANTED, draws, rng)
    details["honest"] = flags(Truth(), draws, rng)
    for world in ("planted", "honest"):
        caught, wrong = details[world]["caught"]["share"], details[world]["honest_flagged"]["share"]
        say(f"{world}: bad rater flagged {caught:.1%}, an honest one {wrong:.1%}; {details[world]['by_test']}")
    return {
        "benchmark": "raters",
        "device": f"{platform.machine()}, {os.cpu_count()} cores, simulation",
        "versions": {name: importlib.metadata.version(name) for name in ("evalica", "statsmodels", "scipy", "numpy")},
        "ratios": ratios(details),
        "details": details | {"worlds": {name: dataclasses.asdict(truth) for name, truth in WORLDS.items()}},
    }


def ratios(details: dict[str, Any]) -> dict[str, float]:
    """As the module's docstring says."""
    worst = min(one["at_most"] for found in details["coverage"].values() for one in found.values())
    honest = max(details[world]["honest_flagged"]["at_least"] for world in ("planted", "honest"))
    planted = details["planted"]
    return {
        "covered": worst / NOMINAL,
        "false_flags": LEVEL / max(honest, LEVEL / 10),
        "flagged": planted["caught"]["share"] / max(planted["agreement_alone"]["share"], 0.01),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.raters", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="60 campaigns of one kind")
    parser.add_argument("--format", choices=["text", "json"], default="text")
    asked = parser.parse_args(arguments)
    found = measure(asked.quick, print if asked.format == "text" else lambda _: None)
    if asked.format == "json":
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(f"{name}: {value:.2f}" for name, value in found["ratios"].items()))


if __name__ == "__main__":
    main()
