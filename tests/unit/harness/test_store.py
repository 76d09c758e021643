"""The store through its doors: a lab made of real records and journals, ingested by the child process, then read."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from harness.core.errors import LabError, RatchetError, StoreError
from harness.core.fingerprint import file_sha256
from harness.core.journal import Journal
from harness.core.paths import Lab, write_json
from harness.core.rating import Answer, CampaignRecord, Lease, Pair, Undo, Vote
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
from harness.store import counts, ingest, query, reindex, subject_scores

WHEN = "2026-11-20T10:00:00+00:00"
BASE, ADAPTER = "b" * 64, "a" * 64


CHRF = MetricInfo(unit="points", chance=2.5)


# --- a lab, written as the stages write it ----------------------------------------------------------------------


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


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    # Characters that DuckDB's readers would take for wildcards, and a quote for its ATTACH.
    root = tmp_path / "my [lab]* it's"
    root.mkdir()
    return Lab(root)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A published lab with one of everything, for tests that only read."""
    lab = Lab(tmp_path_factory.mktemp("full"))
    fill(lab, tmp_path_factory.mktemp("data"))
    ingest(lab)
    return lab


# --- what is stored ---------------------------------------------------------------------------------------------


def test_everything_in_a_lab_becomes_rows(full: Lab) -> None:
    assert counts(full) == {
        "act_events": 1, "alias_moves": 1, "campaigns": 1, "data_lineage": 1, "evals": 1, "feedback_events": 3,
        "items": 4,
        "metrics": 1, "pairs": 3, "parity": 1, "plan_runs": 1, "plans": 1, "requests": 1,
        "run_data": 1, "runs": 1, "scores": 3, "train_steps": 2, "usage_events": 1, "verdicts": 1,
        "versions": 1, "vote_events": 4, "votes": 4,
    }  # fmt: skip


def test_no_column_of_a_record_is_lost(full: Lab) -> None:
    """A misspelt column would be NULL everywhere; only these are NULL in the lab of `fill`."""
    empty = set()
    for name in counts(full):
        columns, rows = query(full, f"FROM {name}")
        empty |= {f"{name}.{column}" for place, column in enumerate(columns) if all(row[place] is None for row in rows)}
    assert empty == {"alias_moves.before", "versions.forced_reason"}


def test_values_come_back_as_they_were_written(full: Lab) -> None:
    text = "SELECT answer, cluster, latency_s FROM items WHERE item_id = 'i0'"
    assert query(full, text)[1] == [("I.\n\u0000é😀", "c0", 0.25)]
    settings = query(full, "SELECT settings ->> '$.arguments.learning_rate', data_sha256[1], seed FROM runs")[1]
    assert settings[0][0] == "1e-5" or float(settings[0][0]) == 1e-5
    assert settings[0][2] == 7
    assert query(full, "SELECT step, metric, value FROM train_steps ORDER BY step")[1] == [
        (1, "loss", 2.5),
        (2, "loss", 1.5),  # logged twice, as after a resume: the last counts
    ]


def test_every_table_and_view_is_described(full: Lab) -> None:
    listed = (
        "SELECT table_name FROM duckdb_tables() WHERE comment IS NULL AND database_name = 'lab' UNION ALL "
        "SELECT view_name FROM duckdb_views() WHERE comment IS NULL AND NOT internal AND database_name = 'lab'"
    )
    assert query(full, listed)[1] == [("migrations",)]


def test_subject_scores_by_hand(full: Lab) -> None:
    """release: i0 has 0.5, i1 no value, i3 errored without any score and still counts; dev: i2 alone."""
    dev, release = subject_scores(full, ["e-1"])
    assert (dev.metric, dev.split, dev.values, dev.counts) == ("aac/chrf", "dev", {"i2": 0.25}, {"scored": 1})
    assert release.values == {"i0": 0.5}
    assert release.clusters == {"i0": "c0", "i1": "c0", "i3": "c1"}
    assert release.counts == {"scored": 2, "errored": 1}
    assert release.info == CHRF
    assert release.subject == subject()
    assert release.evalset_sha256 == "e" * 64


