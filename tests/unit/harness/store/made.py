"""A lab as the stages write it: real records and journals, for the store's tests to ingest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.core.fingerprint import file_sha256
from harness.core.journal import Journal
from harness.core.paths import Lab, write_json
from harness.core.rating import Answer, CampaignRecord, Lease, Pair, Vote
from harness.core.records import (
    AdapterRecord,
    AliasMove,
    BaseRef,
    DataRef,
    EvalRecord,
    ItemResult,
    MetricInfo,
    ParityRecord,
    PlanRecord,
    PromptContract,
    Prompting,
    RegistryRecord,
    RunJob,
    Score,
    Shadow,
    Subject,
    TrainSummary,
    Version,
)
from harness.core.traffic import CALLS, FEEDBACK, USAGE, CapturedCall, Feedback, TrafficLog, UsageDelta
from harness.store import query

WHEN = "2026-11-20T10:00:00+00:00"
BASE, ADAPTER = "b" * 64, "a" * 64


CHRF = MetricInfo(unit="points", chance=2.5)


def subject(run_id: str = "r-1") -> Subject:
    return Subject(
        kind="adapter", label="r=8", model=run_id, base_sha256=BASE, adapter_sha256=ADAPTER, run_id=run_id,
        prompting=Prompting(),
    )  # fmt: skip


def item(number: int, split: str = "release", value: float | None = 0.5, bucket: Any = "scored") -> ItemResult:
    scores = (
        {} if bucket == "errored" else {"chrf": Score(value=value, explanation="why", extracted="x", parts=[1.0, 2.0])}
    )
    return ItemResult(
        item_id=f"i{number}", split=split, cluster=f"c{number // 2}", bucket=bucket, scores=scores,
        prompt_sha256="0" * 64, prompt="Say it: { I }", answer="I.\n\u0000é😀", finish_reason="stop", prompt_tokens=3,
        completion_tokens=2, latency_s=0.25, error="timed out" if bucket == "errored" else None,
        thinking="hm", samples=["I.", "Me."], tool_calls=[{"name": "say"}],
    )  # fmt: skip


def add_eval(lab: Lab, eval_id: str, segments: list[list[ItemResult]], held: dict[str, int] | None = None) -> Path:
    """An evaluation with one journal segment per list; `held` are the counts that its record claims."""
    folder = lab.evals / eval_id
    names: list[str] = []
    first: dict[str, str] = {}
    for segment in segments:
        with Journal(folder, "items") as journal:
            for result in segment:
                journal.append(result.model_dump(mode="json"))
                first.setdefault(result.item_id, result.bucket)
        names.append(journal.path.name)
    found = list(first.values())
    EvalRecord(
        eval_id=eval_id, kind="business", subject=subject(), evalset="aac", evalset_version="1",
        evalset_sha256="e" * 64, metrics={"chrf": CHRF}, decoding={"temperature": 0},
        engine={"vllm": "0.32.0"}, counts=held or {bucket: found.count(bucket) for bucket in found}, journals=names,
        seconds=1.5, versions={"ratchet": "0.1.0"}, created=WHEN,
    ).write(folder / "eval.json")  # fmt: skip
    return folder


def job(data: list[DataRef], run_id: str = "r-1") -> RunJob:
    return RunJob(
        run_id=run_id, label="r=8", base=BaseRef(source="tiny", path="/bases/tiny", sha256=BASE),
        method={"type": "dpo", "beta": 0.1}, adapter={"type": "lora", "r": 8}, quantization="none", data=data,
        arguments={"learning_rate": 1e-5}, seed=7, init_adapter=None, init_adapter_sha256="f" * 64,
    )  # fmt: skip


def add_run(lab: Lab, data: list[DataRef]) -> None:
    with Journal(lab.runs / "r-1", "unused") as steps:
        for line in ({"step": 1, "loss": 2.5, "note": "warm"}, {"step": 2, "loss": 2}, {"step": 2, "loss": 1.5}):
            steps.append(line)
    steps.path.rename(lab.runs / "r-1" / "metrics.jsonl")
    AdapterRecord(
        run_id="r-1", job=job(data), sha256=ADAPTER, rank=8, trainable_parameters=1000, bytes=4096,
        summary=TrainSummary(
            steps=2, epochs=1.0, seconds=3.5, tokens=99, first_loss=2.5, final_loss=1.5, device="cpu", dtype="float32"
        ),
        versions={"trl": "1.16.0"}, created=WHEN,
    ).write(lab.runs / "r-1" / "adapter.json")  # fmt: skip


def pair(number: int) -> Pair:
    turns = [{"role": "user", "content": "Say it: { I }"}]
    a, b = Answer(subject="r=8", model="r-1", text="I."), Answer(subject="zero-shot", model="base", text="Me")
    known = {"role": "repeat", "repeat_of": "pair-0", "expected": "a"} if number == 2 else {}
    return Pair(pair_id=f"pair-{number}", item_id=f"i{number}", cluster="c0", prompt=turns, a=a, b=b, **known)


def add_campaign(lab: Lab, pairs: int = 3) -> Path:
    folder = lab.campaigns / "round1"
    folder.mkdir(parents=True)
    lines = [json.dumps(pair(number).model_dump(mode="json")) + "\n" for number in range(pairs)]
    (folder / "pairs.jsonl").write_text("".join(lines))
    CampaignRecord(
        campaign="round1", name="aac", subjects=[subject()], decoding={}, pairs=pairs, refused={"identical": 2}, seed=1,
        purpose="train", pool=DataRef(path="pool.jsonl", sha256="d" * 64, rows=9, format="items"), created=WHEN,
    ).write(folder / "campaign.json")  # fmt: skip
    return folder


def vote(number: int, rater: str = "ann", choice: Any = "left", left: Any = "a") -> dict[str, Any]:
    return Vote(
        assignment=f"round1/pair-{number}/{rater}", campaign="round1", pair_id=f"pair-{number}", rater=rater, left=left,
        choice=choice, shown_at=WHEN, at=WHEN, seconds=4.0,
    ).model_dump(mode="json")  # fmt: skip


def cast(folder: Path, *votes: dict[str, Any]) -> Path:
    with Journal(folder, "votes") as journal:
        for event in votes:
            journal.append(event)
    return journal.path


def registry_record(moves: int) -> RegistryRecord:
    versions = [
        Version(
            version=number, run_id="r-1", adapter_sha256=ADAPTER, base_sha256=BASE, base_path="/bases/tiny",
            verdict="SHIP", plan_id="p-1", created=WHEN, rank=8, removed=WHEN, contract=PromptContract(stop=["</s>"]),
        )
        for number in range(1, moves + 1)
    ]  # fmt: skip
    history = [
        AliasMove(
            seq=number, alias="prod", before=number - 1 or None, after=number, who="ann", why="better", at=WHEN,
            kind="weights", weights_before={number: 1}, weights_after={number: 90, 7: 10}, shadow=Shadow(version=7),
        )
        for number in range(1, moves + 1)
    ]  # fmt: skip
    return RegistryRecord(name="aac", seq=moves, versions=versions, aliases={"prod": moves}, history=history)


def add_rest(lab: Lab) -> None:
    """A plan, a parity proof, a registry and a report."""
    PlanRecord(
        plan_id="p-1", name="aac", spec_path="experiments/aac.yaml", spec={"name": "aac"}, runs=[job([])],
        gate={"primary": {"metric": "aac/chrf"}}, created=WHEN,
    ).write(lab.plans / "p-1" / "plan.json")  # fmt: skip
    ParityRecord(
        run_id="r-1", adapter_sha256=ADAPTER, dtype="float32", probes=4, tokens=64, max_abs_error=1e-4,
        mean_abs_error=1e-5, reference_mean_error=0.0, mean_effect=0.3, passed=True, reason="", created=WHEN,
    ).write(lab.evals / "parity" / "r-1-cpu.json")  # fmt: skip
    registry_record(moves=1).write(lab.registry / "aac.json")
    candidate = {"candidate": "r=8", "run_id": "r-1", "verdict": "SHIP", "rows": [1, 2]}
    write_json(lab.reports / "p-1.json", {"plan_id": "p-1", "created": WHEN, "candidates": [candidate]})


def preference_data(folder: Path) -> DataRef:
    path = folder / "pairs.jsonl"
    row = {"prompt": "a", "chosen": "b", "rejected": "c", "campaign": "round1", "pair_id": "pair-0", "raters": ["ann"]}
    row["assignments"] = ["round1/pair-0/ann"]
    path.write_text(json.dumps(row) + "\n")
    return DataRef(path=str(path), sha256=file_sha256(path), rows=1, format="preference")


def fill(lab: Lab, data_folder: Path) -> None:
    """One of everything."""
    add_run(lab, [preference_data(data_folder)])
    add_rest(lab)
    add_eval(lab, "e-1", [[item(0), item(1, value=None), item(2, "dev", 0.25)], [item(3, bucket="errored")]])
    folder = add_campaign(lab)
    edited = vote(2, choice="tie") | {"edit": {"side": "a", "text": "I am."}}
    cast(folder, vote(0), vote(1, choice="right"), edited, vote(0, "bob", "right"))
    with Journal(folder, "acts") as journal:
        lease = Lease(event_id="l-1", campaign="round1", who="ann", at=WHEN, pair_id="pair-0", until=WHEN)
        journal.append(lease.model_dump(mode="json"))
    add_traffic(lab)


def add_traffic(lab: Lab) -> None:
    """A captured call, feedback on it, usage."""
    call = CapturedCall(
        at=WHEN, request_id="req-1", completion_id="cmpl-1", key_id="k-1", user="u1", endpoint="completions",
        alias="aac@prod", model="aac@v1", prompt="q", decoding={"n": 1}, answers=["a"], finish_reasons=["stop"],
        tool_calls=[{"id": "t"}], prompt_tokens=1, completion_tokens=1, ttft_s=0.1, latency_s=0.2, redacted={"key": 1},
    )  # fmt: skip
    said = {"at": WHEN, "key_id": "k-1", "user": "u1", "completion_id": "cmpl-1"}
    thumb = Feedback(**said, feedback_id="fb-1", about="thumb", thumb="up", reason="nice")
    edit = Feedback(**said, feedback_id="fb-2", about="edit", edited="b", redacted={"key": 1})
    pair = Feedback(**said, feedback_id="fb-3", about="preference", rejected_id="cmpl-0")
    used = UsageDelta(
        day="2026-11-20", key_id="k-1", model="aac@v1", requests=1, errors=0, prompt_tokens=1, completion_tokens=1
    )
    for stem, records in ((CALLS, [call]), (FEEDBACK, [thumb, edit, pair]), (USAGE, [used])):
        TrafficLog(lab.requests, stem, "capture.event").append([record.model_dump(mode="json") for record in records])


def dump(lab: Lab) -> dict[str, list[str]]:
    """Every table of the published store, rows sorted."""
    tables = query(lab, "SELECT table_name FROM duckdb_tables() WHERE database_name = 'lab'")[1]
    return {name: sorted(map(repr, query(lab, f'FROM "{name}"')[1])) for (name,) in tables}
