"""Forgetting a person: what stays, what goes, and what a kill in the middle leaves."""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness import audit, pii, store
from harness import campaign as campaigns
from harness.core.errors import InputError
from harness.core.journal import Journal, rewrite_segment
from harness.core.paths import Lab
from harness.core.rating import Answer, CampaignRecord, Edit, Report, Vote, Written
from harness.core.records import DataRef, Subject
from harness.people import People
from harness.pipeline import privacy

SUBJECTS = (
    Subject(kind="adapter", label="aac@v1", model="run-aaaaaaaaaaaa", base_sha256="0" * 64),
    Subject(kind="base", label="the-base", model="tiny-base", base_sha256="0" * 64),
)
AT = "2026-11-20T10:00:00+00:00"


def make(lab: Lab, name: str) -> list[str]:
    items = [campaigns.PoolItem(f"i{n}", "c", [{"role": "user", "content": f"Say {n}"}]) for n in range(4)]
    a, b = (
        {
            one.item_id: Answer(subject=who.label, model=who.model, text=f"{who.label[0]} says {one.item_id}")
            for one in items
        }
        for who in SUBJECTS
    )  # fmt: skip
    pairs, refused = campaigns.make_pairs(items, a, b, SUBJECTS, 0)
    pool = DataRef(path="pool.jsonl", sha256="0" * 64, rows=4, format="prompt")
    record = CampaignRecord(
        campaign=name, name="aac", subjects=list(SUBJECTS), pool=pool, decoding={}, pairs=len(pairs),
        refused=refused, seed=0, created=AT,
    )  # fmt: skip
    campaigns.write(lab, record, pairs)
    return [pair.pair_id for pair in pairs]


def vote(campaign: str, pair: str, rater: str, take: int = 0) -> Vote:
    words = {"reason": "my dog Rex", "tags": ["rex"], "edit": Edit(side="a", text="my own words")} if pair[-1] else {}
    name = f"{campaign}/{pair}/{rater}" + (f"/{take}" if take else "")
    return Vote(
        assignment=name, campaign=campaign, pair_id=pair, rater=rater, left="a", choice="left", shown_at=AT, at=AT,
        seconds=2.0, take=take, **words,
    )  # fmt: skip


@pytest.fixture(params=["ada", "z"])
def name(request: pytest.FixtureRequest) -> str:
    """A usual name, and the shortest: its place in a line is small."""
    return str(request.param)


@pytest.fixture
def lab(tmp_path: Path, name: str) -> Lab:
    """Two campaigns with votes of two people, one vote undone and given again, and acts."""
    lab = Lab(tmp_path)
    for campaign in ("style", "tone"):
        pairs = make(lab, campaign)
        place = campaigns.folder(lab, campaign)
        log = campaigns.VoteLog(place)
        for rater in (name, "eve"):
            for pair in pairs:
                assert log.add(vote(campaign, pair, rater))
        assert log.undo(log.of(name)[pairs[0]], name, AT)
        assert log.add(vote(campaign, pairs[0], name, take=1))
        log.close()
        said = {"campaign": campaign, "who": name, "at": AT}
        with Journal(place, "acts") as acts:
            for act in (
                Report(event_id=f"report/{pairs[0]}/{name}", what="unsafe", text="Rex bit me", **said),
                Written(event_id=f"write/{pairs[1]}/{name}", pair_id=pairs[1], step="write", text="Rex again", **said),
            ):
                acts.append(act.model_dump(mode="json"))
    People(lab).invite(name, ["rater"])
    audit.note(lab, "owner", "changed", f"invited {name} as rater")
    audit.note(lab, name, "opened", "/rate/style/")
    store.ingest(lab)
    return lab


def counted(lab: Lab, campaign: str) -> dict[str, int]:
    """What of a campaign must not change: how many votes count, by how many people, on each pair."""
    votes = campaigns.read_votes(lab, campaign)
    return {
        "votes": len(votes),
        "raters": len({one.rater for one in votes}),
        "left": sum(one.choice == "left" for one in votes),
    }


