"""The lab of `benchmarks.rate`: accounts with passwords, and one campaign of many pairs as `ratchet campaign create`
would leave it. Texts are of usual length; nobody reads them."""

from __future__ import annotations

import numpy as np

from harness import campaign as campaigns
from harness.core.paths import Lab
from harness.core.rating import Answer, CampaignRecord, Pair
from harness.core.records import DataRef, Subject
from harness.people import People

CAMPAIGN = "many"
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


def make_lab(lab: Lab, pairs: int, raters: int) -> list[str]:
    """Names of the raters; each has SENTENCE for a password."""
    make_campaign(lab, pairs)
    people = People(lab)
    names = [f"rater-{number:03}" for number in range(raters)]
    for name in names:
        people.accept(people.invite(name, ["rater"]), SENTENCE)
    return names


def make_campaign(lab: Lab, count: int) -> None:
    drawn = np.random.default_rng(0)
    pairs = [_pair(number, drawn) for number in range(count)]
    again = [
        pair.model_copy(update={"pair_id": f"{pair.pair_id}-again", "role": "repeat", "repeat_of": pair.pair_id})
        for pair in pairs[: min(REPEATED, count // 10)]
    ]
    record = CampaignRecord(
        campaign=CAMPAIGN, name="many", subjects=list(SUBJECTS), decoding={}, pairs=count, refused={}, seed=7,
        pool=DataRef(path="pool.jsonl", sha256="0" * 64, rows=count, format="pool"), overlap=OVERLAP,
        created="2026-11-20T00:00:00+00:00",
    )  # fmt: skip
    campaigns.write(lab, record, pairs, again)


def _pair(number: int, drawn: np.random.Generator) -> Pair:
    a, b = (Answer(subject=who.label, model=who.model, text=_text(drawn, 60), finish_reason="stop") for who in SUBJECTS)
    prompt = [{"role": "user", "content": f"{number}: {_text(drawn, 25)}"}]
    return Pair(pair_id=f"pair-{number:012x}", item_id=f"i{number}", cluster=f"c{number // 2}", prompt=prompt, a=a, b=b)


def _text(drawn: np.random.Generator, words: int) -> str:
    return " ".join(drawn.choice(WORDS, drawn.integers(words // 2, words * 3 // 2)))
