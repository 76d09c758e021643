"""The portal over HTTP: who comes where. Every route and every Gradio handler of every page, as every role."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import argon2
import gradio as gr
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.routing import BaseRoute, Mount

from dashboards import pages, web
from dashboards.gate import SIGN_IN, cookie_name
from dashboards.pages import PAGES, Page
from dashboards.portal import Portal, Stand
from harness import audit
from harness import campaign as campaigns
from harness.core.journal import Journal
from harness.core.paths import Lab
from harness.core.rating import Answer, CampaignRecord, Steer
from harness.core.records import DataRef, Subject
from harness.people import ROLES, People

SENTENCE = "a sentence will do"
SECRET = "planted-answer-text"
AT = "http://127.0.0.1:7862"
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
SUBJECTS = (
    Subject(kind="adapter", label="aac@v1", model="run-aaaaaaaaaaaa", base_sha256="0" * 64),
    Subject(kind="base", label="the-base", model="tiny-base", base_sha256="0" * 64),
)
HTML = {"accept": "text/html", "sec-fetch-dest": "document"}


def make_campaign(lab: Lab, name: str, kind: str = "compare") -> None:
    items = [campaigns.PoolItem(f"i{n}", "c", [{"role": "user", "content": f"Say {n}"}]) for n in range(3)]
    a, b = (
        {
            one.item_id: Answer(subject=who.label, model=who.model, text=f"{SECRET} {who.label[0]} {one.item_id}")
            for one in items
        }
        for who in SUBJECTS
    )  # fmt: skip
    pairs, refused = campaigns.make_pairs(items, a, b, SUBJECTS, 0)
    pool = DataRef(path="pool.jsonl", sha256="0" * 64, rows=3, format="prompt")
    record = CampaignRecord(
        campaign=name, name="aac", kind=kind, subjects=list(SUBJECTS), pool=pool, decoding={}, pairs=len(pairs),
        refused=refused, seed=0, created="2026-11-20T00:00:00+00:00",
    )  # fmt: skip
    campaigns.write(lab, record, pairs)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    lab = Lab(tmp_path_factory.mktemp("portal"))
    make_campaign(lab, "style")
    make_campaign(lab, "over")
    make_campaign(lab, "letters", "write")
    return lab


@pytest.fixture(scope="module")
def portal(lab: Lab) -> Iterator[Portal]:
    """A portal with one person for each role, named like it, and one with none of a page's roles."""
    people = People(lab, hasher=CHEAP)
    for role in ROLES:
        people.accept(people.invite(role, [role]), SENTENCE)
    portal = Portal(lab, people)
    yield portal
    portal.close()


@pytest.fixture(scope="module")
def app(portal: Portal) -> FastAPI:
    return portal.app()


