"""What people's votes say as evidence: a win rate that may decide, and labels to hold a judge against. Pure.

`human/<campaign>/win` is a metric like any other: each pair is an item, worth 1 to the answer that was preferred, 0 to
the other, 0.5 to both where neither was (a tie, or both bad), averaged over the people who judged the pair. The two
sides add up to 1, so their difference is twice the win rate less 1: +0.2 means preferred in 60 % of pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from harness.core.errors import InputError
from harness.core.fingerprint import sha256_of
from harness.core.rating import CampaignRecord, Pair, Purpose, Vote
from harness.core.records import MetricInfo, SubjectScores
from harness.stats import Interval

Label = Literal["a", "b", "tie"]

WORTH: dict[str, float] = {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5}  # to answer a; a skip says nothing
# Pairs that were looked at and then skipped are rarely so by chance: as harness.gate has it for items.
MAX_SKIPPED_SHARE = 0.02


def metric_name(campaign: str) -> str:
    return f"human/{campaign}/win"


def shares(pairs: Sequence[Pair], votes: Iterable[Vote]) -> dict[str, float | None]:
    """Pair id -> the share of people's preference that answer a has; None where all who saw the pair skipped it.

    Pairs that nobody saw are not there. InputError for a vote on a pair that is not among `pairs`.
    """
    known = {pair.pair_id for pair in pairs}
    seen: dict[str, list[float]] = {}
    for vote in votes:
        if vote.pair_id not in known:
            raise InputError(f"a vote of {vote.rater!r} is on {vote.pair_id!r}, which the campaign does not have")
        worth = WORTH.get(vote.view)
        seen.setdefault(vote.pair_id, []).extend([] if worth is None else [worth])
    return {pair_id: sum(found) / len(found) if found else None for pair_id, found in seen.items()}


def labels(shares: Mapping[str, float | None]) -> dict[str, Label]:
    """Pair id -> the side that more people preferred, 'tie' where as many did; pairs without a preference left out."""
    return {
        pair_id: "a" if share > 0.5 else "b" if share < 0.5 else "tie"
        for pair_id, share in shares.items()
        if share is not None
    }


def deciding(record: CampaignRecord, pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs that a win rate of two subjects may stand on: main ones of the uniform half, a fair sample of the pool.

    Raises InputError for a campaign of drafts, and for one of more than two subjects, which has no one win rate.
    """
    if record.kind != "compare" or len(record.subjects) != 2:
        what = "has drafts to write" if record.kind != "compare" else f"has {len(record.subjects)} subjects"
        raise InputError(f"campaign {record.campaign!r} {what}, so it has no win rate", "compare two subjects")
    return [pair for pair in pairs if pair.role == "main" and pair.arm == "uniform"]


def split_of(record: CampaignRecord, purpose: Purpose | None = None) -> Literal["release", "train"]:
    """What the gate makes of a campaign's votes: those of a train campaign never decide."""
    return "train" if (purpose or record.purpose) == "train" else "release"


def scores(
    record: CampaignRecord, pairs: Sequence[Pair], votes: Iterable[Vote], purpose: Purpose | None = None
) -> tuple[SubjectScores, SubjectScores]:
    """Both subjects' scores on `human/<campaign>/win`, ready for the gate, from the pairs that may decide (`deciding`).

    `purpose` says what the pool is for (the record's own by default; a record of before says nothing, and may decide).
    One meant for training must not decide: its scores come as split 'train', which the gate refuses. Pairs that nobody
    saw are no part of the sample (the order is random, so where people stop does not matter); pairs that were only
    skipped are, without a value, so that too many of them are INVALID.
    """
    found = shares(pairs, votes)
    pairs = deciding(record, pairs)
    mine = {pair.pair_id for pair in pairs}
    found = {pair_id: value for pair_id, value in found.items() if pair_id in mine}
    clusters = {pair.pair_id: pair.cluster for pair in pairs if pair.pair_id in found}
    ours = {pair_id: share for pair_id, share in found.items() if share is not None}
    counts = {"scored": len(ours), "unscorable": len(found) - len(ours), "unrated": len(pairs) - len(found)}

    def side(place: int, values: dict[str, float]) -> SubjectScores:
        return SubjectScores(
            subject=record.subjects[place],
            eval_id=f"campaign {record.campaign} {'ab'[place]}",
            metric=metric_name(record.campaign),
            info=MetricInfo(),
            split=split_of(record, purpose),
            evalset_sha256=content(record, pairs),
            values=values,
            clusters=clusters,
            counts=counts,
        )

    return side(0, ours), side(1, {pair_id: 1 - share for pair_id, share in ours.items()})


def content(record: CampaignRecord, pairs: Sequence[Pair]) -> str:
    """Hash of what is compared, which votes do not change."""
    return sha256_of([record.campaign, record.pool.sha256, sorted(pair.pair_id for pair in pairs)])


def explain(difference: Interval) -> str:
    """A difference of `win` as people read it: 'preferred in 60 % of pairs (52 % to 68 %)'."""
    if difference.estimate is None:
        return "no pair was judged"
    ends = [difference.low, difference.high]
    shown = [f"{(end + 1) / 2:.0%}".replace("%", " %") for end in (difference.estimate, *ends) if end is not None]
    return f"preferred in {shown[0]} of pairs" + (f" ({shown[1]} to {shown[2]})" if len(shown) == 3 else "")


# --- a random sample for people ----------------------------------------------------------------------------------


def drawn(record: CampaignRecord, pairs: Sequence[Pair], count: int) -> list[Pair]:
    """At least `count` pairs (all, if there are fewer) for people to label, drawn at random as whole clusters.

    The draw hangs on the campaign's own seed and names, so nobody can draw again until they like it, and anybody can
    check it. Pairs of a cluster stand together.
    """
    order = sorted({pair.cluster for pair in pairs}, key=lambda name: sha256_of([record.seed, record.campaign, name]))
    sample: list[Pair] = []
    for cluster in order:
        if len(sample) >= count:
            break
        sample += [pair for pair in pairs if pair.cluster == cluster]
    return sample


def random_labels(order: Sequence[Pair], shares: Mapping[str, float | None]) -> tuple[dict[str, float], str]:
    """(labels that are a random sample of whole clusters: pair id -> share, ''), or ({}, why they are none).

    `order` must be one drawn at random (a campaign's own, or `drawn`'s). What people saw must be its beginning: any
    other choice may be one that suits somebody. The last cluster is left out while it is labelled in part.
    """
    if not shares:
        return {}, "nobody has voted"
    start = {pair.pair_id for pair in order[: len(shares)]}
    if start != shares.keys():
        return {}, "the pairs that people labelled are not the first of the random order, so they may have been chosen"
    seen = [pair for pair in order if pair.pair_id in start]
    rest = {pair.cluster for pair in order if pair.pair_id not in start}
    if len(rest & {pair.cluster for pair in seen}) > 1:
        return {}, "people labelled parts of several clusters; let them rate what `ratchet judge sample` draws"
    skipped = {pair.cluster for pair in seen if shares[pair.pair_id] is None}
    lost = sum(shares[pair.pair_id] is None for pair in seen)
    if lost > MAX_SKIPPED_SHARE * len(seen):
        return {}, f"people skipped {lost} of the {len(seen)} pairs that they saw, which are rarely skipped by chance"
    whole = [pair.pair_id for pair in seen if pair.cluster not in rest | skipped]
    return {pair_id: share for pair_id in whole if (share := shares[pair_id]) is not None}, ""
