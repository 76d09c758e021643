"""From votes to an adapter and its gate: the view, the command, and what they say of odd files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import app, one_line
from harness.core.fingerprint import file_sha256
from harness.core.journal import Journal
from harness.core.paths import Lab
from harness.core.rating import Undo
from harness.core.records import AdapterRecord, DataRef
from harness.pipeline.lineage import lineage
from harness.store import ingest, query
from tests.unit.harness.store.made import WHEN, add_campaign, add_run, cast, vote

QUESTION = "SELECT assignment, touches_gate FROM lineage WHERE run_id = 'r-1'"


def said(lab: Lab, *arguments: str) -> int:
    return one_line(lambda: app(["lineage", *arguments, "--lab", str(lab.root)], standalone_mode=False))


def data(folder: Path, **columns: object) -> DataRef:
    path = folder / "own.jsonl"
    path.write_text(json.dumps({"prompt": "a", "completion": "b", "label": True, **columns}) + "\n")
    return DataRef(path=str(path), sha256=file_sha256(path), rows=1, format="labelled")


def test_one_query_of_any_duckdb_client_answers_the_question(full: Lab) -> None:
    """ann's vote on pair-0 trained r-1; its prompt is word for word what the items of release ask."""
    script = "import duckdb, sys; print(duckdb.connect(sys.argv[1], read_only=True).execute(sys.argv[2]).fetchall())"
    command = [sys.executable, "-c", script, str(full.database), QUESTION]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[('round1/pair-0/ann', True)]"
    (touches,) = query(full, "SELECT touches FROM lineage")[1][0]
    found = {(one["metric"], one["item_id"], one["how"]) for one in touches}
    assert {item for _, item, how in found if how == "prompt"} == {"i0", "i1", "i3"}, (
        "i2 is of dev, and decides nothing"
    )
    assert ("aac/chrf", "i0", "item") in found
    assert ("aac/chrf", "i1", "cluster") in found


def test_the_command_says_it_in_words_and_for_programs(full: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(full, "r-1") == 0
    told = capsys.readouterr().out
    assert "1 vote by 1 rater on 1 pair shaped it (campaigns: round1). Yes, they touch its gate: 1 rated" in told
    assert "alias: aac@prod -> v1 by ann: better" in told
    assert said(full, "r-1", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["verdict"] for one in found["verdicts"]] == ["SHIP"]
    assert {one["item_id"] for one in found["overlap"]} == {"i0", "i1", "i3"}
    assert said(full, "r-9") == 1
    assert "the store knows no run 'r-9'" in capsys.readouterr().err


def test_a_file_without_assignments_is_joined_by_rater_and_other_data_says_nothing(lab: Lab, tmp_path: Path) -> None:
    add_run(lab, [data(tmp_path, campaign="round1", pair_id="pair-1", raters=["ann", "zoe"])])
    cast(add_campaign(lab), vote(0), vote(1, choice="right"))
    ingest(lab)
    assert query(lab, QUESTION)[1] == [("round1/pair-1/ann", False)]
    assert lineage(lab, "r-1").answer().endswith("No plan with a gate has it, so there is no gate to touch.")


def test_an_adapter_that_continues_another_has_its_votes_too_and_those_taken_back_since(
    lab: Lab, tmp_path: Path
) -> None:
    """A majority heard in two pairs that asked the same: the assignments say which votes, not the row's pair."""
    names = ["round1/pair-0/ann", "round1/pair-1/bob"]
    add_run(lab, [data(tmp_path, campaign="round1", pair_id="pair-0", raters=["ann", "bob"], assignments=names)])
    first = AdapterRecord.read(lab.adapter_record("r-1"))
    job = first.job.model_copy(update={"run_id": "r-2", "data": [], "init_adapter_sha256": first.sha256})
    second = first.model_copy(update={"run_id": "r-2", "job": job, "sha256": "c" * 64})
    second.write(lab.adapter_record("r-2"))
    folder = add_campaign(lab)
    cast(folder, vote(0), vote(1, "bob", "right"), vote(1))
    undo = Undo(event_id="u", campaign="round1", who="ann", at=WHEN, assignment=names[0], pair_id="pair-0", take=0)
    with Journal(folder, "acts") as journal:
        journal.append(undo.model_dump(mode="json"))
    ingest(lab)
    rows = query(lab, "SELECT run_id, assignment, generation, undone FROM lineage ORDER BY ALL")[1]
    assert rows == [(run, name, generation, name == names[0])
                    for run, generation in (("r-1", 0), ("r-2", 1)) for name in names]  # fmt: skip
    found = lineage(lab, "r-2")
    assert [one["run_id"] for one in found.runs] == ["r-2", "r-1"]
    assert "1 of them were taken back since" in found.answer()
    assert lineage(lab, "r-2").data[0]["generation"] == 1