def test_an_item_of_another_task_does_not_count_for_a_metric(lab: Lab) -> None:
    """One lm-eval evaluation holds several tasks: an item scored for one is not missing from the other."""
    one = item(0).model_copy(update={"scores": {"arc/acc": Score(value=1.0)}})
    two = item(1).model_copy(update={"scores": {"piqa/acc": Score(value=0.0)}})
    folder = add_eval(lab, "e-1", [[one, two]])
    record = EvalRecord.read(folder / "eval.json")
    metrics = {"arc/acc": MetricInfo(), "piqa/acc": MetricInfo()}
    record.model_copy(update={"evalset": "lm_eval", "kind": "lm_eval", "metrics": metrics}).write(folder / "eval.json")
    ingest(lab)
    found = {scores.metric: scores for scores in subject_scores(lab, ["e-1"])}
    assert {name: list(scores.clusters) for name, scores in found.items()} == {
        "lm_eval/arc/acc": ["i0"],
        "lm_eval/piqa/acc": ["i1"],
    }


def test_leaderboard_counts_what_it_leaves_out(full: Lab) -> None:
    board = query(
        full, "SELECT metric, split, subject_label, mean, n, left_out, direction FROM leaderboard ORDER BY split"
    )
    assert board[1] == [("aac/chrf", "dev", "r=8", 0.25, 1, 0, "up"), ("aac/chrf", "release", "r=8", 0.5, 1, 2, "up")]


def test_votes_lead_to_the_adapter_they_shaped(full: Lab) -> None:
    """The data holds pair-0 as ann judged it; bob's vote on the same pair came later and is not in it."""
    rows = query(full, "SELECT run_id, pair_id, rater, preferred, preferred_subject FROM vote_lineage")[1]
    assert rows == [("r-1", "pair-0", "ann", "a", "r=8")]


def test_preferred_is_the_answer_not_the_side(lab: Lab) -> None:
    folder = add_campaign(lab)
    cast(folder, vote(0, choice="left", left="b"), vote(1, choice="right", left="b"), vote(2, choice="both_bad"))
    ingest(lab)
    assert query(lab, "SELECT preferred FROM votes ORDER BY pair_id")[1] == [("b",), ("a",), (None,)]


# --- exactly once -----------------------------------------------------------------------------------------------


def test_a_second_ingest_adds_nothing(lab: Lab, tmp_path: Path) -> None:
    fill(lab, tmp_path)
    first = ingest(lab)
    before, published = dump(lab), lab.database.stat().st_ino
    second = ingest(lab)
    assert (first.published, second.sources, second.published) == (True, 0, False)
    assert dump(lab) == before
    assert lab.database.stat().st_ino == published


def test_an_evaluation_without_its_record_is_not_seen(lab: Lab) -> None:
    folder = add_eval(lab, "e-1", [[item(0)]])
    record = (folder / "eval.json").read_bytes()
    (folder / "eval.json").unlink()
    add_rest(lab)
    ingest(lab)
    assert counts(lab)["items"] == 0
    (folder / "eval.json").write_bytes(record)
    ingest(lab)
    assert counts(lab)["items"] == 1


def test_an_item_written_twice_counts_as_first_written(lab: Lab) -> None:
    add_eval(lab, "e-1", [[item(0, value=0.1), item(0, value=0.2), item(1)], [item(0, value=0.3), item(2)]])
    ingest(lab)
    rows = query(lab, "SELECT item_id, value FROM scores ORDER BY item_id")[1]
    assert rows == [("i0", 0.1), ("i1", 0.5), ("i2", 0.5)]
    assert counts(lab)["items"] == 3


def test_the_first_vote_wins_in_whatever_order_segments_were_read(lab: Lab) -> None:
    """Two tabs write a segment each; the older one grows after the newer was ingested, and its vote still counts."""
    folder = add_campaign(lab)
    with Journal(folder, "votes") as old:
        old.append(vote(0))
        cast(folder, vote(1, choice="right"))
        ingest(lab)
        assert query(lab, "SELECT choice FROM votes WHERE pair_id = 'pair-1'")[1] == [("right",)]
        old.append(vote(1, choice="tie"))
    ingest(lab)
    assert query(lab, "SELECT choice FROM votes WHERE pair_id = 'pair-1'")[1] == [("tie",)]
    assert (counts(lab)["vote_events"], counts(lab)["votes"]) == (3, 2)
    before = dump(lab)
    reindex(lab)
    assert dump(lab) == before


def test_a_torn_vote_waits_for_its_end(lab: Lab) -> None:
    path = cast(add_campaign(lab), vote(0))
    whole = json.dumps(vote(1)) + "\n"
    with path.open("a") as file:
        file.write(whole[:40])
    ingest(lab)
    assert counts(lab)["votes"] == 1
    with path.open("a") as file:
        file.write(whole[40:])
    ingest(lab)
    assert counts(lab)["votes"] == 2


