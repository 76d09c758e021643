"""The same evidence gives the same report: in one journal or in two, ingested once or again, in any order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.core.journal import Journal
from harness.core.paths import Lab
from harness.core.records import BaseRef, EvalRecord, ItemResult, MetricInfo, PlanRecord, RunJob, Score, Subject
from harness.report import build_report
from harness.spec import Gate
from harness.store import ingest, reindex, subject_scores

ITEMS = 80
BASE = Subject(kind="base", label="zero-shot", model="base", base_sha256="b")
MADE = Subject(kind="adapter", label="a", model="r-a", base_sha256="b", adapter_sha256="a", run_id="r-a")
METRICS = {"chrf": MetricInfo(unit="points"), "f1": MetricInfo(aggregate="macro_f1")}
GATE = Gate.model_validate(
    {
        "primary": {"metric": "aac/chrf", "better_than": ["base"]},
        "guardrails": [{"metric": "aac/f1", "against": ["base"], "max_loss": 0.5}],
    }
)


def results(who: Subject, seed: int, gain: float) -> list[ItemResult]:
    rng = np.random.default_rng(seed)
    return [
        ItemResult(
            item_id=f"i{place}",
            split="release",
            cluster=f"c{place // 2}",
            bucket="scored",
            scores={
                "chrf": Score(value=float(50 + gain + rng.normal())),
                "f1": Score(value=1.0, parts=[place % 3, int(rng.integers(0, 3)) if place % 5 == 0 else place % 3]),
            },
            prompt_sha256="0" * 64,
        )
        for place in range(ITEMS)
    ]


def write(lab: Lab, who: Subject, segments: list[list[ItemResult]]) -> str:
    eval_id, names = f"e-{who.label}", []
    for segment in segments:
        with Journal(lab.evals / eval_id, "items") as journal:
            for result in segment:
                journal.append(result.model_dump(mode="json"))
        names.append(journal.path.name)
    EvalRecord(
        eval_id=eval_id, kind="business", subject=who, evalset="aac", evalset_version="1", evalset_sha256="e" * 64,
        metrics=METRICS, decoding={}, engine={}, counts={"scored": ITEMS}, journals=names, seconds=1.0, versions={},
        created="2026-11-20T10:00:00+00:00",
    ).write(lab.evals / eval_id / "eval.json")  # fmt: skip
    return eval_id


def reported(lab: Lab, eval_ids: list[str]) -> dict:
    base = BaseRef(source="tiny", path="tiny", sha256="b")
    job = RunJob(
        run_id="r-a", label="a", base=base, method={}, adapter={}, quantization="none", data=[], arguments={}, seed=0
    )
    plan = PlanRecord(
        plan_id="p-1", name="aac", spec_path="x.yaml", spec={}, runs=[job], gate=None, created="2026-11-20"
    )
    return build_report(plan, subject_scores(lab, eval_ids), GATE).model_dump(exclude={"created"})


@pytest.fixture
def whole(tmp_path: Path) -> tuple[Lab, dict]:
    """A lab with one journal per evaluation, and its report."""
    lab = Lab(tmp_path / "whole")
    eval_ids = [write(lab, who, [results(who, *how)]) for who, how in ((BASE, (1, 0)), (MADE, (2, 3)))]
    ingest(lab)
    return lab, reported(lab, eval_ids)


def test_a_run_split_in_two_and_in_another_order(whole: tuple[Lab, dict], tmp_path: Path) -> None:
    _, expected = whole
    lab, eval_ids = Lab(tmp_path / "split"), []
    for who, how in ((MADE, (2, 3)), (BASE, (1, 0))):
        every = results(who, *how)
        order = np.random.default_rng(9).permutation(ITEMS)
        eval_ids.append(write(lab, who, [[every[i] for i in order[:30]], [every[i] for i in order[30:]]]))
    ingest(lab)
    assert reported(lab, eval_ids[::-1]) == expected
    assert expected["verdict"] == "SHIP"
    assert [row["comparison"]["difference"]["method"] for row in expected["candidates"][0]["rows"]] == [
        "cr2",
        "bootstrap",
    ]


def test_ingesting_again_and_from_nothing(whole: tuple[Lab, dict]) -> None:
    lab, expected = whole
    ingest(lab)
    assert reported(lab, ["e-zero-shot", "e-a"]) == expected
    reindex(lab)
    assert reported(lab, ["e-zero-shot", "e-a"]) == expected
