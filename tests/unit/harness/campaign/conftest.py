"""A small campaign on disk, and raters who vote through its handout."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import campaign as campaigns
from harness.campaign.sampling import purpose_of
from harness.cli import app, one_line
from harness.core.paths import Lab
from harness.core.rating import Answer, CampaignRecord, Edit, Pair, Steer, Vote
from harness.core.records import DataRef, Subject

SUBJECTS = (
    Subject(kind="adapter", label="aac@v1", model="run-aaaaaaaaaaaa", base_sha256="0" * 64),
    Subject(kind="base", label="base", model="tiny", base_sha256="0" * 64),
)
WHEN = "2026-11-20T09:00:00+00:00"
TRAINED = [f"c{n}" for n in range(40) if purpose_of(f"c{n}") == "train"]
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


def import_file(lab: Lab, path: Path, campaign: str = "copy", *more: str) -> int:
    arguments = ["campaign", "import", str(path), campaign, "--lab", str(lab.root), *more]
    return one_line(lambda: app(arguments, standalone_mode=False))


@pytest.fixture
def rated(lab: Lab) -> Lab:
    """Five main pairs for training, gold and a repeat; votes with all that a vote may have; one was undone before."""
    main = [pair(n, cluster=TRAINED[n]) for n in range(5)]
    odd = main[3].a.model_copy(update={"text": "=1+1\n'quoted', \"twice\""})
    main[3] = main[3].model_copy(update={"a": odd, "arm": "informative", "inclusion": 0.25})
    gold = pair(9, role="gold", expected="a", cluster=TRAINED[9])
    again = main[0].model_copy(update={"pair_id": "p0-again", "role": "repeat", "repeat_of": "p0"})
    pool = DataRef(path="pool.jsonl", sha256="0" * 64, rows=5, format="pool")
    record = CampaignRecord(
        campaign="style", name="aac", purpose="train", subjects=list(SUBJECTS), pool=pool, decoding={}, pairs=5,
        refused={}, seed=7, created=WHEN,
    )  # fmt: skip
    campaigns.write(lab, record, main, [gold, again])
    log = campaigns.VoteLog(campaigns.folder(lab, "style"))
    edit = Edit(side="b", text="-better\nso")
    more: dict[str, Any] = {"seconds": 2.5, "tags": ["too long", "=x"], "edit": edit}
    votes = [
        vote("p0", "ann", "left"), vote("p0", "bo", "right", left="b", **more), vote("p1", "ann", "tie"),
        vote("p2", "bo", "skip", reason="unclear"), vote("p3", "ann", "left"), vote("p3", "ann", "right", take=1),
        vote("p9", "ann", "left"), vote("p0-again", "ann", "both_bad"),
    ]  # fmt: skip
    for one in votes:
        if one.take:
            log.undo(votes[4], "ann", WHEN)
        assert log.add(one)
    log.close()
    return lab


def vote(pair_id: str, rater: str, choice: str, left: str = "a", take: int = 0, **more: Any) -> Vote:
    name = f"style/{pair_id}/{rater}" + (f"/{take}" if take else "")
    fields = {"assignment": name, "campaign": "style", "pair_id": pair_id, "rater": rater, "left": left, "take": take}
    return Vote.model_validate(fields | {"choice": choice, "shown_at": WHEN, "at": WHEN} | more)