def test_a_torn_item_is_left_out(lab: Lab) -> None:
    """A killed evaluation leaves a torn line; the next process writes that item to a segment of its own."""
    folder = add_eval(lab, "e-1", [[item(0)], [item(1)]])
    with sorted(folder.glob("items-*.jsonl"))[0].open("a") as file:
        file.write(json.dumps(item(1).model_dump(mode="json"))[:-20])
    ingest(lab)
    assert counts(lab)["items"] == 2
    assert not list((lab.store / "scratch").iterdir())


def test_a_record_that_changed_has_its_rows_replaced(lab: Lab) -> None:
    for moves in (1, 2):
        registry_record(moves).write(lab.registry / "aac.json")
        ingest(lab)
        assert query(lab, "SELECT version FROM versions ORDER BY 1")[1] == [(n,) for n in range(1, moves + 1)]
        assert counts(lab)["alias_moves"] == moves


def test_reindex_gives_the_same_answers(lab: Lab, tmp_path: Path) -> None:
    fill(lab, tmp_path)
    ingest(lab)
    cast(lab.campaigns / "round1", vote(2, "bob"), vote(0, choice="skip"))
    registry_record(2).write(lab.registry / "aac.json")
    add_eval(lab, "e-2", [[item(0)]])
    ingest(lab)
    (tmp_path / "pairs.jsonl").unlink()  # training data lies outside the lab and may be gone
    before = dump(lab)
    (lab.store / "build.duckdb").write_bytes(b"damaged")
    assert reindex(lab).published
    assert dump(lab) == before
    assert ingest(lab).sources == 0


# --- killed, at once, full --------------------------------------------------------------------------------------


