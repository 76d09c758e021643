"""Labs and stores that are damaged or absent: named, and nothing else is hidden."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from harness.core.errors import LabError, StoreError
from harness.core.paths import Lab
from harness.core.records import (
    EvalRecord,
)
from harness.store import counts, ingest, query, subject_scores
from tests.unit.harness.store.made import (
    add_campaign,
    add_eval,
    cast,
    item,
    vote,
)


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
