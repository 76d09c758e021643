"""The lab of `benchmarks.rate`: accounts with passwords, and one campaign of many pairs as `ratchet campaign create`
would leave it. Texts are of usual length; nobody reads them."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np

from harness import campaign as campaigns
from harness.core.journal import Journal
from harness.core.paths import Lab
from harness.core.rating import Answer, CampaignRecord, Lease, Pair, Vote
from harness.core.records import DataRef, Subject
from harness.people import People

CAMPAIGN, HALF = "many", "half"
CREATED = "2026-11-20T00:00:00+00:00"
JUDGES = 50  # who judged the half
SENTENCE = "a sentence will do"
OVERLAP, REPEATED = 0.02, 200  # share of pairs for every rater; pairs that come again
WORDS = (
    "the",
    "a",
    "child",
    "and",
    "then",
    "small",
    "of",
    "every",
    "day",
    "say",
    "it",
    "where",
    "we",
    "went",
    "town",
    "rain",
)
SUBJECTS = tuple(
    Subject(kind="adapter", label=label, model=f"run-{label}", base_sha256="0" * 64) for label in ("first", "second")
)


def make_lab(lab: Lab, pairs: int, raters: int, half: bool = False) -> list[str]:
    """Names of the raters; each has SENTENCE for a password. `half`: HALF too, half of whose pairs are judged."""
    names = [f"rater-{number:03}" for number in range(raters)]
    made = make_pairs(pairs)
    make_campaign(lab, CAMPAIGN, made)
    if half:
        judge_half(make_campaign(lab, HALF, made), made)
    people = People(lab)
    for name in names:
        people.accept(people.invite(name, ["rater"]), SENTENCE)
    return names


def make_pairs(count: int) -> list[Pair]:
    drawn = np.random.default_rng(0)
    return [_pair(number, drawn) for number in range(count)]


def make_campaign(lab: Lab, campaign: str, pairs: list[Pair]) -> Path:
    count = len(pairs)
    again = [
        pair.model_copy(update={"pair_id": f"{pair.pair_id}-again", "role": "repeat", "repeat_of": pair.pair_id})
        for pair in pairs[: min(REPEATED, count // 10)]
    ]
    record = CampaignRecord(
        campaign=campaign, name=campaign, subjects=list(SUBJECTS), decoding={}, pairs=count, refused={}, seed=7,
        pool=DataRef(path="pool.jsonl", sha256="0" * 64, rows=count, format="pool"), overlap=OVERLAP, created=CREATED,
    )  # fmt: skip
    return campaigns.write(lab, record, pairs, again)


def judge_half(place: Path, pairs: list[Pair]) -> None:
    """A lease and a vote on every other pair, as servers leave them, by people who are not among the raters."""
    votes, leases = [], []
    start = datetime.datetime.fromisoformat(CREATED)
    for number, pair in enumerate(pairs[::2]):
        who = f"judge-{number % JUDGES:03}"
        shown, at, until = (
            (start + datetime.timedelta(seconds=number + wait)).isoformat(timespec="milliseconds")
            for wait in (0, 10, 1200)
        )
        leases.append(Lease(event_id=f"lease/{pair.pair_id}/{who}/{shown}", campaign=HALF, who=who, at=shown,
                            pair_id=pair.pair_id, until=until))  # fmt: skip
        votes.append(Vote(assignment=f"{HALF}/{pair.pair_id}/{who}", campaign=HALF, pair_id=pair.pair_id, rater=who,
                          left="a", choice="left", shown_at=shown, at=at, seconds=10.0))  # fmt: skip
    for stem, events in ((campaigns.ACTS, leases), (campaigns.VOTES, votes)):
        with Journal(place, stem) as journal:
            journal.append_all(event.model_dump(mode="json") for event in events)


def _pair(number: int, drawn: np.random.Generator) -> Pair:
    a, b = (Answer(subject=who.label, model=who.model, text=_text(drawn, 60), finish_reason="stop") for who in SUBJECTS)
    prompt = [{"role": "user", "content": f"{number}: {_text(drawn, 25)}"}]
    return Pair(pair_id=f"pair-{number:012x}", item_id=f"i{number}", cluster=f"c{number // 2}", prompt=prompt, a=a, b=b)


def _text(drawn: np.random.Generator, words: int) -> str:
    return " ".join(drawn.choice(WORDS, drawn.integers(words // 2, words * 3 // 2)))