def test_killed_at_every_commit_nothing_is_lost_or_doubled(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_eval(lab, "e-0", [[item(0)]])
    ingest(lab)
    fill(lab, tmp_path)
    monkeypatch.setenv("RATCHET_KILL_AT", "store.ingest")
    for _ in range(8):  # a run, a plan, a parity, a registry, a report, an evaluation, a campaign, votes; acts below
        with pytest.raises(StoreError, match="killed by signal 9"):
            ingest(lab)
        assert counts(lab)["plans"] == 0, "readers must not see a store that was not published"
    with pytest.raises(StoreError, match="killed by signal 9"):
        ingest(lab)
    assert ingest(lab).sources == 0, "all is committed, so no write point is reached, and it is published"
    monkeypatch.delenv("RATCHET_KILL_AT")
    after = dump(lab)
    reindex(lab)
    assert dump(lab) == after
    assert counts(lab)["votes"] == 4


@pytest.mark.parametrize("point", ["store.ingest", "store.publish"])
def test_the_first_ingest_killed(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    fill(lab, tmp_path)
    monkeypatch.setenv("RATCHET_KILL_AT", point)
    for _ in range(2):
        with pytest.raises(StoreError, match="run it again"):
            ingest(lab)
        with pytest.raises(StoreError, match="no results yet"):
            counts(lab)
    monkeypatch.delenv("RATCHET_KILL_AT")
    assert ingest(lab).published
    assert (counts(lab)["items"], counts(lab)["votes"]) == (4, 4)


def test_killed_while_publishing_readers_keep_the_old_file(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    add_eval(lab, "e-1", [[item(0)]])
    ingest(lab)
    add_eval(lab, "e-2", [[item(0)]])
    monkeypatch.setenv("RATCHET_KILL_AT", "store.publish")
    with pytest.raises(StoreError, match="killed"):
        ingest(lab)
    assert counts(lab)["evals"] == 1
    monkeypatch.delenv("RATCHET_KILL_AT")
    again = ingest(lab)
    assert (again.sources, again.published, counts(lab)["evals"]) == (0, True, 2)


@pytest.mark.parametrize("point", ["store.ingest", "store.publish"])
def test_a_full_disk_is_said_and_survived(lab: Lab, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    add_eval(lab, "e-1", [[item(0)]])
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", point)
    with pytest.raises(LabError, match="the disk is full"):
        ingest(lab)
    monkeypatch.delenv("RATCHET_FULL_DISK_AT")
    ingest(lab)
    assert counts(lab)["items"] == 1


def test_two_ingests_at_once(lab: Lab, tmp_path: Path) -> None:
    fill(lab, tmp_path)
    done: list[int] = []
    threads = [threading.Thread(target=lambda: done.append(ingest(lab).sources)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 2
    assert 0 in done
    assert (counts(lab)["items"], counts(lab)["vote_events"]) == (4, 4)


def test_readers_never_wait_and_never_see_half_an_evaluation(lab: Lab) -> None:
    """Threads of one process read without a pause while evaluations of 50 items arrive and are published."""
    add_eval(lab, "e-0", [[item(number) for number in range(50)]])
    ingest(lab)
    over, seen, failures = threading.Event(), set(), []

    def read() -> None:
        while not over.is_set():
            try:
                (evals, items) = query(lab, "SELECT (SELECT count(*) FROM evals), (SELECT count(*) FROM items)")[1][0]
            except RatchetError as error:
                failures.append(error)
                return
            seen.add((evals, items))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(1, 4):
        add_eval(lab, f"e-{number}", [[item(number) for number in range(50)]])
        ingest(lab)
        assert counts(lab)["evals"] == number + 1, "a query must see the file published last"
    over.set()
    for reader in readers:
        reader.join()
    assert not failures
    assert seen <= {(number, 50 * number) for number in range(1, 5)}
    assert len(seen) > 1


def test_plain_duckdb_reads_the_published_file(full: Lab) -> None:
    """As an analyst's notebook does: another process, no Ratchet, and held open while we publish again."""
    script = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); "
        "print(c.execute('SELECT count(*) FROM item_scores').fetchone()[0], flush=True); input()"
    )
    analyst = subprocess.Popen(
        [sys.executable, "-c", script, str(full.database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert analyst.stdout is not None
        assert analyst.stdout.readline() == "4\n"
        assert reindex(full).published
    finally:
        analyst.communicate("\n")
    assert analyst.returncode == 0


def test_the_file_stays_readable_by_the_older_command_line(full: Lab) -> None:
    with duckdb.connect(str(full.database), read_only=True) as connection:
        tags = connection.execute("SELECT tags FROM duckdb_databases() WHERE path IS NOT NULL").fetchall()
    assert tags[0][0]["storage_version"].startswith("v1.5.0")


# --- SQL that anyone wrote --------------------------------------------------------------------------------------

HOSTILE = [
    "INSERT INTO plans SELECT * FROM plans",
    "DELETE FROM items",
    "DROP TABLE items",
    "CREATE TABLE mine AS SELECT 1",
    "ALTER TABLE items ADD COLUMN x INTEGER",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "COPY items TO '{out}/stolen.csv'",
    "COPY items FROM '/etc/passwd'",
    "EXPORT DATABASE '{out}/stolen'",
    "ATTACH '{out}/other.duckdb'",
    "ATTACH '{database}' AS again",
    "DETACH lab; ATTACH '{database}' AS lab",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{out}/evil.duckdb_extension'",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "SET temp_directory = '{out}'",
    "PRAGMA profiling_output = '{out}/profile.json'",
    "SELECT getenv('HOME')",
    "SELECT * FROM LOCKED",  # a Python variable of the module that runs the query
    "SELECT * FROM sql",
    "SELECT 1; DROP TABLE items",
    "USE memory; DETACH lab; ATTACH '{database}' AS w; CREATE TABLE w.mine (i INTEGER)",
    "COPY (SELECT 1) TO '{database}.wal'",
    "WITH mine AS (COPY (SELECT 1) TO '{database}.wal') FROM mine",
    "WITH mine AS (COPY (SELECT 1) TO '{database}' (USE_TMP_FILE false)) FROM mine",
    "SELECT size FROM read_blob('{database}')",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{database}.wal'",
    "WITH mine AS (INSERT INTO plans SELECT * FROM plans RETURNING *) FROM mine",
    "CREATE TEMP TABLE mine AS SELECT 1",
    "PREPARE mine AS SELECT 1",
    "CHECKPOINT",
    "CALL enable_logging(storage = 'file', storage_path = '{out}/log')",
    "SELECT * FROM enable_logging(storage := 'file', storage_path := '{out}/log')",
    "",
]


@pytest.mark.parametrize("sql", HOSTILE)
def test_hostile_sql_is_refused(full: Lab, tmp_path: Path, sql: str) -> None:
    before, files = file_sha256(full.database), sorted(full.root.iterdir())
    with pytest.raises(StoreError) as refused:
        query(full, sql.format(out=tmp_path, database=full.database))
    assert "\n" not in refused.value.one_line()
    assert file_sha256(full.database) == before
    assert sorted(full.root.iterdir()) == files
    assert not list(tmp_path.iterdir())


def test_a_query_takes_parameters_and_says_what_is_wrong(full: Lab) -> None:
    assert query(full, "SELECT item_id AS id FROM items WHERE item_id = ?", ["i0"]) == (["id"], [("i0",)])
    with pytest.raises(StoreError, match=r"Table with name itmes does not exist.*Did you mean"):
        query(full, "SELECT * FROM itmes")
    with pytest.raises(StoreError, match="syntax error"):
        query(full, "SELEC 1")


def test_no_progress_bar_on_stdout(full: Lab) -> None:
    """DuckDB draws one after two seconds, in the middle of what a command prints as JSON."""
    assert query(full, "SELECT current_setting('enable_progress_bar')")[1] == [(False,)]


# --- damage and absence -----------------------------------------------------------------------------------------


def test_no_lab_and_no_results_say_so(lab: Lab) -> None:
    for read in (lambda: counts(lab), lambda: query(lab, "SELECT 1"), lambda: subject_scores(lab, ["e-1"])):
        with pytest.raises(StoreError, match=r"no results yet in .*ratchet run"):
            read()
    assert ingest(lab).published is False
    with pytest.raises(StoreError, match="no results yet"):
        counts(lab)
    with pytest.raises(LabError, match="there is no lab at"):
        ingest(Lab(lab.root / "absent"))
    assert not (lab.root / "absent").exists()


def test_an_unknown_evaluation_is_named(full: Lab) -> None:
    with pytest.raises(StoreError, match="evaluation e-9 is not in the store"):
        subject_scores(full, ["e-1", "e-9"])


@pytest.fixture
def built(lab: Lab) -> Iterator[Path]:
    add_eval(lab, "e-1", [[item(0)]])
    ingest(lab)
    yield lab.store / "build.duckdb"
    reindex(lab)
    assert counts(lab)["items"] == 1


def test_a_damaged_build_file_asks_for_reindex(lab: Lab, built: Path) -> None:
    built.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match=r"is damaged.*ratchet reindex"):
        ingest(lab)


def test_flipped_bytes_in_the_build_file_ask_for_reindex(lab: Lab, built: Path) -> None:
    content = bytearray(built.read_bytes())
    for place in range(3 * 4096, len(content), 997):
        content[place] ^= 0xFF
    built.write_bytes(content)
    with pytest.raises(StoreError, match="ratchet reindex"):
        ingest(lab)


def test_a_newer_schema_is_not_half_understood(lab: Lab, built: Path) -> None:
    with duckdb.connect(str(built)) as connection:
        connection.execute("INSERT INTO migrations VALUES (99)")
    with pytest.raises(StoreError, match=r"newer Ratchet \(schema 99\).*ratchet reindex"):
        ingest(lab)


def test_a_build_file_open_elsewhere_is_said(lab: Lab, built: Path) -> None:
    with duckdb.connect(str(built)), pytest.raises(StoreError, match="open in another process"):
        ingest(lab)


def test_a_damaged_published_file_is_said_and_published_again(lab: Lab, built: Path) -> None:
    lab.database.write_bytes(b"no database")
    with pytest.raises(StoreError, match=r"cannot be read.*ratchet reindex"):
        counts(lab)
    assert ingest(lab).published


def test_flipped_bytes_in_the_published_file_are_said(lab: Lab, built: Path) -> None:
    content = bytearray(lab.database.read_bytes())
    for place in range(3 * 4096, len(content), 997):
        content[place] ^= 0xFF
    lab.database.write_bytes(content)
    with pytest.raises(StoreError, match=r"cannot be read.*ratchet reindex"):
        subject_scores(lab, ["e-1"])


def test_pairs_that_were_lost_are_said(lab: Lab) -> None:
    folder = add_campaign(lab, pairs=3)
    lines = (folder / "pairs.jsonl").read_text().splitlines(keepends=True)
    (folder / "pairs.jsonl").write_text("".join(lines[:2]))
    with pytest.raises(LabError, match=r"counts 3 pairs, pairs\.jsonl holds 2"):
        ingest(lab)


DAMAGES = {
    "a line that is no JSON": b'{"item_id": \n',
    "a line that is no item": b'["i1"]\n',
    "a number that is none": b'{"item_id": "i1", "latency_s": "slow"}\n',
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_journal_is_named_and_hides_no_other(lab: Lab, what: str) -> None:
    folder = add_eval(lab, "e-1", [[item(0)]])
    with next(folder.glob("items-*.jsonl")).open("ab") as file:
        file.write(DAMAGES[what])
    add_eval(lab, "e-2", [[item(0)]])
    with pytest.raises(LabError, match="e-1"):
        ingest(lab)
    assert query(lab, "SELECT eval_id, (SELECT count(*) FROM items) FROM evals")[1] == [("e-2", 1)]


def test_items_that_do_not_add_up_are_refused(lab: Lab) -> None:
    add_eval(lab, "e-1", [[item(0), item(1)]], held={"scored": 3})
    with pytest.raises(LabError, match=r"counts \{'scored': 3\}, its journals hold \{'scored': 2\}"):
        ingest(lab)


def test_a_missing_journal_is_named(lab: Lab) -> None:
    folder = add_eval(lab, "e-1", [[item(0)]])
    next(folder.glob("items-*.jsonl")).unlink()
    with pytest.raises(LabError, match=r"items-.* is missing"):
        ingest(lab)


def test_a_copied_evaluation_is_not_counted_twice(lab: Lab) -> None:
    folder = add_eval(lab, "e-1", [[item(0)]])
    copy = lab.evals / "e-2"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    with pytest.raises(LabError, match="'e-1', not 'e-2'"):
        ingest(lab)
    assert counts(lab)["items"] == 1


def test_a_journal_outside_its_folder_is_refused(lab: Lab) -> None:
    folder = add_eval(lab, "e-1", [[item(0)]])
    record = EvalRecord.read(folder / "eval.json")
    record.model_copy(update={"journals": ["../../secret.jsonl"]}).write(folder / "eval.json")
    with pytest.raises(LabError, match="journals must be file names"):
        ingest(lab)


def test_votes_that_shrank_are_said(lab: Lab) -> None:
    path = cast(add_campaign(lab), vote(0), vote(1))
    ingest(lab)
    path.write_text("")
    with pytest.raises(LabError, match="shorter than when it was read"):
        ingest(lab)
    assert counts(lab)["votes"] == 2


def test_bulk_rows_arrive_whole_and_in_order(lab: Lab) -> None:
    """30,000 items over three segments: more than one of DuckDB's row groups, parsed by several threads."""
    folder = lab.evals / "e-1"
    add_eval(lab, "e-1", [[item(0)]])
    record = EvalRecord.read(folder / "eval.json")
    names = []
    for segment in range(3):
        path = folder / f"items-{segment:020d}-aaaaaa.jsonl"
        line = item(0).model_dump(mode="json")
        numbers = range(segment * 9_000, segment * 9_000 + 10_000)  # 1,000 of each segment stand in the next one too
        scored = ({**line, "item_id": f"i{n}", "scores": {"chrf": {"value": n + segment / 4}}} for n in numbers)
        path.write_text("".join(json.dumps(event) + "\n" for event in scored))
        names.append(path.name)
    record.model_copy(update={"journals": names, "counts": {"scored": 28_000}}).write(folder / "eval.json")
    ingest(lab)
    first = "least((substr(item_id, 2)::INT - if(substr(item_id, 2)::INT >= 1000, 1000, 0)) // 9000, 2)"
    wrong = query(lab, f"SELECT count(*) FROM scores WHERE value <> substr(item_id, 2)::INT + {first} / 4.0")[1]
    assert (counts(lab)["scores"], wrong) == (28_000, [(0,)])


# --- takes ------------------------------------------------------------------------------------------------------


def test_a_vote_that_was_undone_does_not_count_and_its_next_take_does(lab: Lab) -> None:
    """ann votes left, undoes it, votes right; bob's vote stands. Undoing twice is undoing once."""
    folder = add_campaign(lab)
    again = vote(0, choice="right") | {"assignment": "round1/pair-0/ann/1", "take": 1}
    cast(folder, vote(0), again, vote(0, "bob", "tie"))
    undo = Undo(
        event_id="u-1", campaign="round1", who="ann", at=WHEN, assignment="round1/pair-0/ann", pair_id="pair-0", take=0
    ).model_dump(mode="json")
    with Journal(folder, "acts") as journal:
        journal.append(undo)
        journal.append(undo)
    ingest(lab)
    found = query(lab, "SELECT rater, take, preferred FROM votes ORDER BY rater")[1]
    assert found == [("ann", 1, "b"), ("bob", 0, None)]
    assert query(lab, "SELECT count(*) FROM acts")[1] == [(1,)]
    assert query(lab, "SELECT count(*) FROM vote_events")[1] == [(3,)]
