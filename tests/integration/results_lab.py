"""A finished lab without an engine: a plan with a base and a tuned candidate on one evalset, stored and reported."""

from __future__ import annotations

import json
from pathlib import Path

from harness import store
from harness.core.journal import Journal
from harness.core.paths import Lab, write_atomic
from harness.core.records import (
    AdapterRecord,
    BaseRef,
    EvalRecord,
    ItemResult,
    MetricInfo,
    PlanRecord,
    RunJob,
    Score,
    Subject,
    TrainSummary,
)
from harness.report import Report, as_json, build_report
from harness.spec import Gate

WHEN = "2026-11-20T10:00:00+00:00"
PLAN, RUN = "p-000000000001", "r-000000000001"
EVALS = {"tuned": "e-000000000001", "zero-shot": "e-000000000002"}
DEV, RELEASE = 24, 60
BROKEN = ("dev-3", "dev-4")
ATTACK = "Hi <script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> {{x}} ${alert(1)}"
SEALED = "sealed-answer"
SUBJECTS = {
    "zero-shot": Subject(kind="base", label="zero-shot", model="base", base_sha256="b" * 64),
    "tuned": Subject(
        kind="adapter", label="tuned", model=RUN, base_sha256="b" * 64, adapter_sha256="a" * 64, run_id=RUN
    ),
}
GATE = Gate.model_validate(
    {
        "primary": {"metric": "mini/exact", "better_than": ["base"]},
        "guardrails": [{"metric": "mini/length", "against": ["base"], "max_loss": 5}],
    }
)
METRICS = {"exact": MetricInfo(), "length": MetricInfo(direction="down", unit="characters")}


def make(root: Path) -> tuple[Lab, Report]:
    """The lab and its report. The tuned one is right on dev but for BROKEN, which the base has right; `dev-4`'s
    answer is an attack, and every answer on release says SEALED."""
    lab = Lab(root)
    job = _run(lab)
    for label in SUBJECTS:
        _evaluate(lab, label)
    plan = PlanRecord(
        plan_id=PLAN, name="demo", spec_path="demo.yaml", spec={}, runs=[job], gate=GATE.model_dump(), created=WHEN
    )
    plan.write(lab.plans / PLAN / "plan.json")
    store.ingest(lab)
    report = build_report(plan, store.subject_scores(lab, list(EVALS.values())), GATE)
    write_atomic(lab.reports / f"{PLAN}.json", as_json(report).encode())
    return lab, report


def trained(lab: Lab) -> RunJob:
    """The record of a finished run, without its adapter's files."""
    job = RunJob(
        run_id=RUN, label="tuned", base=BaseRef(source="base", path="base", sha256="b" * 64), method={"type": "sft"},
        adapter={"type": "lora", "r": 8}, quantization="none", data=[], arguments={"learning_rate": 0.001}, seed=0,
    )  # fmt: skip
    summary = TrainSummary(
        steps=20, epochs=1, seconds=12, tokens=3456, first_loss=3.0, final_loss=0.15, device="cpu", dtype="float32"
    )
    AdapterRecord(
        run_id=RUN, job=job, sha256="a" * 64, rank=8, trainable_parameters=98_304, bytes=400_000, summary=summary,
        versions={}, created=WHEN,
    ).write(lab.adapter_record(RUN))  # fmt: skip
    return job


def _run(lab: Lab) -> RunJob:
    job = trained(lab)
    steps = [{"step": step, "total": 20, "loss": 3.0 / step} for step in range(1, 21)]
    write_atomic(lab.runs / RUN / "metrics.jsonl", "".join(json.dumps(one) + "\n" for one in steps).encode())
    return job


def _evaluate(lab: Lab, label: str) -> None:
    folder = lab.evals / EVALS[label]
    with Journal(folder, "items") as journal:
        for split, count in (("dev", DEV), ("release", RELEASE)):
            for number in range(count):
                journal.append(_item(label, split, number).model_dump(mode="json"))
    EvalRecord(
        eval_id=EVALS[label], kind="business", subject=SUBJECTS[label], evalset="mini", evalset_version="1",
        evalset_sha256="e" * 64, metrics=METRICS, decoding={"temperature": 0}, engine={"vllm": "0"},
        counts={"scored": DEV + RELEASE}, journals=[journal.path.name], seconds=1, versions={"vllm": "0"}, created=WHEN,
    ).write(lab.eval_record(EVALS[label]))  # fmt: skip


def _item(label: str, split: str, number: int) -> ItemResult:
    item_id = f"{split}-{number}"
    right = (label == "tuned") != (item_id in BROKEN) if number % 3 != 2 else True
    answer = f"{SEALED} {number}" if split == "release" else f"{label} answers {number}"
    if label == "tuned" and item_id == "dev-4":
        answer = ATTACK
    return ItemResult(
        item_id=item_id, split=split, cluster=f"c{number // 2}", bucket="scored", prompt=f"question {item_id}",
        scores={"exact": Score(value=float(right), explanation="compared"), "length": Score(value=float(len(label)))},
        answer=answer, prompt_sha256="0" * 64, finish_reason="stop", latency_s=0.1 + number / 100, completion_tokens=7,
    )  # fmt: skip
