"""What votes changed, over HTTP: who sees what, and disputes of verdicts from the form to where engineers look."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import argon2
import pytest
from fastapi.testclient import TestClient

from dashboards.changed import PATH
from dashboards.gate import cookie_name
from dashboards.portal import Portal
from dashboards.results_view import history
from harness.core.journal import Journal
from harness.core.paths import Lab
from harness.core.rating import Steer
from harness.core.records import RegistryRecord
from harness.people import People
from harness.pipeline.disputes import MOST_CHARACTERS, disputes
from harness.pipeline.lookup import look_up
from harness.pipeline.privacy import erase
from harness.pipeline.show import one
from harness.store import ingest
from tests.unit.harness.store.made import fill, registry_record

AT = "http://127.0.0.1:7862"
# ann and bob voted in the campaign; the data holds ann's vote alone. cat never voted.
WHO = {"ann": ["rater"], "bob": ["rater"], "cat": ["rater"], "eve": ["lead"], "eng": ["engineer"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A lab with one of everything, taken into its store once for all tests."""
    lab = Lab(tmp_path_factory.mktemp("made") / "lab")
    fill(lab, tmp_path_factory.mktemp("data"))
    record = registry_record(moves=1)
    living = [one.model_copy(update={"removed": None}) for one in record.versions]
    record.model_copy(update={"versions": living}).write(lab.registry / "aac.json")
    ingest(lab)
    return lab


@pytest.fixture
def lab(made: Lab, tmp_path: Path) -> Lab:
    shutil.copytree(made.root, tmp_path / "lab")
    return Lab(tmp_path / "lab")


@pytest.fixture
def portal(lab: Lab) -> Iterator[Portal]:
    people = People(lab, hasher=argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    for name, roles in WHO.items():
        people.accept(people.invite(name, roles), "a sentence will do")
    portal = Portal(lab, people, [])
    yield portal
    portal.close()


@pytest.fixture
def client(portal: Portal) -> Iterator[TestClient]:
    with TestClient(portal.app(), base_url=AT, follow_redirects=False) as client:
        yield client


def as_(portal: Portal, client: TestClient, name: str) -> TestClient:
    client.cookies.clear()
    client.cookies.set(cookie_name(portal.lab), portal.people._new_session(name))
    return client


def steer(lab: Lab, what: str, at: str) -> None:
    act = Steer(event_id=f"{what}/{at}", campaign="round1", who="eve", at=at, what=what)
    with Journal(lab.campaigns / "round1", "acts") as journal:
        journal.append(act.model_dump(mode="json"))


def form(text: str, run: str = "r-1", plan: str = "p-1") -> dict[str, str]:
    return {"run": run, "plan": plan, "text": text}


def test_a_rater_sees_what_came_of_their_votes_once_the_campaign_is_closed(
    lab: Lab, portal: Portal, client: TestClient
) -> None:
    before = as_(portal, client, "ann").get(PATH).text
    assert "Still open" in before
    assert "round1" in before
    assert "SHIP" not in before
    assert "aac@v1" not in client.get("/").text
    steer(lab, "close", "2026-11-21T00:00:00+00:00")
    after = client.get(PATH).text
    for said in ("aac@v1", "aac@prod", "SHIP", "1 of 1 vote is yours", "better where it had to be"):
        assert said in after
    assert "<strong>aac@v1</strong>: SHIP" in client.get("/").text
    steer(lab, "reopen", "2026-11-22T00:00:00+00:00")
    assert "SHIP" not in client.get(PATH).text


def test_nobody_sees_what_votes_of_others_changed_but_leads(lab: Lab, portal: Portal, client: TestClient) -> None:
    steer(lab, "close", "2026-11-21T00:00:00+00:00")
    for name in ("bob", "cat"):  # bob voted, and no adapter learned from it
        shown = as_(portal, client, name).get(PATH)
        assert shown.status_code == 200
        assert "aac@v1" not in shown.text + client.get("/").text
        assert client.post(PATH, data=form("no")).status_code == 422
    lead = as_(portal, client, "eve").get(PATH).text
    assert "aac@v1" in lead
    assert "1 vote." in lead
    assert "that it continues" not in lead
    assert as_(portal, client, "eng").get(PATH).status_code == 403
    assert client.post(PATH, data=form("no")).status_code == 403
    assert PATH not in client.get("/").text
    assert disputes(lab) == []


def test_a_dispute_is_filed_once_and_stands_beside_the_verdict(
    lab: Lab, portal: Portal, client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    steer(lab, "close", "2026-11-21T00:00:00+00:00")
    as_(portal, client, "ann")
    text = "It <b>shouts</b> at children.\u001b[2J"
    sent = client.post(PATH, data=form(text))
    assert (sent.status_code, sent.headers["location"]) == (303, f"{PATH}?said=sent")
    assert client.post(PATH, data=form(f" {text} ")).headers["location"] == f"{PATH}?said=known"
    (found,) = disputes(lab)
    assert (found.who, found.run_id, found.plan_id) == ("ann", "r-1", "p-1")
    shown = client.get(f"{PATH}?said=sent").text
    assert "Engineers see it" in shown
    assert "&lt;b&gt;shouts" in shown
    assert "<b>shouts" not in shown
    assert "shouts" in as_(portal, client, "eve").get(PATH).text
    for name in ("p-1", "r-1", "aac@v1"):
        facts = look_up(lab, name)
        assert facts["disputes"][0]["who"] == "ann"
        one(facts)
        said = capsys.readouterr().out
        assert "ann of r-1 in p-1: It <b>shouts</b>" in said
        assert "\u001b[2J" not in said
    registered = RegistryRecord.read(lab.registry / "aac.json")
    assert "id='disputes'" in history(registered, {}, disputes(lab))
    assert "id='disputes'" not in history(registered, {}, [])
    ingest(lab)
    erase(lab, "ann", "eve")
    (forgotten,) = disputes(lab)
    assert forgotten.text == ""
    assert forgotten.who.startswith("x-")
    assert "words were erased" in client.get(PATH).text


def test_what_cannot_be_a_dispute_is_refused_and_what_was_typed_stays(
    lab: Lab, portal: Portal, client: TestClient
) -> None:
    steer(lab, "close", "2026-11-21T00:00:00+00:00")
    as_(portal, client, "ann")
    for wrong in (form("  "), form("x" * (MOST_CHARACTERS + 1)), form("a", run="r-9"), form("a", plan="../p"), {}):
        answer = client.post(PATH, data=wrong)
        assert answer.status_code == 422
        assert 'role="alert"' in answer.text
    kept = client.post(PATH, data=form("long" * 300)).text
    assert "longlong" in kept
    assert "<details open>" in kept
    assert client.post(PATH, data=form("字" * MOST_CHARACTERS)).status_code == 303
    assert client.post(PATH, content=b"x" * 20_000).status_code == 413
    assert client.post(PATH, data=form("a"), headers={"origin": "https://evil.example"}).status_code == 403
    assert len(disputes(lab)) == 1


def test_a_lab_without_results_says_so(portal: Portal, client: TestClient) -> None:
    portal.lab.database.unlink()
    shown = as_(portal, client, "eve").get(PATH)
    assert "No adapter was trained" in shown.text
    portal.lab.database.write_bytes(b"no database")
    assert client.get(PATH).status_code == 503
    assert client.get("/").status_code == 200, "a store that cannot be read keeps nobody from their work"