def test_votes_stay_counted_and_nothing_leads_back(lab: Lab, name: str) -> None:
    before = {one: counted(lab, one) for one in ("style", "tone")}
    sizes = {path: path.stat().st_size for path in lab.campaigns.glob("*/*.jsonl")}
    open_log = campaigns.VoteLog(campaigns.folder(lab, "style"))  # a page that is open meanwhile
    open_log.votes()
    found = privacy.erase(lab, name, "owner")
    assert found.counts["votes"] == 10
    assert {one: counted(lab, one) for one in ("style", "tone")} == before
    names = {one.rater for campaign in before for one in campaigns.read_votes(lab, campaign)}
    assert len(names) == 2  # one new name in both campaigns
    assert "eve" in names
    for path in (one for one in lab.root.rglob("*") if one.is_file() and one.suffix in (".json", ".jsonl")):
        text = path.read_text(encoding="utf-8")
        assert f'"{name}"' not in text, path
        assert f"/{name}" not in text, path
        assert "Rex again" not in text, path
        assert "Rex bit" not in text, path
    (anon,) = names - {"eve"}
    assert all(
        (one.reason, one.tags, one.edit) == ("", [], None)
        for one in campaigns.read_votes(lab, "style") if one.rater == anon
    )  # fmt: skip
    assert all(one.reason for one in campaigns.read_votes(lab, "style") if one.rater == "eve")
    _, rows = store.query(lab, "select rater, count(*) n from votes group by rater order by rater")
    assert sorted(rows) == sorted([("eve", 8), (anon, 8)])
    _, undone = store.query(lab, "select who from acts where kind = 'undo'")
    assert {who for (who,) in undone} == {anon}
    assert {path: path.stat().st_size for path in sizes} == sizes
    assert open_log.add(vote("style", next(iter(open_log.of("eve"))), "mia"))  # nothing is lost behind its back
    assert counted(lab, "style")["votes"] == before["style"]["votes"] + 1
    assert not (lab.people / "erasing.json").exists()
    with pytest.raises(InputError, match="nothing"):
        privacy.erase(lab, name, "owner")


def test_the_audit_log_keeps_what_was_done_but_not_by_whom(lab: Lab, name: str) -> None:
    privacy.erase(lab, name, "owner")
    entries = audit.entries(lab)
    told = f"erased-{People(lab).key_of(name)}"
    assert [(one.who, one.what) for one in entries[:2]] == [
        ("owner", f"invited {told} as rater"),
        (told, "/rate/style/"),
    ]
    assert entries[-1].did == "erased"
    anon = {one.rater for one in campaigns.read_votes(lab, "style")} - {"eve"}
    assert not any(one in entry.model_dump_json() for one in anon for entry in entries)


def test_edits_can_be_kept_without_the_name(lab: Lab, name: str) -> None:
    privacy.erase(lab, name, "owner", keep_edits=True)
    votes = campaigns.read_votes(lab, "style")
    assert all(one.edit is not None and one.edit.text == "my own words" for one in votes)
    assert {one.reason for one in votes if one.rater != "eve"} == {""}


def test_a_killed_erasure_goes_on_under_the_same_new_name(lab: Lab, name: str) -> None:
    command = [sys.executable, "-m", "harness.cli", "people", "erase", name]
    environment = {**os.environ, "RATCHET_LAB": str(lab.root)}
    killed = subprocess.run(
        command, env={**environment, "RATCHET_KILL_AT": "people.erase"}, capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL
    plan = json.loads((lab.people / "erasing.json").read_text(encoding="utf-8"))
    again = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    for campaign in ("style", "tone"):
        assert {one.rater for one in campaigns.read_votes(lab, campaign)} == {"eve", plan["*"][name]}
    assert list(lab.root.rglob("*.tmp")) == []


def test_retention_takes_names_out_of_quiet_campaigns_only(lab: Lab, name: str) -> None:
    log = campaigns.VoteLog(campaigns.folder(lab, "tone"))
    pair = next(iter(log.of("eve")))
    now = datetime.datetime.now(datetime.UTC).isoformat()
    log.add(vote("tone", pair, "mia").model_copy(update={"at": now, "shown_at": now}))
    log.close()
    days = (datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(AT)).days
    privacy.purge(lab, max(days - 1, 1), "owner")
    assert all(one.rater.startswith("x-") for one in campaigns.read_votes(lab, "style"))
    assert counted(lab, "style")["raters"] == 2
    assert {one.rater for one in campaigns.read_votes(lab, "tone")} == {name, "eve", "mia"}


def test_a_segment_that_is_rewritten_under_a_writer_loses_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "votes")
    journal.append({"who": "adalbert", "n": 1})
    first = journal.path
    assert rewrite_segment(first, lambda event: event | {"who": "x"}) == 1
    journal.append({"who": "eve", "n": 2})
    journal.close()
    assert journal.path != first
    lines = [json.loads(line) for path in (first, journal.path) for line in path.read_bytes().splitlines()]
    assert lines == [{"who": "x", "n": 1}, {"who": "eve", "n": 2}]


def test_personal_data_is_found_by_form_and_refused() -> None:
    rows = [{"prompt": "write to ada@example.com"}, {"chosen": ["card 4111 1111 1111 1111", "call +49 30 1234567"]}]
    found = pii.scan(rows)
    assert found == {"email": 1, "phone": 1, "card": 1}
    assert pii.scan([{"prompt": "what is 2 + 2?", "n": 4111111111111111}]) == {}
    with pytest.raises(InputError, match=r"1 email, 1 phone, 1 card.*--allow-pii"):
        pii.refuse(found, "pairs.jsonl", allow=False)
    pii.refuse(found, "pairs.jsonl", allow=True)
    pii.refuse({}, "pairs.jsonl", allow=False)
