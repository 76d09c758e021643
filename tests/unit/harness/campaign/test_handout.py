"""Who gets which pair: overlap, leases, undo, gold, repeats, pauses; all of it again the same after a restart."""

from __future__ import annotations

import pytest

from harness import campaign as campaigns
from harness.campaign import MainPairs
from harness.campaign.handout import GOLD_RATE, LEASE, REPEAT_AFTER, UNDO_BACK
from harness.core.errors import LabError
from harness.core.rating import Calibrated, Pair
from tests.unit.harness.campaign.conftest import pair

GOLD = [pair(9000 + n, role="gold", expected="a") for n in range(5)]


def test_shared_pairs_go_to_everyone_and_the_others_to_one_each(table):
    """40 pairs at overlap 0.25: 10 are seen by all three raters, the other 30 by one each."""
    desk = table(40, overlap=0.25)
    given: dict[str, list[str]] = {"ann": [], "bo": [], "cy": []}
    while any([desk.vote(rater) and given[rater].append(desk.votes.last_of(rater).pair_id) is None for rater in given]):
        pass
    times = [sum(name in found for found in given.values()) for name in (f"p{n}" for n in range(40))]
    assert (times.count(3), times.count(1)) == (10, 30)
    assert all(len(found) == 20 for found in given.values())
    assert desk.handout.state("ann", desk.at) == "done"


def test_with_full_overlap_everyone_walks_through_all_in_order_and_nothing_is_leased(table):
    desk = table(8)
    assert desk.all_of("ann") == desk.all_of("bo") == [f"p{n}" for n in range(8)]
    assert desk.acts.acts() == []


def test_two_raters_at_once_never_hold_the_same_single_pair(table):
    desk = table(6, overlap=0.0)
    assert len({desk.shown(rater) for rater in ("ann", "bo", "cy")}) == 3
    assert desk.shown("ann") == desk.shown("ann")


def test_a_restarted_server_shows_everyone_what_was_on_screen(table, lab):
    desk = table(30, GOLD, overlap=0.3)
    for rater in ("ann", "bo", "ann", "cy", "ann"):
        desk.vote(rater)
    before = {rater: desk.next(rater) for rater in ("ann", "bo", "cy", "new")}
    again = table()
    again.at = desk.at
    assert {rater: again.next(rater) for rater in before} == before


def test_an_expired_lease_returns_and_a_late_vote_still_counts(table):
    desk = table(2, overlap=0.0)
    late = desk.next("ann")
    desk.pass_by(seconds=LEASE.total_seconds() - 1)
    assert desk.shown("bo") == "p1"
    desk.pass_by(seconds=2)
    assert desk.shown("cy") == late.pair.pair_id == "p0"
    assert desk.vote("cy") == "p0"
    assert desk.shown("ann") is None, "p1 is on bo's screen, p0 has its vote"
    assert desk.handout.state("ann", desk.at) == "done"
    assert desk.handout.assignment("p0", "ann") == late, "what ann still has on screen can be voted on"


def test_a_rater_who_comes_back_in_time_renews_the_lease(table):
    desk = table(1, overlap=0.0)
    for _ in range(5):
        assert desk.shown("ann") == "p0"
        desk.pass_by(seconds=0.75 * LEASE.total_seconds())
        assert desk.shown("bo") is None


def test_undo_gives_the_pair_back_to_the_same_rater_on_the_same_sides(table):
    desk = table(5, overlap=0.0)
    desk.vote("ann")
    first = desk.votes.of("ann")["p0"]
    back = desk.handout.undo("ann", desk.at)
    assert (back.pair.pair_id, back.take, back.name, back.left) == ("p0", 1, "style/p0/ann/1", first.left)
    assert desk.shown("bo") == "p1"
    assert desk.votes.of("ann") == {}
    assert not desk.votes.add(first), "the first take is over"
    assert desk.vote("ann") == "p0"
    assert [vote.take for vote in desk.votes.votes().values()] == [1]


def test_ten_votes_can_be_taken_back_the_latest_first_and_no_more(table):
    desk = table(15)
    given = desk.all_of("ann")
    for number in range(UNDO_BACK):
        assert desk.handout.undo("ann", desk.at).pair.pair_id == given[-1 - number]
        desk.pass_by(seconds=1)
    assert desk.handout.undo("ann", desk.at) is None
    assert desk.handout.done("ann") == 5
    assert desk.all_of("ann") == given[5:], "they come again in the order in which they were first judged"
    assert len(desk.votes.votes()) == 15


def test_undoing_twice_at_once_takes_back_one_vote(table):
    desk = table(3)
    desk.vote("ann")
    vote = desk.votes.last_of("ann")
    assert desk.votes.undo(vote, "ann", "2026-11-20T10:00:00.000+00:00")
    assert not desk.votes.undo(vote, "ann", "2026-11-20T10:00:00.000+00:00")
    assert len(desk.acts.acts()) == 1


def test_calibration_comes_first_and_makes_no_vote(table):
    known = [pair(800 + n, role="calibration", expected="b", explanation="It answers.") for n in range(2)]
    desk = table(3, known)
    assert [desk.shown("ann"), desk.handout.left("ann", desk.at)] == ["p800", 5]
    for name in ("p800", "p801"):
        act = Calibrated(event_id=f"calibrated/{name}/ann", campaign="style", who="ann", at="2026-11-20T09:00:00+00:00",
                         pair_id=name, choice="left", left="a")  # fmt: skip
        assert desk.acts.add(act)
    assert desk.shown("ann") == "p0"
    assert desk.shown("bo") == "p800"


