"""`ratchet campaign board`: what a lead types and sees."""

from __future__ import annotations

import json

import pytest

from harness import campaign as campaigns
from harness.cli import app, one_line
from harness.core.paths import Lab
from harness.core.rating import Answer, CampaignRecord, Pair, Steer, Vote
from harness.core.records import DataRef, Subject

WHEN = "2026-11-20T09:00:00+00:00"
SUBJECTS = [
    Subject(kind="adapter", label="aac@v1", model="run-aaaaaaaaaaaa", base_sha256="0" * 64),
    Subject(kind="base", label="zero", model="tiny", base_sha256="0" * 64),
]


@pytest.fixture
def lab(tmp_path) -> Lab:
    """Forty pairs, two raters who agree on three of four; Ann's first vote was undone and given again."""
    lab = Lab(tmp_path / "lab")
    a, b = (Answer(subject=who.label, model=who.model, text=f"{who.label} says") for who in SUBJECTS)
    pairs = [Pair(pair_id=f"p{n}", item_id=f"i{n}", cluster=f"c{n}", prompt=[], a=a, b=b) for n in range(40)]
    gold = [Pair(pair_id=f"g{n}", item_id=f"g{n}", cluster=f"g{n}", prompt=[], a=a, b=b, role="gold", expected="a")
            for n in range(12)]  # fmt: skip
    pool = DataRef(path="pool.jsonl", sha256="0" * 64, rows=40, format="pool")
    record = CampaignRecord(
        campaign="style", name="aac", subjects=SUBJECTS, pool=pool, decoding={}, pairs=40, refused={}, seed=7,
        created=WHEN,
    )  # fmt: skip
    place = campaigns.write(lab, record, pairs, gold)
    log = campaigns.VoteLog(place)
    wrong = _vote("p0", "ann", "both_bad")
    log.add(wrong)
    log.undo(wrong, "ann", WHEN)
    log.add(_vote("p0", "ann", "left", take=1))
    for number in range(40):
        log.add(_vote(f"p{number}", "ann", "left"))
        log.add(_vote(f"p{number}", "bo", "left" if number % 4 == 0 else "right", left="b"))
    for number in range(12):
        log.add(_vote(f"g{number}", "ann", "left"))
        log.add(_vote(f"g{number}", "bo", "right" if number == 0 else "left"))
    log.close()
    return lab


def _vote(pair: str, rater: str, choice: str, take: int = 0, left: str = "a") -> Vote:
    name = f"style/{pair}/{rater}" + (f"/{take}" if take else "")
    return Vote.model_validate(
        {"assignment": name, "campaign": "style", "pair_id": pair, "rater": rater, "left": left, "choice": choice,
         "shown_at": WHEN, "at": WHEN, "take": take, "seconds": 8.0}
    )  # fmt: skip


def board(lab: Lab, *more: str, campaign: str = "style") -> int:
    arguments = ["campaign", "board", campaign, "--lab", str(lab.root), *more]
    return one_line(lambda: app(arguments, standalone_mode=False))


def test_the_board_for_programs(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert board(lab, "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["blind"] is True
    (wins,) = found["board"]["wins"]
    assert {wins["subject"], wins["against"]} == {"subject 1", "subject 2"}
    assert sorted((round(wins["weighted"]["estimate"], 3), 0.5)) in ([0.125, 0.5], [0.5, 0.875])
    assert (found["board"]["votes"], found["board"]["second_votes"]) == (80, 0)
    assert [row["gold"]["share"] for row in found["board"]["raters"]] == [1.0, pytest.approx(11 / 12)]
    assert found["board"]["noise"]["error"] == pytest.approx(1 / 24, abs=1e-4)
    assert len(found["board"]["disagreements"]) == 10
    assert "aac@v1" not in json.dumps(found)


def test_names_come_when_the_campaign_is_closed(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    acts = campaigns.ActLog(campaigns.folder(lab, "style"))
    for number, what in enumerate(("close", "reopen", "close")):
        at = f"2026-11-21T09:00:0{number}+00:00"
        acts.add(
            Steer.model_validate({"event_id": f"s{number}", "campaign": "style", "who": "lea", "at": at, "what": what})
        )
    acts.close()
    assert board(lab) == 0
    said = capsys.readouterr().out
    assert "aac@v1" in said
    assert "88% (" in said
    assert "stay hidden" not in said
    assert "1 of 24 gold votes wrong" in said
    assert "votes for the left answer" in said


def test_the_board_for_people_while_it_is_open(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert board(lab) == 0
    said = capsys.readouterr().out
    assert "names stay hidden until the campaign is closed" in said
    assert "aac@v1" not in said


def test_a_campaign_that_is_not_there(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert board(lab, campaign="stile") == 1
    assert "did you mean style" in capsys.readouterr().err
