"""The desk's rules, personal links, and the web app's doors, without a browser."""

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
from dashboards.desk import ALREADY_SAVED, NOT_SAVED, Desk
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


def looked(ticket: str) -> str:
    """The ticket as if its pair had been on screen for two seconds."""
    name, _, at = ticket.partition("|")
    return f"{name}|{(datetime.datetime.fromisoformat(at) - datetime.timedelta(seconds=2)).isoformat()}"


def test_a_choice_is_on_disk_before_the_next_pair_shows(lab: Lab) -> None:
    desk = Desk(lab, "style")
    first = desk.screen("ann")
    second = desk.choose("ann", looked(first.ticket), "right")
    assert (first.done, second.done, second.total, second.note.tone) == (0, 1, 3, "saved")
    (vote,) = campaigns.read_votes(lab, "style")
    assert (vote.assignment, vote.choice) == (first.ticket.partition("|")[0], "right")
    texts = {"a": "First", "b": "Another"}
    assert first.left.startswith(texts[vote.left])
    assert vote.seconds is not None
    assert vote.seconds >= 2


def test_a_second_press_counts_neither_for_its_own_pair_nor_for_the_next(lab: Lab) -> None:
    desk = Desk(lab, "style")
    first = desk.screen("ann")
    second = desk.choose("ann", looked(first.ticket), "left")
    assert desk.choose("ann", looked(first.ticket), "right").note == ALREADY_SAVED
    at_once = desk.choose("ann", second.ticket, "left")
    assert "not counted" in at_once.note.text
    assert at_once.ticket.partition("|")[0] == second.ticket.partition("|")[0]
    assert [vote.choice for vote in campaigns.read_votes(lab, "style")] == ["left"]


@pytest.mark.parametrize(
    "ticket", ["", "x", "style/pair-none/ann|2026-11-20T00:00:00+00:00", "{bo}", "{future}", "{bad}"]
)
def test_a_ticket_that_is_not_the_raters_own_changes_nothing(lab: Lab, ticket: str) -> None:
    desk = Desk(lab, "style")
    own = desk.screen("ann").ticket
    forged = ticket.format(
        bo=looked(desk.screen("bo").ticket), future=f"{own.partition('|')[0]}|2999-01-01T00:00:00+00:00", bad=own + "x"
    )
    assert "out of date" in desk.choose("ann", forged, "left").note.text
    assert campaigns.read_votes(lab, "style") == []


def test_a_full_disk_keeps_the_pair_and_says_so(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(lab, "style")
    ticket = looked(desk.screen("ann").ticket)
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "vote.event")
    failed = desk.choose("ann", ticket, "left")
    assert (failed.note, failed.ticket, failed.done) == (NOT_SAVED, ticket, 0)
    monkeypatch.delenv("RATCHET_FULL_DISK_AT")
    assert desk.choose("ann", ticket, "left").done == 1


def test_the_end_has_no_pair_and_no_ticket(lab: Lab) -> None:
    desk = Desk(lab, "style")
    for _ in range(3):
        screen = desk.choose("ann", looked(desk.screen("ann").ticket), "tie")
    assert (screen.ticket, screen.left, screen.done) == ("", "", 3)
    assert Desk(lab, "style").screen("ann").ticket == ""  # another process, after a restart
    assert Desk(lab, "style").screen("bo").done == 0


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
