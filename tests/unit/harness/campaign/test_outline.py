"""What opening a campaign reads: work is counted, never time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from harness import campaign as campaigns
from harness.campaign import acts as acts_of
from harness.campaign import files, outline
from harness.core import journal
from harness.core.errors import LabError
from harness.core.paths import Lab
from harness.core.rating import MANY_VOTES, Outline, Pair
from harness.pipeline.rated import Kept, Rated

MANY = 400


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every pair that is read from its text."""
    found: list[str] = []
    read = files._pair

    def counted(line: bytes, path: Any) -> Pair:
        pair = read(line, path)
        found.append(pair.pair_id)
        return pair

    monkeypatch.setattr(files, "_pair", counted)
    return found


def texts(lab: Lab) -> Any:
    return campaigns.folder(lab, "style") / "pairs.jsonl"


def test_a_campaign_opens_without_a_look_at_its_texts(table: Callable[..., Any], lab: Lab, parsed: list[str]) -> None:
    desk = table(MANY, overlap=0.1)
    first = desk.shown("ann")
    assert parsed == [first]
    whole = texts(lab).read_bytes()
    texts(lab).write_bytes(b"x" * len(whole))
    again = table()
    with pytest.raises(LabError, match=r"pairs\.jsonl holds something else than a pair"):
        again.next("ann")
    texts(lab).write_bytes(whole)
    assert again.shown("ann") == first
    assert parsed == [first, first]


@pytest.mark.parametrize("damage", ["gone", "torn", "of another file", "short"])
def test_an_outline_that_does_not_fit_is_not_used(
    table: Callable[..., Any], lab: Lab, parsed: list[str], damage: str
) -> None:
    desk = table(MANY)
    path = texts(lab).with_name(outline.OUTLINE)
    found = json.loads(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "torn":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "short":
        path.write_text(json.dumps({**found, "starts": found["starts"][:-1]}))
    else:
        path.write_text(json.dumps({**found, "size": found["size"] + 1}))
    before = desk.all_of("ann")
    parsed.clear()
    again = table()
    assert parsed == []
    assert again.all_of("bo") == before
    pairs = campaigns.read(lab, "style")[1]
    assert campaigns.MainPairs(texts(lab).parent, MANY).outline.model_copy(
        update={"size": found["size"], "starts": found["starts"]}
    ) == Outline.model_validate(found)
    assert [pair.pair_id for pair in pairs] == found["pair_ids"]


def test_a_pair_that_lies_where_another_should_is_damage(table: Callable[..., Any], lab: Lab) -> None:
    table(2)
    first, second = texts(lab).read_bytes().splitlines(keepends=True)
    texts(lab).write_bytes(second + first)
    with pytest.raises(LabError, match="has 'p1' where 'p0' was"):
        table().next("ann")
    texts(lab).write_bytes(first)
    with pytest.raises(LabError, match="has 1 pairs, its record says 2"):
        table()


def test_the_board_reads_the_texts_that_were_voted_on_once(
    table: Callable[..., Any], lab: Lab, parsed: list[str]
) -> None:
    desk = table(MANY)
    judged = [desk.vote("ann") for _ in range(5)]
    parsed.clear()
    kept = Kept(lab)
    found = kept.of("style").look()
    assert parsed == judged
    assert found.counted.board.coverage[-1].pairs == MANY
    assert kept.of("style").look() is found
    desk.steer("pause", rater="cy")
    assert kept.of("style").look().counted is found.counted  # an act came, and no vote
    assert len(kept.of("style").look().acts) == 1
    judged.append(desk.vote("ann"))
    desk.vote("bo")
    parsed.clear()
    again = kept.of("style").look()
    assert parsed == judged[-1:]
    assert len(again.votes) == 7
    assert again.counted.ballots.cast.pair.tolist() == Rated(lab, "style").look().counted.ballots.cast.pair.tolist()


def test_a_campaign_that_is_kept_forgets_a_name_that_was_erased(table: Callable[..., Any], lab: Lab) -> None:
    desk, kept = table(MANY), Kept(lab)
    desk.vote("ann")
    kept.of("style").look()
    desk.votes.close()
    (path,) = journal.segments(campaigns.folder(lab, "style"), campaigns.VOTES)
    name = {"rater": "x-1", "assignment": "style/p0/x-1"}
    journal.rewrite_segment(path, lambda event: event | name)
    assert {vote.rater for vote in kept.of("style").look().votes} == {"x-1"}


# --- journals -----------------------------------------------------------------------------------------------------


class Counted:
    """A TypeAdapter that keeps how many records each call checked."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def validate_json(self, data: bytes) -> Any:
        found = MANY_VOTES.validate_json(data)
        self.calls.append(len(found))
        return found

    def validate_python(self, data: Any) -> Any:
        self.calls.append(len(data))
        return MANY_VOTES.validate_python(data)


def test_votes_are_checked_many_at_a_time_and_each_once(
    table: Callable[..., Any], lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, counted = table(MANY), Counted()
    desk.all_of("ann")
    monkeypatch.setattr(campaigns.votes, "MANY_VOTES", counted)
    log = campaigns.VoteLog(campaigns.folder(lab, "style"))
    assert len(log.votes()) == MANY
    assert (len(counted.calls), sum(counted.calls)) == (1, MANY)
    desk.vote("bo")
    assert len(log.votes()) == MANY + 1
    assert counted.calls[1:] == [1, 1]  # in the desk's own log, and in this one


def test_whether_a_campaign_is_closed_is_read_once(
    table: Callable[..., Any], lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = table(MANY, overlap=0.0)
    for _ in range(3):
        desk.vote("ann")
    desk.steer("close")
    assert campaigns.closed(lab, "style")
    reads: list[Any] = []
    read = acts_of.read_records
    monkeypatch.setattr(acts_of, "read_records", lambda *about: reads.append(about) or read(*about))
    assert campaigns.closed(lab, "style")
    (lease, *_) = desk.acts.acts()
    desk.acts.add(lease.model_copy(update={"event_id": "another"}))
    reads.clear()
    assert campaigns.closed(lab, "style")
    assert reads == []
    desk.steer("reopen")
    reads.clear()
    assert not campaigns.closed(lab, "style")
    assert len(reads) == 1
