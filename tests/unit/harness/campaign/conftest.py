"""A small campaign on disk, and raters who vote through its handout."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import campaign as campaigns
from harness.core.paths import Lab
from harness.core.rating import Answer, CampaignRecord, Pair, Steer, Vote
from harness.core.records import DataRef, Subject

SUBJECTS = (
    Subject(kind="adapter", label="aac@v1", model="run-aaaaaaaaaaaa", base_sha256="0" * 64),
    Subject(kind="base", label="base", model="tiny", base_sha256="0" * 64),
)
START = datetime.datetime(2026, 11, 20, 9, tzinfo=datetime.UTC)


def pair(number: int, **changes: object) -> Pair:
    a, b = (Answer(subject=who.label, model=who.model, text=f"{who.label} says {number}") for who in SUBJECTS)
    prompt = [{"role": "user", "content": f"Say {number}"}]
    found = Pair(pair_id=f"p{number}", item_id=f"i{number}", cluster=f"c{number}", prompt=prompt, a=a, b=b)
    return found.model_copy(update=changes)


def make(lab: Lab, count: int, extra: list[Pair] | None = None, **changes: object) -> None:
    pool = DataRef(path="pool.jsonl", sha256="0" * 64, rows=count, format="pool")
    record = CampaignRecord(
        campaign="style", name="aac", subjects=list(SUBJECTS), pool=pool, decoding={}, pairs=count, refused={},
        seed=7, created="2026-11-20T00:00:00+00:00",
    )  # fmt: skip
    pairs = [pair(number) for number in range(count)]
    campaigns.write(lab, record.model_copy(update=changes), pairs, extra or [])


class Table:
    """One process at which raters sit. Its clock goes on by a second at each vote."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.handout, self.votes, self.acts = campaigns.open_handout(lab, "style")
        self.at = START

    def next(self, rater: str) -> campaigns.Assignment | None:
        return self.handout.next(rater, self.at)

    def shown(self, rater: str) -> str | None:
        found = self.next(rater)
        return found.pair.pair_id if found else None

    def vote(self, rater: str) -> str | None:
        """The rater's next pair, judged; None at the end."""
        found = self.next(rater)
        if found is None:
            return None
        self.pass_by(seconds=1)
        at = self.at.isoformat(timespec="milliseconds")
        vote = Vote(
            assignment=found.name, campaign="style", pair_id=found.pair.pair_id, rater=rater, left=found.left,
            choice="left", shown_at=at, at=at, take=found.take,
        )  # fmt: skip
        assert self.votes.add(vote)
        return found.pair.pair_id

    def all_of(self, rater: str) -> list[str]:
        found = []
        while pair_id := self.vote(rater):
            found.append(pair_id)
        return found

    def steer(self, what: str, **about: str) -> None:
        self.pass_by(seconds=1)
        at = self.at.isoformat(timespec="milliseconds")
        assert self.acts.add(
            Steer.model_validate(
                {"event_id": f"{what}/{at}", "campaign": "style", "who": "lead", "at": at, "what": what} | about
            )
        )

    def pass_by(self, **time: float) -> None:
        self.at += datetime.timedelta(**time)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "lab")


@pytest.fixture
def table(lab: Lab) -> Callable[..., Table]:
    def opened(count: int = 0, extra: list[Pair] | None = None, **changes: object) -> Table:
        """A table of the lab's campaign; made first where `count` says of how many pairs."""
        if count:
            make(lab, count, extra, **changes)
        return Table(lab)

    return opened
