"""A walk through everything that the portal says by itself, in one language: for tests of languages.

Over HTTP, as whoever comes there. Names are digits, so that every word in what comes back is the portal's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from dashboards import changed, linked
from dashboards.gate import SIGN_IN, cookie_name
from dashboards.links import Links
from dashboards.pages import PAGES, Built, Page
from dashboards.portal import Portal
from harness.core.errors import LabError
from harness.core.paths import Lab
from harness.people import ROLES, People
from tests.unit.dashboards.test_portal import AT, CHEAP, HTML, SENTENCE, make_campaign

RATER, LEAD, ALL = "11", "12", "13"


def fails(*_: object) -> Built:
    raise LabError("planted by a test")


BROKEN = Page("/broken", "title", ROLES, fails, "home_rate")


def tour(folder: Path, language: str, patch: pytest.MonkeyPatch) -> Iterator[httpx.Response]:
    """What each page, form and refusal answers whose browser wants `language`."""
    lab = Lab(folder / "lab")
    people = People(lab, hasher=CHEAP)
    for name, roles in ((RATER, ["rater"]), (LEAD, ["lead"]), (ALL, list(ROLES))):
        people.accept(people.invite(name, roles), SENTENCE)
    with visiting(Portal(lab, people, [*PAGES, BROKEN]), language) as client:
        yield from strangers(client, people)
        yield from people_at_home(client, people, lab)
        yield from votes(client, people, lab, patch)
        (lab.people / "people.json").write_text("damaged", encoding="utf-8")
        yield client.get("/", headers=HTML)
    yield from by_link(folder, language)


@contextmanager
def visiting(portal: Portal, language: str) -> Iterator[TestClient]:
    headers = {"accept-language": f"{language}, en;q=0.5", "origin": AT}
    with TestClient(portal.app(), base_url=AT, follow_redirects=False, headers=headers) as client:
        yield client
    portal.close()


def strangers(client: TestClient, people: People) -> Iterator[httpx.Response]:
    """Signing in, an invitation, a request from elsewhere."""
    yield client.get("/", headers=HTML)
    yield client.get("/")
    yield client.get("/", headers={**HTML, "sec-fetch-site": "cross-site"})
    yield client.get(SIGN_IN, headers={"origin": "https://elsewhere.example"})
    for _ in range(6):
        yield client.post(SIGN_IN, data={"name": "99", "password": SENTENCE})
    token = people.invite("14", ["rater"])
    yield client.get("/invite?token=0")
    yield client.get(f"/invite?token={token}")
    yield client.post("/invite", data={"token": token, "password": SENTENCE, "again": "1"})
    for password in ("1", "1" * 20, "1" * 300):
        yield client.post("/invite", data={"token": token, "password": password, "again": password})


def people_at_home(client: TestClient, people: People, lab: Lab) -> Iterator[httpx.Response]:
    """Home without and with a campaign, pages that are not there or not for them, signing out."""
    enter(client, people, lab, ALL)
    yield client.get("/")
    make_campaign(lab, "21")
    yield client.get("/")
    for path in ("/nowhere", "/rate/22/", "/broken/"):
        yield client.get(path)
    enter(client, people, lab, RATER)
    yield client.get("/board/")
    enter(client, people, lab, LEAD)
    yield client.get("/rate/21/")
    yield client.post("/sign-out")


def votes(client: TestClient, people: People, lab: Lab, patch: pytest.MonkeyPatch) -> Iterator[httpx.Response]:
    """What votes changed: nothing yet, as a rater and a lead; what is said of a dispute; a store that is damaged."""
    enter(client, people, lab, LEAD)
    yield client.get("/changed")
    enter(client, people, lab, RATER)
    yield client.get("/changed?said=sent")
    yield client.get("/changed?said=known")
    about = {"run": "1", "plan": "2", "text": "3"}
    yield client.post("/changed", data=about)
    with patch.context() as failing:
        failing.setattr(changed, "dispute", fails)
        yield client.post("/changed", data=about)
    lab.database.write_bytes(b"no database")
    yield client.get("/changed")


def by_link(folder: Path, language: str) -> Iterator[httpx.Response]:
    """The rating and the results page as servers of their own, which have links in place of people."""
    for greeting in ("opening_pairs", "opening_results"):
        links = Links(folder, f"{greeting}.json")
        token = links.new([RATER])[RATER]
        app = linked.app_with_login(links, "cookie", greeting)
        client = TestClient(app, base_url=AT, headers={"accept-language": language})
        yield client.get("/")
        yield client.get(f"/login?token={token}")
        yield client.get("/login", headers={"origin": "https://elsewhere.example"})


def enter(client: TestClient, people: People, lab: Lab, name: str) -> None:
    client.cookies.clear()
    client.cookies.set(cookie_name(lab), people._new_session(name))