def test_gold_pairs_are_mixed_in_at_about_one_screen_in_ten_each_once(table):
    """200 pairs, 5 gold: within the first 120 screens all five came (each screen is one with chance 0.1)."""
    desk = table(200, GOLD)
    seen = desk.all_of("ann")
    gold = [place for place, name in enumerate(seen) if name.startswith("p900")]
    assert len(gold) == 5
    assert gold[0] > 0
    assert gold[-1] < 120
    other = desk.all_of("bo")
    assert [name for name in other if name.startswith("p900")] != [name for name in seen if name.startswith("p900")]
    assert GOLD_RATE == 0.1


def test_a_repeat_comes_to_who_judged_its_pair_at_a_distance_and_with_sides_swapped(table):
    again = [pair(n, pair_id=f"again{n}", role="repeat", repeat_of=f"p{n}") for n in range(0, 60, 6)]
    desk = table(60, again, overlap=0.5)
    seen = {"ann": desk.all_of("ann")}
    seen["bo"] = desk.all_of("bo")
    for rater, names in seen.items():
        repeats = [name for name in names if name.startswith("again")]
        assert repeats
        for name in repeats:
            before = name.replace("again", "p")
            assert names.index(name) - names.index(before) >= REPEAT_AFTER
            votes = desk.votes.of(rater)
            assert votes[name].left != votes[before].left
    assert not set(seen["bo"]) & {f"p{n}" for n in range(60)} - set(seen["ann"]), "ann had taken every single pair"


def test_a_paused_rater_gets_nothing_until_resumed(table):
    desk = table(4, overlap=0.0)
    mine = desk.shown("ann")
    desk.steer("pause", rater="ann")
    assert desk.shown("ann") is None
    assert desk.handout.state("ann", desk.at) == "paused"
    assert desk.handout.undo("ann", desk.at) is None
    assert desk.shown("bo") is not None
    desk.steer("resume", rater="ann")
    assert desk.shown("ann") == mine


def test_a_closed_campaign_gives_nothing_and_can_be_opened_again(table):
    desk = table(4)
    desk.steer("close")
    assert (desk.shown("ann"), desk.handout.state("ann", desk.at)) == (None, "closed")
    desk.steer("reopen")
    assert desk.shown("ann") == "p0"


def test_a_reopened_pair_goes_to_somebody_who_has_not_judged_it(table):
    desk = table(2, overlap=0.0)
    assert desk.all_of("ann") == ["p0", "p1"]
    assert desk.shown("bo") is None
    desk.steer("reopen_pair", pair_id="p1")
    assert desk.shown("ann") is None
    assert (desk.handout.left("ann", desk.at), desk.handout.left("bo", desk.at)) == (0, 1)
    assert desk.all_of("bo") == ["p1"]
    assert desk.shown("cy") is None


def test_two_processes_share_what_is_handed_out(table):
    one, two = table(6, overlap=0.0), table()
    assert one.shown("ann") == "p0"
    assert two.shown("bo") == "p1"
    assert two.vote("bo") == "p1"
    assert one.shown("cy") == "p2"
    assert two.shown("ann") == "p0"
    one.vote("ann")
    one.handout.undo("ann", one.at)
    two.at = one.at
    assert two.next("ann").name == "style/p0/ann/1"


def test_a_lease_that_cannot_be_written_hands_out_nothing(table, monkeypatch):
    desk = table(2, overlap=0.0)
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "act.event")
    with pytest.raises(LabError, match="disk is full"):
        desk.next("ann")
    monkeypatch.delenv("RATCHET_FULL_DISK_AT")
    assert desk.shown("bo") == "p0"


def test_the_next_pair_of_a_large_campaign_reads_no_other(table):
    """Work, not time: of 3,000 pairs, 40 votes read those that were shown, and write one lease each at most."""
    desk = table(3000, overlap=0.1)
    read: list[str] = []

    class Counted(MainPairs):
        def __getitem__(self, pair_id: str) -> Pair:
            read.append(pair_id)
            return super().__getitem__(pair_id)

    place = campaigns.folder(desk.lab, "style")
    counted = campaigns.Handout(desk.handout.record, Counted(place, 3000), [], desk.votes, desk.acts)
    desk.handout = counted
    for number in range(40):
        desk.vote(f"r{number % 4}")
    assert len(read) == 40
    assert len(desk.acts.acts()) <= 40


def test_a_pair_that_is_damaged_is_said_when_it_comes(table, lab):
    desk = table(2)
    path = campaigns.folder(lab, "style") / "pairs.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second.replace(b'"cluster"', b'"clutter"'))
    again = table()
    assert again.vote("ann") == "p0"
    with pytest.raises(LabError, match=r"pairs\.jsonl holds something else than a pair"):
        again.next("ann")
    path.write_bytes(first)
    with pytest.raises(LabError, match="has 1 pairs, its record says 2"):
        table()
    assert desk.shown("bo") == "p0"
