"""What is written twice, torn, undone or changed is stored once, and the same when the store is built again."""

from __future__ import annotations

import json
from pathlib import Path

from harness.core.journal import Journal
from harness.core.paths import Lab
from harness.core.rating import Undo
from harness.store import counts, ingest, query, reindex
from tests.unit.harness.store.made import (
    WHEN,
    add_campaign,
    add_eval,
    add_rest,
    cast,
    dump,
    fill,
    item,
    registry_record,
    vote,
)


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
