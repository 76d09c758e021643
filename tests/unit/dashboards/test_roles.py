"""Leads and rating: a lead who is no rater rates nothing, one who is both may, a role that is taken away is gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import argon2
import pytest
from fastapi.testclient import TestClient

from dashboards.gate import cookie_name
from dashboards.pages import PAGES
from dashboards.portal import Portal
from harness import campaign as campaigns
from harness.core.paths import Lab
from harness.people import People
from tests.unit.dashboards.test_portal import make_campaign

RATING = [page for page in PAGES if page.path in ("/rate", "/write", "/board", "/try")]
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
LEFT, TICKET = 1, 8  # the rating page's handler that takes 'left is better', and where the ticket stands in an answer
HANDLERS = {"/rate/style": 8, "/write/letters": 6, "/board": 8, "/try": 1}  # at least: fewer were not all seen


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    lab = Lab(tmp_path_factory.mktemp("roles"))
    make_campaign(lab, "style")
    make_campaign(lab, "letters", "write")
    people = People(lab, hasher=CHEAP)
    for name, roles in (("lea", ["lead"]), ("ada", ["rater"]), ("bo", ["lead", "rater"])):
        people.accept(people.invite(name, roles), "a sentence will do")
    portal = Portal(lab, people, RATING)
    yield portal
    portal.close()


@pytest.fixture(scope="module")
def client(portal: Portal) -> Iterator[TestClient]:
    with TestClient(portal.app(), base_url="http://127.0.0.1:7862", raise_server_exceptions=False) as client:
        yield client


class Person:
    """Somebody who is signed in, and presses whatever a page has."""

    def __init__(self, client: TestClient, portal: Portal, name: str) -> None:
        self._client, self._cookie = client, {cookie_name(portal.lab): portal.people._new_session(name)}

    def get(self, path: str) -> Any:
        self._client.cookies.clear()
        self._client.cookies.update(self._cookie)
        return self._client.get(path)

    def press(self, path: str, handler: int, data: list[Any]) -> Any:
        self._client.cookies.clear()
        self._client.cookies.update(self._cookie)
        return self._client.post(f"{path}/gradio_api/run/predict", json={"data": data, "fn_index": handler})


@pytest.fixture
def bo(client: TestClient, portal: Portal) -> Person:
    return Person(client, portal, "bo")


def handlers(both: Person, path: str) -> list[list[Any]]:
    """Empty input for every handler of a page, as somebody who may see it learns them."""
    known = both.get(f"{path}/config").json()["dependencies"]
    assert len(known) >= HANDLERS[path]
    return [[None] * len(one["inputs"]) for one in known]


@pytest.mark.parametrize("path", HANDLERS)
def test_each_handler_is_for_who_has_a_role_of_its_page(
    path: str, client: TestClient, portal: Portal, bo: Person
) -> None:
    """A lead gets 403 from every handler of the pages where people rate and write, a rater from every one of a lead's;
    whoever is both gets an answer from all."""
    refused = Person(client, portal, "lea" if path.startswith(("/rate", "/write")) else "ada")
    allowed = Person(client, portal, "ada" if path.startswith(("/rate", "/write")) else "lea")
    for number, data in enumerate(handlers(bo, path)):
        assert refused.press(path, number, data).status_code == 403, number
        for one in (allowed, bo):
            assert one.press(path, number, data).status_code not in (401, 403), number


def test_a_lead_who_rates_has_votes_of_their_own_and_loses_them_with_the_role(
    client: TestClient, portal: Portal, bo: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboards.desk.MIN_LOOK_S", 0)
    path, lea = "/rate/style", Person(client, portal, "lea")
    ticket = bo.press(path, 0, []).json()["data"][TICKET]
    assert lea.press(path, LEFT, [ticket, "{}"]).status_code == 403
    assert campaigns.read_votes(portal.lab, "style") == [], "a lead's press with somebody else's ticket is no vote"
    shown = bo.press(path, LEFT, [ticket, "{}"]).json()["data"]
    (vote,) = campaigns.read_votes(portal.lab, "style")
    assert vote.rater == "bo"
    portal.people.set_roles("bo", ["lead"])
    assert bo.press(path, LEFT, [shown[TICKET], "{}"]).status_code == 403
    assert len(campaigns.read_votes(portal.lab, "style")) == 1
    assert bo.press("/board", 0, [""]).status_code == 200
    portal.people.set_roles("bo", ["lead", "rater"])
    assert bo.press(path, LEFT, [shown[TICKET], "{}"]).status_code == 200
    assert len(campaigns.read_votes(portal.lab, "style")) == 2
