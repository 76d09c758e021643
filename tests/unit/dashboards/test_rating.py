"""Personal links, and the web app's doors, without a browser. The desk's rules are in test_desk.py."""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dashboards import app as web
from dashboards.desk import Desk
from dashboards.links import LINK_DAYS, Links
from dashboards.web import HOST, plain
from harness import campaign as campaigns
from harness.core.errors import InputError
from harness.core.paths import Lab
from harness.core.rating import Answer, CampaignRecord
from harness.core.records import DataRef, Subject

SUBJECTS = (
    Subject(kind="adapter", label="aac@v1", model="run-aaaaaaaaaaaa", base_sha256="0" * 64),
    Subject(kind="base", label="the-base", model="tiny-base", base_sha256="0" * 64),
)


def make_lab(root: Path) -> Lab:
    """A lab with one campaign of three pairs, 'style'."""
    lab = Lab(root)
    items = [campaigns.PoolItem(f"i{n}", "c", [{"role": "user", "content": f"Say {n}"}]) for n in range(3)]
    texts = ("First answer", "Another answer")
    a, b = (
        {item.item_id: Answer(subject=who.label, model=who.model, text=f"{text} {item.item_id}") for item in items}
        for who, text in zip(SUBJECTS, texts, strict=True)
    )
    pairs, refused = campaigns.make_pairs(items, a, b, SUBJECTS, 0)
    pool = DataRef(path="pool.jsonl", sha256="0" * 64, rows=3, format="prompt")
    record = CampaignRecord(
        campaign="style", name="aac", subjects=list(SUBJECTS), pool=pool, decoding={}, pairs=3, refused=refused,
        seed=0, created="2026-11-20T00:00:00+00:00",
    )  # fmt: skip
    campaigns.write(lab, record, pairs)
    return lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return make_lab(tmp_path)


def test_text_of_others_is_only_text() -> None:
    """No tag, no quote and none of the characters that Gradio's templates know is left as it was."""
    shown = plain("<img src=x onerror=\"f('1')\"> {{value}} ${alert(1)} `x` @children \\u003c")
    assert not re.search(r"[<>\"'{}$`@\\]", shown)
    assert "&#36;&#123;alert(1)&#125;" in shown


# --- links ------------------------------------------------------------------------------------------------------


def test_only_hashes_of_tokens_are_kept_and_only_the_owner_reads_them(tmp_path: Path) -> None:
    links = Links(tmp_path)
    token = links.new(["ann"])["ann"]
    path = tmp_path / "raters.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token not in path.read_text()
    assert json.loads(path.read_text())[0]["sha256"] == hashlib.sha256(token.encode()).hexdigest()
    assert links.rater_of(token) == "ann"
    assert [links.rater_of(wrong) for wrong in (None, "", token[:-1], token + "x")] == [None] * 4


def test_older_links_live_on_until_they_are_removed_or_too_old(tmp_path: Path) -> None:
    first, second = (Links(tmp_path).new(["ann"])["ann"] for _ in range(2))
    links = Links(tmp_path)
    assert links.rater_of(first) == links.rater_of(second) == "ann"
    path = tmp_path / "raters.json"
    kept = json.loads(path.read_text())
    old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=LINK_DAYS + 1)
    kept[0]["created"] = old.isoformat(timespec="seconds")
    path.write_text(json.dumps(kept))
    assert (links.rater_of(first), links.rater_of(second)) == (None, "ann")
    path.unlink()
    assert links.rater_of(second) is None


def test_rater_names_are_checked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"rater '\.\./x' is not a valid name"):
        Links(tmp_path).new(["../x"])


# --- the web app ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[FastAPI, Links]:
    """The app of one campaign and its links; building the page takes seconds, so it is built once."""
    lab = make_lab(tmp_path_factory.mktemp("lab"))
    links = Links(campaigns.folder(lab, "style"))
    return web.build_app(Desk(lab, "style"), links), links


@pytest.fixture
def links(served: tuple[FastAPI, Links]) -> Links:
    return served[1]


@pytest.fixture
def client(served: tuple[FastAPI, Links]) -> TestClient:
    return TestClient(served[0], follow_redirects=False)


def handlers(client: TestClient) -> list[int]:
    """The page's handlers, by their number. Only somebody who may open the page gets to know them."""
    return [one["id"] for one in client.get("/config").json()["dependencies"]]


def test_every_handler_asks_who_is_there_itself(client: TestClient, links: Links) -> None:
    """Called directly over HTTP, past Gradio's own page; the raters' list says who may, not only the cookie."""
    client.get("/login", params={"token": links.new(["ann"])["ann"]})
    numbers = handlers(client)
    assert len(numbers) >= 9  # opening, five choices, going on, undo, saying something
    kept = links.path.read_bytes()
    links.path.unlink()
    for number in numbers:
        call = {"data": ["style/x/ann|2026-11-20T00:00:00+00:00", "{}"], "fn_index": number}
        assert client.post("/gradio_api/run/predict", json=call).status_code == 401
    links.path.write_bytes(kept)


def test_a_page_is_in_the_language_that_the_browser_asks_for(client: TestClient, links: Links) -> None:
    client.get("/login", params={"token": links.new(["ann"])["ann"]})
    for asked, title in (("de-AT,de;q=0.9,en;q=0.5", "Paar 1"), ("fr", "Pair 1")):
        call = {"data": [], "fn_index": handlers(client)[0]}
        answer = client.post("/gradio_api/run/predict", json=call, headers={"accept-language": asked})
        assert title in json.dumps(answer.json()["data"])


PATHS = [
    "/",
    "/config",
    "/gradio_api/info",
    "/gradio_api/heartbeat/x",
    "/theme.css",
    "/docs",
    "/assets/x.js",
    "/login/",
]


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_open_without_a_raters_cookie(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 401
    assert client.post("/gradio_api/run/predict", json={"data": []}).status_code == 401
    assert client.get("/login?token=guess").status_code == 401


def test_the_link_sets_a_cookie_that_scripts_and_other_sites_do_not_get(client: TestClient, links: Links) -> None:
    answer = client.get("/login", params={"token": links.new(["ann"])["ann"]})
    assert answer.status_code == 200
    assert {"httponly", "samesite=strict"} <= {part.strip().lower() for part in answer.headers["set-cookie"].split(";")}
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    page = client.get("/")
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert client.get("/", headers={"origin": "http://elsewhere.example"}).status_code == 403


def test_a_removed_link_ends_at_once(client: TestClient, links: Links) -> None:
    client.get("/login", params={"token": links.new(["ann"])["ann"]})
    assert client.get("/config").status_code == 200
    links.path.unlink()
    assert client.get("/config").status_code == 401


def test_a_taken_port_is_one_line_with_the_fix(lab: Lab) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [
            sys.executable,
            "-m",
            "dashboards.app",
            "--lab",
            str(lab.root),
            "--campaign",
            "style",
            "--port",
            port,
        ]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert re.fullmatch(rf"error: port {port} on 127.0.0.1 cannot be used .*--port\.\n", ended.stderr)
