"""What a report decides: who is judged, at which level, on which items; and what it says beyond one verdict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.core.records import BaseRef, MetricInfo, PlanRecord, RunJob, Subject, SubjectScores
from harness.report import Report, build_report
from harness.spec import Gate

ITEMS = 60
METRIC = "aac/chrf"
BASE = Subject(kind="base", label="zero-shot", model="base", base_sha256="b")
GATE = Gate.model_validate({"primary": {"metric": METRIC, "better_than": ["base"]}})
ALL = GATE.model_copy(update={"decide": "all"})


def job(name: str, **changes: Any) -> RunJob:
    base = BaseRef(source="tiny", path="tiny", sha256="b")
    fields = {"base": base, "method": {}, "adapter": {}, "quantization": "none", "data": [], "arguments": {}, "seed": 0}
    return RunJob(**{"run_id": f"r-{name}", "label": name, **fields, **changes})


def plan(*jobs: RunJob) -> PlanRecord:
    return PlanRecord(
        plan_id="p-1", name="aac", spec_path="x.yaml", spec={}, runs=list(jobs), gate=None, created="today"
    )


def made(name: str) -> Subject:
    run_id = f"r-{name}"
    return Subject(kind="adapter", label=name, model=run_id, base_sha256="b", adapter_sha256=run_id, run_id=run_id)


def values_of(mean: float, spread: float, seed: int) -> list[float]:
    noise = np.random.default_rng(seed).normal(0, spread, ITEMS)
    return list(mean + noise - noise.mean())


def scored(who: Subject, dev: list[float], release: list[float], **changes: Any) -> list[SubjectScores]:
    return [
        SubjectScores(
            **{
                "subject": who,
                "eval_id": f"e-{who.label}-{who.repeat}",
                "metric": METRIC,
                "info": MetricInfo(unit="points"),
                "split": split,
                "evalset_sha256": "s",
                "values": {f"{split}{place}": value for place, value in enumerate(values)},
                "clusters": {f"{split}{place}": f"{split}{place}" for place in range(ITEMS)},
                "counts": {"scored": ITEMS},
            }
            | changes
        )
        for split, values in (("dev", dev), ("release", release))
    ]


def flat(who: Subject, dev: float, release: float, seed: int = 0) -> list[SubjectScores]:
    return scored(who, values_of(dev, 1, seed), values_of(release, 1, seed + 50))


# --- who is judged ------------------------------------------------------------------------------------------------


def test_only_the_chosen_one_is_judged_and_the_others_are_still_compared():
    found = [*flat(BASE, 40, 40, 1), *flat(made("a"), 46, 42, 2), *flat(made("b"), 45, 50, 3)]
    report = build_report(plan(job("a"), job("b")), found, GATE)
    a, b = report.candidates
    assert (a.verdict, b.verdict, b.rows) == ("SHIP", None, [])
    assert b.reason == "not chosen on dev; gate.decide: all tests every candidate"
    assert b.comparisons[0].difference.estimate == pytest.approx(10)


def test_all_are_judged_with_holm_and_the_best_on_dev_of_those_that_ship_is_chosen():
    """a leads on dev and does not ship; c and b do, c before b on dev. First all three at 0.025/3, then a at 0.025."""
    found = [
        *flat(BASE, 40, 40, 1),
        *flat(made("a"), 48, 40, 2),
        *flat(made("b"), 42, 50, 3),
        *flat(made("c"), 45, 47, 4),
    ]
    report = build_report(plan(*map(job, "abc")), found, ALL)
    assert [(one.verdict, one.chosen) for one in report.candidates] == [
        ("INCONCLUSIVE", False),
        ("SHIP", False),
        ("SHIP", True),
    ]
    assert [one.rows[0].level for one in report.candidates] == [
        0.025,
        pytest.approx(0.025 / 3),
        pytest.approx(0.025 / 3),
    ]
    assert "3 candidates were tested on release, with Holm's correction for 3" in report.notes
    assert "(one-sided 99.167 %)" in report.reason


# --- looks and advice -----------------------------------------------------------------------------------------------


def test_every_look_is_stricter_and_the_sixth_ships_nothing():
    found = [*flat(BASE, 40, 40, 1), *flat(made("a"), 46, 46, 2)]
    widths = []
    for look in (1, 2, 5):
        report = build_report(plan(job("a")), found, GATE, look=look)
        interval = report.candidates[0].rows[0].comparison.difference
        widths.append(interval.high - interval.low)
        assert (report.verdict, report.look, report.alpha) == ("SHIP", look, 0.05 / 2**look)
    assert widths == sorted(widths)
    spent = build_report(plan(job("a")), found, GATE, look=6)
    assert (spent.verdict, spent.alpha) == ("INCONCLUSIVE", None)
    assert "needs new release items" in spent.reason
    worse = [*flat(BASE, 40, 40, 1), *flat(made("a"), 30, 30, 2)]
    assert build_report(plan(job("a")), worse, GATE, look=6).verdict == "BLOCK"


def test_advice_says_that_it_is_advice():
    found = [*flat(BASE, 40, 40, 1), *flat(made("a"), 46, 46, 2)]
    report = build_report(plan(job("a")), found, GATE, advisory="only 60 items exist")
    assert report.verdict == "SHIP"
    assert report.reason.startswith("advisory, as the gate was overruled (only 60 items exist): primary aac/chrf")
    assert report.advisory == "only 60 items exist"


# --- contaminated items -------------------------------------------------------------------------------------------


def test_it_decides_on_clean_items_and_shows_both():
    """Half of the release items stood in the training data, and the whole gain is there."""
    leaked = {f"release{place}" for place in range(ITEMS // 2)}
    gain = [10.0] * (ITEMS // 2) + [0.0] * (ITEMS // 2)
    base = values_of(40, 1, 3)
    mine = [one + extra + noise for one, extra, noise in zip(base, gain, values_of(0, 1, 4), strict=True)]
    found = [*scored(BASE, base, base), *scored(made("a"), base, mine)]
    assert build_report(plan(job("a")), found, GATE).verdict == "SHIP"
    report = build_report(plan(job("a")), found, GATE, exclude={"aac": leaked, "other": set()})
    row = report.candidates[0].rows[0].comparison
    assert (report.verdict, row.paired, row.excluded) == ("INCONCLUSIVE", ITEMS // 2, ITEMS // 2)
    assert (abs(row.difference.estimate) < 1, row.with_excluded.estimate > 4) == (True, True)
    assert report.candidates[0].comparisons[0].with_excluded == row.with_excluded
    assert (report.excluded, row.left_out, report.boards[0].rows[0].mean.items) == ({"aac": 30}, {}, 30)
    assert Report.model_validate_json(report.model_dump_json()) == report


# --- beyond the verdict -------------------------------------------------------------------------------------------


def test_the_winners_optimism_is_what_dev_promised_and_release_did_not_keep():
    found = [*flat(BASE, 40, 40, 1), *flat(made("a"), 48, 43, 2)]
    (seen,) = build_report(plan(job("a")), found, GATE).optimism
    assert (seen.candidate, seen.against) == ("a", "zero-shot")
    assert seen.gap.estimate == pytest.approx(8 - 3)
    squares = seen.dev.standard_error**2 + seen.release.standard_error**2
    assert seen.gap.standard_error == pytest.approx(squares**0.5)
    assert seen.gap.low < 5 < seen.gap.high


def test_a_recipe_is_its_runs_over_seeds():
    """Three seeds of r=8 gain 4, 5 and 6; r=16 was run once."""
    jobs = [job(f"r=8 seed={seed}", adapter={"r": 8}, seed=seed) for seed in range(3)]
    jobs.append(job("r=16 seed=0", adapter={"r": 16}))
    found = flat(BASE, 40, 40, 1)
    for seed, one in enumerate(jobs):
        found += flat(made(one.label), 41, (44, 45, 46, 50)[seed], seed + 5)
    low, high = build_report(plan(*jobs), found, GATE).recipes
    assert (low.recipe, low.runs, low.against) == ("r=8", [one.run_id for one in jobs[:3]], "zero-shot")
    assert low.by_seed == pytest.approx([4, 5, 6])
    assert (low.difference.estimate, low.difference.method) == (pytest.approx(5), "items+seeds")
    # s² = 1 from these three seeds, so the seeds' part alone is 1/3
    assert low.difference.standard_error >= (1 / 3) ** 0.5
    assert (high.recipe, high.difference.low) == ("r=16", None)
    assert "1 of 3 seeds: no claim about the recipe" in high.difference.note


def test_without_a_second_seed_there_are_no_recipes():
    found = [*flat(BASE, 40, 40, 1), *flat(made("a"), 46, 46, 2)]
    assert build_report(plan(job("a")), found, GATE).recipes == []


def test_a_second_pass_shows_the_engines_own_flips_and_plays_no_other_part():
    first = flat(made("a"), 46, 46, 2)
    again = made("a").model_copy(update={"repeat": 1})
    second = scored(
        again, list(first[0].values.values()), [v + (n < 6) for n, v in enumerate(first[1].values.values())]
    )
    stray = flat(made("unknown").model_copy(update={"repeat": 1}), 1, 1)
    report = build_report(plan(job("a")), [*flat(BASE, 40, 40, 1), *first, *second, *stray], GATE)
    dev, release = report.repeats
    assert (dev.subject, dev.split, dev.changed, dev.difference.estimate) == ("a", "dev", 0, 0.0)
    assert (release.items, release.changed, release.difference.estimate) == (ITEMS, 6, pytest.approx(0.1))
    assert [one.candidate for one in report.candidates] == ["a"]
    assert {row.subject for board in report.boards for row in board.rows} == {"a", "zero-shot"}
    assert {one.against for one in report.candidates[0].comparisons} == {"zero-shot"}


# --- invariance ---------------------------------------------------------------------------------------------------


def test_the_order_of_scores_and_items_changes_nothing():
    found = [*flat(BASE, 40, 40, 1), *flat(made("a"), 46, 42, 2), *flat(made("b"), 45, 50, 3)]

    def shuffled(one: SubjectScores, seed: int) -> SubjectScores:
        order = np.random.default_rng(seed).permutation(list(one.values))
        return one.model_copy(update={"values": {str(item): one.values[str(item)] for item in order}})

    one = build_report(plan(job("a"), job("b")), found, GATE)
    other = build_report(plan(job("a"), job("b")), [shuffled(scores, seed) for seed, scores in enumerate(found)], GATE)
    drop = {"created"}
    assert one.model_dump(exclude=drop) == other.model_dump(exclude=drop)
    swapped = [*found[2:], *found[:2]]
    third = build_report(plan(job("a"), job("b")), swapped, GATE)
    assert (third.verdict, third.reason) == (one.verdict, one.reason)
