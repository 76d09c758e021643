"""Conversations that people sent to a campaign: their prompts as a pool, and their two answers as pairs to rate.

`ratchet campaign create --pool sent` has subjects answer the prompts anew. `create` here makes a campaign of answers
that stood side by side in Try it, asked by the same person with the same prompt. Every conversation is a cluster of its
own (harness.captured says how), so what it may be used for follows from how it opens and not from who began it.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness import audit, captured
from harness import campaign as campaigns
from harness.campaign.pairs import draw
from harness.captured import Exchange, Traffic, Which
from harness.core.errors import RatchetError
from harness.core.fingerprint import sha256_of, short_id
from harness.core.paths import Lab, check_name
from harness.core.rating import Answer, CampaignRecord, Pair, Purpose
from harness.core.records import DataRef, Subject, now
from harness.core.traffic import PORTAL, CapturedCall
from harness.data import normalised
from harness.pipeline.campaigns import OTHER_PURPOSE
from harness.pipeline.context import adapter_subject, find_adapter
from harness.pipeline.trying import DECODING

FORMAT = "tried"  # of the pool of a campaign that was made here
NOTHING_BESIDE, USED = "nothing_beside", "in_a_campaign"  # reasons, beside those of pairs and of captured calls


@dataclass(frozen=True)
class Asked:
    """What a campaign of tried answers is to be. `name`: the registry name whose next round its votes train."""

    campaign: str
    name: str
    purpose: Purpose = "train"
    overlap: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Sent:
    """Marked conversations as pairs, in the order in which they were asked, and what made none, by reason."""

    marked: int
    pairs: list[Pair]
    left_out: dict[str, int]


def sent(lab: Lab) -> Sent:
    """What people marked and no campaign has yet. LabError for a damaged segment or record."""
    traffic = captured.load(lab.requests).only(Which(key=PORTAL))
    used = _used(lab)
    left_out: Counter[str] = Counter()
    found: dict[str, Pair] = {}
    marked = {name: one for name, one in traffic.exchanges.items() if one.sent}
    for name, exchange in sorted(marked.items(), key=lambda entry: entry[1].call.at):
        try:
            pair = _pair(name, exchange, traffic)
        except captured.Refused as reason:
            left_out[str(reason)] += 1
            continue
        if pair.pair_id in used:
            left_out[USED] += 1
        else:
            found.setdefault(pair.pair_id, pair)  # both sides may be marked
    return Sent(len(marked), list(found.values()), dict(left_out))


def create(lab: Lab, asked: Asked, who: str) -> CampaignRecord:
    """A campaign of the marked answers. InputError where it exists, or none of them is worth rating for `purpose`."""
    check_name(asked.campaign, "campaign")
    check_name(asked.name, "name")
    everything = sent(lab)
    subjects = _subjects(lab, everything.pairs)
    pairs, refused = _worth(everything, subjects, asked.purpose)
    pairs.sort(key=lambda pair: draw(asked.seed, "order", pair.pair_id))
    heard = {answer.subject for pair in pairs for answer in (pair.a, pair.b)}
    record = CampaignRecord(
        campaign=asked.campaign,
        name=asked.name,
        purpose=asked.purpose,
        subjects=[one for one in subjects if one.label in heard],
        pool=DataRef(
            path=str(lab.requests),
            sha256=sha256_of([pair.item_id for pair in everything.pairs]),
            rows=everything.marked,
            format=FORMAT,
            split="pool",
        ),
        decoding=DECODING,
        pairs=len(pairs),
        refused=refused,
        seed=asked.seed,
        overlap=asked.overlap,
        created=now(),
    )
    campaigns.write(lab, record, pairs)
    audit.note(lab, who, "changed", f"made campaign {asked.campaign} of what was tried", {"pairs": len(pairs)})
    return record


def of_purposes(found: Sent) -> dict[Purpose, int]:
    """How many of the pairs either purpose may use."""
    counts = Counter(campaigns.purpose_of(pair.cluster) for pair in found.pairs)
    return {"train": counts["train"], "judge": counts["judge"]}


# --- inside -----------------------------------------------------------------------------------------------------


def _used(lab: Lab) -> set[str]:
    """Pairs that stand in a campaign of this kind already."""
    made = [record.campaign for record in campaigns.list_all(lab) if record.pool.format == FORMAT]
    return {pair.pair_id for campaign in made for pair in campaigns.read(lab, campaign)[1]}


def _pair(name: str, exchange: Exchange, traffic: Traffic) -> Pair:
    """A marked answer with the one that stood beside it. captured.Refused where there is none, or one is unusable."""
    call = exchange.call
    prompt = captured.prompt_of(call)
    other = _beside(call, traffic)
    if other is None:
        raise captured.Refused(NOTHING_BESIDE)
    both = sorted((call, other), key=lambda one: str(one.completion_id))
    a, b = (_answer(one) for one in both)
    names = [str(one.completion_id) for one in both]
    return Pair(
        pair_id=short_id("pair", names),
        item_id=name,
        cluster=captured.cluster_of(name, call),
        prompt=prompt,
        a=a,
        b=b,
    )


def _beside(call: CapturedCall, traffic: Traffic) -> CapturedCall | None:
    """What another version answered the same person to the same prompt; the nearest in time of several."""
    same = normalised(captured.prompt_of(call))
    found = [
        one.call
        for one in traffic.exchanges.values()
        if one.call.user == call.user and one.call.model != call.model and _asked_alike(one.call, same)
    ]
    return min(found, key=lambda one: abs(_when(one) - _when(call))) if found else None


def _when(call: CapturedCall) -> datetime.timedelta:
    return datetime.datetime.fromisoformat(call.at) - datetime.datetime.fromtimestamp(0, datetime.UTC)


def _asked_alike(call: CapturedCall, prompt: str) -> bool:
    try:
        return normalised(captured.prompt_of(call)) == prompt
    except captured.Refused:
        return False


def _answer(call: CapturedCall) -> Answer:
    return Answer(
        subject=call.model,
        model=call.model,
        text=captured.answer_of(call),
        finish_reason=call.finish_reasons[-1] if call.finish_reasons else None,
    )


def _subjects(lab: Lab, pairs: Sequence[Pair]) -> list[Subject]:
    """Who answered: adapters that the lab knows as such, under the names that answers carry; others by name alone."""
    names = dict.fromkeys(answer.subject for pair in pairs for answer in (pair.a, pair.b))
    return [_subject(lab, name) for name in names]


def _subject(lab: Lab, name: str) -> Subject:
    try:
        return adapter_subject(find_adapter(lab, name)).model_copy(update={"label": name})
    except RatchetError:  # a base, or a version that is gone
        return Subject(kind="endpoint", label=name, model=name, base_sha256=sha256_of([FORMAT, name]))


def _worth(found: Sent, subjects: Sequence[Subject], purpose: Purpose) -> tuple[list[Pair], dict[str, int]]:
    """The pairs that a campaign of this purpose takes, and what it does not, by reason."""
    left_out, kept = Counter(found.left_out), []
    for pair in found.pairs:
        other = campaigns.purpose_of(pair.cluster) != purpose
        reason = OTHER_PURPOSE if other else campaigns.refusal(pair.a, pair.b, subjects)
        if reason:
            left_out[reason] += 1
        else:
            kept.append(pair)
    return kept, dict(left_out)