@pytest.fixture(scope="module")
def served(app: FastAPI) -> Iterator[TestClient]:
    """One lifespan, and one event loop, for all tests."""
    with TestClient(app, base_url=AT, follow_redirects=False, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(served: TestClient) -> TestClient:
    served.cookies.clear()
    return served


def signed_in(portal: Portal, client: TestClient, name: str) -> TestClient:
    client.cookies.clear()
    client.cookies.set(cookie_name(portal.lab), portal.people._new_session(name))
    return client


def name_of(page: Page, lab: Lab) -> str:
    """The last of a page's names, which no test closes; '' where there is one page."""
    return page.names(lab)[-1] if page.names else ""


def page_paths(page: Page, lab: Lab) -> str:
    name = name_of(page, lab)
    return f"{page.path}/{name}" if name else page.path


def every_route(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(method, path) of all routes below, with something in place of parameters."""
    for route in routes:
        if isinstance(route, Mount):
            yield from every_route(list(route.routes or []), prefix + route.path)
        elif hasattr(route, "methods"):
            for method in sorted(route.methods or ()):
                yield method, prefix + re.sub(r"\{[^}]*\}", "x", route.path)


def walked(page: Page, lab: Lab, portal: Portal) -> tuple[list[tuple[str, str]], gr.Blocks]:
    """All routes of one page as it is mounted, and its Blocks."""
    path = page_paths(page, lab)
    door = portal.door(page)
    built = page.build(lab, door, name_of(page, lab))
    app = web.app_of_files(built.files, path)
    web.mount_at(app, built.blocks, path, door.who, built.look)
    found = [one for one in every_route(list(app.routes)) if one[1].startswith(path)]
    built.close()
    return found, built.blocks


# --- who comes where ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_every_route_of_a_page_refuses_strangers_and_other_roles(
    page: Page, lab: Lab, portal: Portal, client: TestClient
) -> None:
    routes, _ = walked(page, lab, portal)
    assert len(routes) > 50  # Gradio has as many, and each is a door
    for method, path in routes:
        client.cookies.clear()
        assert client.request(method, path).status_code == 401, (method, path)
        for role in ROLES:
            if role not in page.roles:
                answer = signed_in(portal, client, role).request(method, path)
                assert answer.status_code == 403, (role, method, path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_every_handler_of_a_page_answers_its_roles_and_nobody_else(
    page: Page, lab: Lab, portal: Portal, client: TestClient
) -> None:
    _, blocks = walked(page, lab, portal)
    assert blocks.fns
    for number, function in blocks.fns.items():
        body = {"data": [None for _ in function.inputs], "fn_index": number}
        path = f"{page_paths(page, lab)}/gradio_api/run/predict"
        client.cookies.clear()
        assert client.post(path, json=body).status_code == 401
        for role in ROLES:
            answer = signed_in(portal, client, role).post(path, json=body)
            refused = answer.status_code in (401, 403)  # what the handler makes of empty input is its own matter
            assert refused == (role not in page.roles), (number, role, answer.text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_a_handler_asks_itself_even_where_nothing_stands_in_front_of_it(page: Page, lab: Lab, portal: Portal) -> None:
    """The page mounted with a door that takes everybody for somebody: no content comes out, nothing is written."""
    path = page_paths(page, lab)
    mounted = f"{page.path}/{{name}}" if page.shared else path
    built = page.build(lab, portal.door(page), name_of(page, lab))
    for name in ("nobody", *(role for role in ROLES if role not in page.roles)):
        app = web.app_of_files(built.files, path)
        web.mount_at(app, built.blocks, mounted, lambda request, name=name: name, built.look)
        client = TestClient(app, base_url=AT, raise_server_exceptions=False)
        before = {file: file.read_bytes() for file in lab.root.rglob("*") if file.is_file()}
        for number, function in built.blocks.fns.items():
            body = {"data": [None for _ in function.inputs], "fn_index": number}
            answer = client.post(f"{path}/gradio_api/run/predict", json=body)
            assert SECRET not in answer.text
            assert "link" in answer.text or "sign" in answer.text or answer.status_code >= 400, answer.text
        assert {file: file.read_bytes() for file in lab.root.rglob("*") if file.is_file()} == before
    for method, place in every_route(list(built.files.routes)) if built.files else []:
        answer = TestClient(web.app_of_files(built.files, path), base_url=AT).request(method, path + place)
        assert answer.status_code == 403, (method, place)
    built.close()


def test_the_portals_own_routes_are_all_known_here(app: FastAPI, client: TestClient) -> None:
    """A route that is added must be thought of: open to strangers are only sign-in and invitation."""
    pages = tuple(page.path for page in PAGES)
    own = {(method, path) for method, path in every_route(list(app.routes)) if not path.startswith(pages)}
    assert own == {
        ("GET", "/"), ("GET", "/sign-in"), ("POST", "/sign-in"), ("GET", "/invite"), ("POST", "/invite"),
        ("POST", "/sign-out"), ("GET", "/changed"), ("POST", "/changed"),
    }  # fmt: skip
    for method, path in own:
        answer = client.request(method, path)
        assert (answer.status_code == 401) == (
            path in ("/", "/sign-out", "/changed") or (method, path) == ("POST", SIGN_IN)
        )
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    for path in ("/metrics", "/docs", "/openapi.json", "/sign-in/", "/sign-in/../rate/style/", "//rate/style/"):
        assert client.get(path).status_code == 401


# --- sign-in -----------------------------------------------------------------------------------------------------


def test_signing_in_leads_on_to_where_one_wanted_to_go(portal: Portal, client: TestClient) -> None:
    asked = client.get("/rate/style/?at=2", headers=HTML)
    assert asked.status_code == 401
    (onward,) = re.findall(r'name="onward" value="([^"]*)"', asked.text)
    form = {"name": "rater", "password": SENTENCE, "onward": onward}
    answer = client.post(SIGN_IN, data=form, headers={"origin": AT, "sec-fetch-site": "same-origin"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/rate/style/?at=2")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie
    home = client.get("/")
    assert "/rate/style/" in home.text
    assert "/results/" not in home.text
    assert "/rate/letters/" not in home.text
    assert "/write/letters/" in home.text
    client.post("/sign-out", headers={"origin": AT})
    assert client.get("/").status_code == 401
    secure = client.post(SIGN_IN, data=form, headers={"origin": "https://127.0.0.1:7862", "x-forwarded-proto": "https"})
    assert "Secure" in secure.headers["set-cookie"]


@pytest.mark.parametrize(
    "onward", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\r\nx: y"]
)
def test_signing_in_never_leads_to_another_site(client: TestClient, onward: str) -> None:
    answer = client.post(SIGN_IN, data={"name": "lead", "password": SENTENCE, "onward": onward})
    assert answer.headers["location"] == "/"


def test_other_sites_can_send_nothing(portal: Portal, client: TestClient) -> None:
    signed_in(portal, client, "rater")
    path = "/rate/style/gradio_api/run/predict"
    for headers in (
        {"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"},
    ):  # fmt: skip
        assert client.post(path, json={"data": [], "fn_index": 0}, headers=headers).status_code == 403
        form = {"name": "lead", "password": SENTENCE}
        assert client.post(SIGN_IN, data=form, headers=headers).status_code == 403
    followed = client.get("/", headers={**HTML, "sec-fetch-site": "cross-site"})  # a link in a mail
    assert followed.status_code == 200


def test_the_form_is_bounded_and_whatever_is_typed_is_only_text(client: TestClient) -> None:
    assert client.post(SIGN_IN, data={"name": "x" * 9_000}).status_code == 413
    answer = client.post(
        SIGN_IN, content=b"name=%3Cscript%3Ealert(1)%3C/script%3E&password=%ED%A0%BD%ff&onward=%22%3E%3Cb%3E"
    )
    assert answer.status_code == 401
    assert "<script>" not in answer.text
    assert '"><b>' not in answer.text


def test_a_lock_is_said_with_its_wait(portal: Portal, client: TestClient) -> None:
    form = {"name": "guessed", "password": "a wrong sentence"}
    answers = [client.post(SIGN_IN, data=form) for _ in range(6)]
    assert [one.status_code for one in answers] == [401] * 5 + [429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 31
    assert "try again in 1 minute" in answers[-1].text


def test_an_invitation_signs_in_once(portal: Portal, client: TestClient) -> None:
    token = portal.people.invite("ada", ["rater", "lead"])
    assert "Welcome, ada" in client.get(f"/invite?token={token}").text
    different = {"token": token, "password": SENTENCE, "again": "another sentence"}
    assert client.post("/invite", data=different).status_code == 422
    assert client.post("/invite", data={"token": token, "password": "short", "again": "short"}).status_code == 422
    form = {"token": token, "password": SENTENCE, "again": SENTENCE}
    assert client.post("/invite", data=form).headers["location"] == "/"
    home = client.get("/").text
    assert "Hello ada" in home
    assert "/rate/style/" in home
    assert "/results/" in home
    assert client.post("/invite", data=form).status_code == 403
    assert client.get("/invite?token=").status_code == 403


def test_an_invited_person_whose_name_was_guessed_at_has_a_password_and_waits(
    portal: Portal, client: TestClient
) -> None:
    token = portal.people.invite("zoe", ["rater"])
    for _ in range(5):
        client.post(SIGN_IN, data={"name": "zoe", "password": "a guess of somebody"})
    answer = client.post("/invite", data={"token": token, "password": SENTENCE, "again": SENTENCE})
    assert answer.status_code == 429
    assert "too many failed tries" in answer.text
    zoe = portal.people.get("zoe")
    assert zoe is not None
    assert zoe.password is not None


def test_a_role_that_is_taken_away_ends_with_the_next_click(portal: Portal, client: TestClient) -> None:
    portal.people.accept(portal.people.invite("mia", ["lead"]), SENTENCE)
    signed_in(portal, client, "mia")
    assert client.get("/results/").status_code == 200
    portal.people.set_roles("mia", ["rater"])
    assert client.get("/results/").status_code == 403
    portal.people.remove("mia")
    assert client.get("/results/").status_code == 401


# --- what there is ------------------------------------------------------------------------------------------------


def test_a_vote_through_the_portal_is_the_persons(portal: Portal, client: TestClient, lab: Lab) -> None:
    signed_in(portal, client, "rater")
    shown = client.post("/rate/style/gradio_api/run/predict", json={"data": [], "fn_index": 0}).text
    assert SECRET in shown
    assert "aac@v1" not in shown


def test_campaigns_share_one_page_and_each_shows_its_own_pairs(
    portal: Portal, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built ahead, once; opening a campaign builds nothing."""
    built: list[str] = []
    build = pages.rate.build
    monkeypatch.setattr(pages.rate, "build", lambda *about, **more: built.append("page") or build(*about, **more))
    alone = Portal(lab, portal.people, [page for page in PAGES if page.path == "/rate"])
    with TestClient(alone.app(ahead=True), base_url=AT) as client:
        assert built == ["page"]
        for campaign in ("style", "third"):
            if campaign == "third":
                make_campaign(lab, campaign)
            page = signed_in(portal, client, "rater").get(f"/rate/{campaign}/", headers=HTML)
            assert f"/rate/{campaign}" in page.text
            body = {"data": [], "fn_index": 0}
            shown = client.post(f"/rate/{campaign}/gradio_api/run/predict", json=body).json()["data"]
            assert shown[8].startswith(f"{campaign}/pair-")
            monkeypatch.setattr("dashboards.portal.NAMES_KEPT_S", 0)
        assert client.get("/rate/nowhere/", headers=HTML).status_code == 404
    assert built == ["page"]
    alone.close()


def test_campaigns_are_opened_before_anybody_comes_and_a_damaged_one_keeps_none_waiting(
    portal: Portal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one in which somebody did something last comes first; those for which there is no time are opened later."""
    lab, opened = Lab(tmp_path), []
    for name in ("alive", "damaged"):
        make_campaign(lab, name)
        os.utime(campaigns.folder(lab, name) / "pairs.jsonl", (1.0, 1.0))
    (campaigns.folder(lab, "damaged") / "pairs.jsonl").write_bytes(b"{}\n")
    prepare = pages.Desks.of
    monkeypatch.setattr(pages.Desks, "of", lambda self, name: opened.append(name) or prepare(self, name))
    alone = Portal(lab, portal.people, [page for page in PAGES if page.path == "/rate"])
    begun: list[Stand] = []
    run = Stand._run
    monkeypatch.setattr(Stand, "_run", lambda self: begun.append(self) or run(self))
    with TestClient(alone.app(ahead=True), base_url=AT) as client:
        assert opened == ["damaged", "alive"]
        client.cookies.set(cookie_name(lab), portal.people._new_session("rater"))
        assert client.get("/rate/alive/", headers=HTML).status_code == 200
        assert client.get("/rate/alive/", headers=HTML).status_code == 200
        assert len(begun) == 1, "what Gradio does at its start was done, once"
        assert len(opened) == 2
    monkeypatch.setattr("dashboards.portal.AHEAD_S", 0.0)
    with TestClient(alone.app(ahead=True), base_url=AT) as client:
        assert len(opened) == 2
        client.cookies.set(cookie_name(lab), portal.people._new_session("rater"))
        assert client.get("/rate/alive/", headers=HTML).status_code == 200
        assert opened[2:] == ["alive"]
    alone.close()


FIRST_VISIT = """
import sys
from pathlib import Path
from fastapi.testclient import TestClient
from dashboards.gate import cookie_name
from dashboards.portal import Portal
from harness.core.paths import Lab
lab = Lab(Path(sys.argv[1]))
portal = Portal(lab)
with TestClient(portal.app(ahead=True), base_url="http://127.0.0.1:7862") as client:
    client.cookies.set(cookie_name(lab), sys.argv[2])
    before = set(sys.modules)
    assert client.get("/rate/style/", headers={"accept": "text/html"}).status_code == 200
    shown = client.post("/rate/style/gradio_api/run/predict", json={"data": [], "fn_index": 0})
    assert "style/pair-" in shown.text
    packages = {name.partition(".")[0] for name in before}
    print(sorted({name.partition(".")[0] for name in set(sys.modules) - before} - packages))
portal.close()
"""


def test_the_first_person_to_come_waits_for_no_package_to_be_imported(lab: Lab, portal: Portal) -> None:
    """In a process of its own, as modules that other tests imported would hide it."""
    token = portal.people._new_session("rater")
    command = [sys.executable, "-c", FIRST_VISIT, str(lab.root), token]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.strip() == "[]"


def test_a_closed_campaign_is_no_longer_offered(portal: Portal, client: TestClient, lab: Lab) -> None:
    signed_in(portal, client, "rater")
    assert "/rate/over/" in client.get("/").text
    for number, what in enumerate(("close", "reopen", "close")):
        steer = Steer(
            event_id=f"s{number}", campaign="over", who="lead", at=f"2026-11-2{number}T00:00:00+00:00", what=what
        )
        with Journal(campaigns.folder(lab, "over"), "acts") as journal:
            journal.append(steer.model_dump(mode="json"))
        assert ("/rate/over/" in client.get("/").text) == (what == "reopen")
    assert client.get("/rate/nowhere/").status_code == 404


def test_what_people_open_and_export_is_on_record_without_any_address(
    portal: Portal, client: TestClient, lab: Lab
) -> None:
    signed_in(portal, client, "lead")
    client.get("/results/", headers=HTML)
    client.get("/results/config")
    found = [(one.did, one.what) for one in audit.entries(lab, "lead")]
    assert found.count(("opened", "/results/")) == 1
    assert ("opened", "/results/config") not in found
    written = b"".join(path.read_bytes() for path in lab.people.glob("*.json*"))
    assert b"testclient" not in written
    assert b"127.0.0.1" not in written


def test_only_the_companys_proxy_says_who_is_there(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    people = People(lab, hasher=CHEAP)
    people.invite("ada", ["lead"], sso="ada@example.com")
    secret = hashlib.sha256(b"between us").hexdigest()
    (lab.people / "sso.yaml").write_text(
        f"header: X-User\nfrom: [10.0.0.1]\nsecret_header: X-Secret\nsecret_sha256: {secret}\n", encoding="utf-8"
    )
    portal = Portal(lab, people)
    app = portal.app()
    right = {"x-user": "ada@example.com", "x-secret": "between us"}
    with TestClient(app, base_url=AT, client=("10.0.0.1", 5000)) as client:
        assert client.get("/", headers=right).status_code == 200
        assert client.get("/", headers={**right, "x-secret": "guess"}).status_code == 401
        assert client.get("/", headers={**right, "x-user": "eve@example.com"}).status_code == 401
        twice = [("x-user", "ada@example.com"), ("x-user", "eve@example.com"), ("x-secret", "between us")]
        assert client.get("/", headers=twice).status_code == 401
    outside = TestClient(app, base_url=AT, client=("10.0.0.2", 5000))
    assert outside.get("/", headers={**right, "x-forwarded-for": "10.0.0.1"}).status_code == 401
    portal.close()
