"""Drafts are corrected by one person and read by another; only what was accepted becomes data."""

from __future__ import annotations

import datetime

import pytest

from harness import campaign as campaigns
from harness.core.errors import InputError
from harness.core.rating import Skipped, Written
from tests.unit.harness.campaign.conftest import START, make


@pytest.fixture
def desk(lab):
    make(lab, 3, kind="write")
    record, pairs = campaigns.read(lab, "style")
    return campaigns.Writing(record, pairs, campaigns.ActLog(campaigns.folder(lab, "style")))


def written(pair: str, who: str, step: str, minute: int, **more: object) -> Written:
    at = (START + datetime.timedelta(minutes=minute)).isoformat(timespec="milliseconds")
    values = {"event_id": f"{pair}/{who}/{step}/{minute}", "campaign": "style", "who": who, "at": at, "pair_id": pair}
    return Written.model_validate(values | {"step": step} | more)


def test_a_text_is_written_by_one_and_read_by_another(desk, lab):
    first = desk.next("ann", START)
    assert (first.step, first.pair.pair_id, first.text) == ("write", "p0", "aac@v1 says 0")
    assert desk.next("ann", START) == first
    assert desk.next("bo", START).pair.pair_id == "p1"
    assert desk.submit(written("p0", "ann", "write", 1, text="A warm zero."))
    assert desk.next("ann", START).pair.pair_id == "p2", "nobody reads their own"
    review = desk.next("cy", START)
    assert (review.step, review.pair.pair_id, review.text) == ("review", "p0", "A warm zero.")
    assert not desk.submit(written("p0", "ann", "review", 2, accepted=True))
    assert desk.submit(written("p0", "cy", "review", 3, accepted=True))
    assert desk.left() == {"write": 2, "review": 0}
    record, pairs = campaigns.read(lab, "style")
    (row,) = campaigns.sft_rows(record, pairs, campaigns.read_acts(lab, "style"))
    assert row["completion"] == [{"role": "assistant", "content": "A warm zero."}]
    assert (row["writer"], row["reviewer"], row["pair_id"], row["draft"]) == ("ann", "cy", "p0", "aac@v1")
    (pair,) = campaigns.preference_rows(record, pairs, campaigns.read_acts(lab, "style"))
    assert (pair["chosen"], pair["rejected"]) == (
        [{"role": "assistant", "content": "A warm zero."}],
        [{"role": "assistant", "content": "aac@v1 says 0"}],
    )


def test_a_text_that_is_sent_back_is_written_again_with_the_reason(desk, lab):
    assert desk.submit(written("p0", "ann", "write", 1, text="Zero!"))
    assert desk.submit(written("p0", "bo", "review", 2, accepted=False, reason="too short"))
    again = desk.next("ann", START)
    assert (again.step, again.text, again.reason) == ("write", "Zero!", "too short")
    assert not desk.submit(written("p0", "cy", "review", 3, accepted=True)), "nothing is there to read"
    assert desk.submit(written("p0", "ann", "write", 4, text="A longer zero."))
    assert desk.submit(written("p0", "bo", "review", 5, accepted=True, text="A longer, better zero."))
    record, pairs = campaigns.read(lab, "style")
    (row,) = campaigns.sft_rows(record, pairs, campaigns.read_acts(lab, "style"))
    assert row["completion"][0]["content"] == "A longer, better zero."


def test_an_accepted_draft_without_a_change_is_a_row_and_no_preference(desk, lab):
    assert desk.submit(written("p1", "ann", "write", 1, text="aac@v1 says 1"))
    assert desk.submit(written("p1", "bo", "review", 2, accepted=True))
    record, pairs = campaigns.read(lab, "style")
    acts = campaigns.read_acts(lab, "style")
    assert len(campaigns.sft_rows(record, pairs, acts)) == 1
    assert campaigns.preference_rows(record, pairs, acts) == []


def test_leases_return_and_empty_texts_are_refused(desk):
    assert desk.next("ann", START).pair.pair_id == "p0"
    assert desk.next("bo", START + datetime.timedelta(hours=2)).pair.pair_id == "p0"
    with pytest.raises(InputError, match="empty text"):
        desk.submit(written("p0", "ann", "write", 1, text=" "))
    with pytest.raises(InputError, match="no pair 'p9'"):
        desk.submit(written("p9", "ann", "write", 1, text="x"))


def skipped(pair: str, who: str, step: str, minute: int) -> Skipped:
    at = (START + datetime.timedelta(minutes=minute)).isoformat(timespec="milliseconds")
    values = {"event_id": f"skip/{pair}/{who}/{minute}", "campaign": "style", "who": who, "at": at, "pair_id": pair}
    return Skipped.model_validate(values | {"step": step})


def test_a_skipped_text_is_others_until_it_changes(desk, lab):
    assert desk.next("ann", START).pair.pair_id == "p0"
    assert desk.skip(skipped("p0", "ann", "write", 1), 0)
    assert desk.next("ann", START).pair.pair_id == "p1"
    assert desk.next("bo", START).pair.pair_id == "p0", "the lease went with it"
    assert desk.progress("ann").skipped == 1
    assert desk.submit(written("p0", "bo", "write", 2, text="Zero."), 0)
    assert not desk.skip(skipped("p0", "cy", "write", 3), 0), "it is another version by now"
    assert desk.progress("ann").skipped == 0
    assert desk.submit(written("p1", "ann", "write", 4, text="One."))
    assert (desk.next("ann", START).step, desk.next("ann", START).pair.pair_id) == ("review", "p0")
    again = campaigns.Writing(*campaigns.read(lab, "style"), campaigns.ActLog(campaigns.folder(lab, "style")))
    assert again.progress("ann") == desk.progress("ann")


def test_what_was_shown_before_a_text_came_back_is_too_late(desk):
    """ann writes, bo sends it back in other words, cy writes again: ann's first ticket answers nothing any more."""
    assert desk.submit(written("p0", "ann", "write", 1, text="Zero."), 0)
    assert desk.submit(written("p0", "bo", "review", 2, accepted=False, text="Zero, warm.", reason="cold"), 1)
    assert not desk.submit(written("p0", "ann", "write", 3, text="Nil."), 0)
    task = desk.next("cy", START)
    assert (task.text, task.reason, task.version) == ("Zero, warm.", "cold", 2)
    assert desk.said("p0", 1).reason == "cold"
    assert desk.said("p0", 2) is None
    assert desk.said("p9", 0) is None


def test_a_campaign_that_compares_has_nothing_to_write(lab):
    make(lab, 2)
    record, pairs = campaigns.read(lab, "style")
    with pytest.raises(InputError, match="compares answers"):
        campaigns.Writing(record, pairs, campaigns.ActLog(campaigns.folder(lab, "style")))
