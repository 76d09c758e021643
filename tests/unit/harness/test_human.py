"""Votes as evidence: a win rate whose sides add up to 1, and labels only from a random sample."""

from __future__ import annotations

import pytest

from harness import human
from harness.core.errors import InputError
from harness.core.rating import Answer, CampaignRecord, Pair, Vote
from harness.core.records import DataRef, Subject
from harness.gate import compare

SUBJECTS = [
    Subject(kind="adapter", label="aac@v1", model="r-1", base_sha256="0" * 64, adapter_sha256="1" * 64),
    Subject(kind="base", label="base", model="tiny", base_sha256="0" * 64),
]


def campaign(count: int, per_cluster: int = 1) -> tuple[CampaignRecord, list[Pair]]:
    pairs = [
        Pair(
            pair_id=f"p{place}", item_id=f"i{place}", cluster=f"c{place // per_cluster}", prompt=[],
            a=Answer(subject="aac@v1", model="r-1", text="a"), b=Answer(subject="base", model="tiny", text="b"),
        )
        for place in range(count)
    ]  # fmt: skip
    pool = DataRef(path="pool.jsonl", sha256="0" * 64, rows=count, format="pool")
    return CampaignRecord(
        campaign="style", name="aac", subjects=SUBJECTS, pool=pool, decoding={}, pairs=count, refused={}, seed=1,
        created="2026-11-20T00:00:00+00:00",
    ), pairs  # fmt: skip


def vote(pair: str, choice: str, rater: str = "ann", left: str = "a") -> Vote:
    at = "2026-11-20T00:00:00+00:00"
    return Vote.model_validate(
        {"assignment": f"style/{pair}/{rater}", "campaign": "style", "pair_id": pair, "rater": rater, "left": left,
         "choice": choice, "shown_at": at, "at": at}
    )  # fmt: skip


def test_win_rate_by_hand() -> None:
    """p0: both raters prefer a (1). p1: one each (0.5). p2: b, shown on the left (0). p3: both bad (0.5). p4: skipped.

    p5: nobody saw it. Win rate of a: 2/4 = 0.5, so the difference is 0.
    """
    record, pairs = campaign(6)
    votes = [
        vote("p0", "left"), vote("p0", "right", "bob", left="b"), vote("p1", "left"), vote("p1", "right", "bob"),
        vote("p2", "left", left="b"), vote("p3", "both_bad"), vote("p4", "skip"),
    ]  # fmt: skip
    ours, theirs = human.scores(record, pairs, votes)
    assert ours.values == {"p0": 1.0, "p1": 0.5, "p2": 0.0, "p3": 0.5}
    assert {name: ours.values[name] + theirs.values[name] for name in ours.values} == dict.fromkeys(ours.values, 1.0)
    assert ours.counts == {"scored": 4, "unscorable": 1, "unrated": 1}
    assert (ours.metric, ours.split, ours.info.unit) == ("human/style/win", "release", "share")
    found = compare(ours, theirs)
    assert found.difference.estimate == 0.0
    assert found.left_out == {"both": 1}
    assert "1 of 5 items could not be paired" in found.problem
    assert human.labels(human.shares(pairs, votes)) == {"p0": "a", "p1": "tie", "p2": "b", "p3": "tie"}


def test_how_to_read_it() -> None:
    record, pairs = campaign(100)
    ours, theirs = human.scores(record, pairs, [vote(f"p{n}", "left" if n < 60 else "right") for n in range(100)])
    assert human.explain(compare(ours, theirs).difference) == "preferred in 60 % of pairs (50 % to 69 %)"


def test_votes_meant_for_training_do_not_decide() -> None:
    record, pairs = campaign(3)
    ours, _ = human.scores(record, pairs, [vote("p0", "left")], purpose="train")
    assert ours.split == "train"
    with pytest.raises(InputError, match="'elsewhere', which the campaign does not have"):
        human.scores(record, pairs, [vote("elsewhere", "left")])


def test_the_sample_is_the_campaigns_own_draw_of_whole_clusters() -> None:
    record, pairs = campaign(90, per_cluster=3)
    sample = human.drawn(record, pairs, 31)
    assert len(sample) == 33
    assert sample[:30] == human.drawn(record, pairs, 30)  # the same draw, longer
    assert sample != pairs[:33]
    assert human.drawn(record.model_copy(update={"seed": 2}), pairs, 31) != sample


def test_only_the_beginning_of_a_random_order_is_a_random_sample() -> None:
    _, pairs = campaign(100)
    first = {f"p{n}": 1.0 for n in range(60)}
    assert human.random_labels(pairs, first) == (first, "")
    assert "may have been chosen" in human.random_labels(pairs, first | {"p99": 0.0})[1]
    assert human.random_labels(pairs, {}) == ({}, "nobody has voted")
    one_skipped = first | {"p3": None}
    kept, problem = human.random_labels(pairs, one_skipped)
    assert (len(kept), problem) == (59, "")
    assert "skipped 2 of the 60 pairs" in human.random_labels(pairs, one_skipped | {"p4": None})[1]


def test_a_cluster_is_labelled_whole_or_not_at_all() -> None:
    _, pairs = campaign(30, per_cluster=3)
    kept, problem = human.random_labels(pairs, {f"p{n}": 1.0 for n in range(14)})
    assert (len(kept), problem) == (12, "")
    mixed = pairs[0::3] + pairs[1::3] + pairs[2::3]
    assert "parts of several clusters" in human.random_labels(mixed, {pair.pair_id: 1.0 for pair in mixed[:14]})[1]
