"""The board over HTTP, through the portal: what a lead sees, decides and steers; and `ratchet campaign rule`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import argon2
import pytest
from fastapi.testclient import TestClient
from rounds_lab import make

from dashboards.gate import cookie_name
from dashboards.pages import PAGES
from dashboards.portal import Portal
from harness import audit
from harness import campaign as campaigns
from harness.cli import app, one_line
from harness.core.paths import Lab
from harness.people import People
from harness.pipeline.adjudicating import Decision, Docket, left_of, rule

AT = "http://127.0.0.1:7862"
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Visitor:
    """Somebody with the page open, who fills it in and presses buttons over HTTP."""

    def __init__(self, lab: Lab, client: TestClient, people: People, name: str) -> None:
        self._client, self._cookies = client, {cookie_name(lab): people._new_session(name)}
        page = next(one for one in PAGES if one.path == "/board")
        built = page.build(lab, Portal(lab, people, [page]).door(page), "")
        self._fns = {built.blocks.blocks[fn.targets[0][0]].elem_id: fn for fn in built.blocks.fns.values() if fn._id}
        self._names = [one.elem_id for one in built.blocks.fns[0].outputs]
        self.page: dict[str, Any] = {}

    def open(self, search: str = "") -> None:
        self._show(self._send(0, [search]))

    def press(self, button: str, **filled: str) -> str:
        """Fill fields in (`_` for `-`), press, and give the note as text."""
        self.page |= {name.replace("_", "-"): value for name, value in filled.items()}
        fn = self._fns[button]
        self._show(self._send(fn._id, [self.page.get(one.elem_id) for one in fn.inputs]))
        return re.sub("<[^>]*>", "", unescape(str(self.page["note"])))

    def _send(self, number: int, data: list[Any]) -> list[Any]:
        self._client.cookies.clear()
        self._client.cookies.update(self._cookies)
        answer = self._client.post("/board/gradio_api/run/predict", json={"data": data, "fn_index": number})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"])

    def _show(self, found: list[Any]) -> None:
        for name, value in zip(self._names, found, strict=True):
            if not isinstance(value, dict):
                self.page[name] = value
            elif "value" in value:
                self.page[name] = value["value"]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.chdir(tmp_path)
    return make(tmp_path)


@pytest.fixture
def people(lab: Lab) -> People:
    people = People(lab, hasher=CHEAP)
    for name, role in (("lea", "lead"), ("eni", "engineer"), ("ann", "rater")):
        people.accept(people.invite(name, [role]), "a sentence will do")
    return people


@pytest.fixture
def client(lab: Lab, people: People) -> Iterator[TestClient]:
    portal = Portal(lab, people, [page for page in PAGES if page.path == "/board"])
    with TestClient(portal.app(), base_url=AT) as client:
        yield client
    portal.close()


@pytest.fixture
def lea(lab: Lab, client: TestClient, people: People) -> Visitor:
    return Visitor(lab, client, people, "lea")


def acts(lab: Lab, kind: str) -> list[Any]:
    return [act for act in campaigns.read_acts(lab, "style") if act.kind == kind]


def test_the_board_is_blind_until_the_campaign_is_closed(lab: Lab, lea: Visitor) -> None:
    lea.open("?campaign=style")
    board = unescape(lea.page["board"])
    assert "80 votes of 2 raters; names stay hidden" in board
    assert "subject 1 over subject 2" in board
    assert "aac@v1" not in str(lea.page)
    assert "4 pairs without a majority" in board
    assert "Say it in Welsh" in board
    for name in ("coverage", "figures", "wins", "raters", "reports"):
        assert f"id='{name}'" in lea.page["board"]
    assert "type style to confirm" in lea.press("do-close", confirm="stile")
    assert not acts(lab, "steer")
    assert "closed; names are shown" in lea.press("do-close", confirm="style")
    assert "aac@v1 over zero" in unescape(lea.page["board"])
    assert "closed already" in lea.press("do-close", confirm="style")
    assert "open again" in lea.press("do-reopen", confirm="style")
    assert "aac@v1" not in str(lea.page["board"])
    assert [(act.what, act.who) for act in acts(lab, "steer")] == [("close", "lea"), ("reopen", "lea")]


def test_a_lead_decides_blind_and_the_answer_meant_is_the_one_ruled_for(lab: Lab, lea: Visitor) -> None:
    lea.open()
    assert [lea.page["pair"], lea.page["case"].count("<section class='item'")] == ["p0", 2]
    assert "4 pairs to decide" in lea.page["case"]
    record = campaigns.read_record(lab, "style")
    old = dict(lea.page)
    assert "Saved: p0" in lea.press("do-right", reason="warmer")
    assert lea.page["pair"] == "p1"
    (ruling,) = acts(lab, "ruling")
    assert ruling.choice != left_of(record, "p0", "lea")
    assert (ruling.pair_id, ruling.who, ruling.reason) == ("p0", "lea", "warmer")
    lea.page = old  # the same press again, from a tab that has not moved on
    lea.press("do-right")
    assert len(acts(lab, "ruling")) == 1
    lea.press("pair", pair="p0")
    assert "Ruled by lea: right is better: warmer" in unescape(lea.page["case"])
    lea.press("do-tie")
    assert campaigns.rulings(acts(lab, "ruling"))["p0"].choice == "tie"
    for _ in range(3):
        lea.press("do-both_bad")
    assert "Nothing is left to decide" in lea.page["case"]
    assert "no pair is shown" in lea.press("do-left")
    assert len(acts(lab, "ruling")) == 5


def test_sides_are_drawn_for_each_lead_and_verdicts_follow_them(lab: Lab) -> None:
    docket, record = Docket(lab, "style"), campaigns.read_record(lab, "style")
    seen = {left_of(record, pair_id, who) for pair_id in docket.undecided for who in ("lea", "moe", "eve")}
    assert seen == {"a", "b"}
    for who in ("lea", "moe", "eve"):
        case = docket.case("p0", who)
        left = left_of(record, "p0", who)
        assert (case.left, case.right) == (("good 0", "bad 0") if left == "a" else ("bad 0", "good 0"))
        assert {one.rater: one.choice for one in case.said} == {
            "ann": "left" if left == "a" else "right", "bo": "right" if left == "a" else "left"
        }  # fmt: skip


def test_text_of_others_is_only_text(lea: Visitor) -> None:
    lea.open("?campaign=style&tab=decide&pair=p1")
    for part in ("board", "case"):
        assert "<script" not in lea.page[part]
        assert "<img" not in lea.page[part]
        assert "{{" not in lea.page[part]
    assert "<strong>bold</strong>" in lea.page["case"]
    assert "too short" in lea.page["case"]


@pytest.mark.parametrize(
    "search", ["?campaign=nowhere", "?campaign=../x", "?campaign=style&pair=<script>", "?pair=p99"]
)
def test_what_is_not_there_is_a_note(lea: Visitor, search: str) -> None:
    lea.open(search)
    assert "note error" in lea.page["note"]
    assert "<script" not in lea.page["note"]


def test_raters_are_paused_and_pairs_opened_again(lab: Lab, lea: Visitor) -> None:
    lea.open()
    assert "no rater of style" in lea.press("do-pause", rater="nobody")
    assert "bo is paused" in lea.press("do-pause", rater="bo", pause_reason="too fast")
    assert "(paused)" in lea.page["board"]
    assert campaigns.open_handout(lab, "style")[0].is_paused("bo")
    assert "bo goes on" in lea.press("do-resume", rater="bo")
    assert not campaigns.open_handout(lab, "style")[0].is_paused("bo")
    assert "no main pair" in lea.press("do-reopen-pair", again_pair="p99")
    assert "goes to one more rater" in lea.press("do-reopen-pair", again_pair="p5")
    assert [act.what for act in acts(lab, "steer")] == ["pause", "resume", "reopen_pair"]


def test_a_double_press_opens_a_pair_again_once_and_a_later_one_once_more(lab: Lab, lea: Visitor) -> None:
    lea.open()
    before = dict(lea.page)
    for _ in range(2):
        lea.page = dict(before)
        assert "Saved: p5 goes to one more rater" in lea.press("do-reopen-pair", again_pair="p5")
    assert len(acts(lab, "steer")) == 1
    assert "Saved: p5 goes" in lea.press("do-reopen-pair", again_pair="p5")
    lea.page = dict(before)
    assert "Saved: p6 goes" in lea.press("do-reopen-pair", again_pair="p6")
    assert [act.pair_id for act in acts(lab, "steer")] == ["p5", "p5", "p6"]


def test_a_ruling_on_a_pair_that_the_lead_voted_on_says_so(lab: Lab, client: TestClient, people: People) -> None:
    people.accept(people.invite("bo", ["lead", "rater"]), "a sentence will do")
    bo, lea = (Visitor(lab, client, people, name) for name in ("bo", "lea"))
    lea.open("?campaign=style&tab=decide&pair=p0")
    assert "You voted on this pair" not in lea.page["case"]
    bo.open("?campaign=style&tab=decide&pair=p0")
    said = next(one.choice for one in Docket(lab, "style").case("p0", "bo").said if one.rater == "bo")
    assert f"You voted on this pair: {said} is better." in unescape(bo.page["case"])
    bo.press("do-tie")
    lea.press("pair", pair="p0")
    assert "Ruled by bo, who had voted on it: tie" in unescape(lea.page["case"])
    lea.open("?campaign=style&tab=decide&pair=p1")
    lea.press("do-tie")
    assert [(one.who, one.own) for one in acts(lab, "ruling")] == [("bo", True), ("lea", False)]
    lea.open()
    assert "2 ruled on, 1 by somebody who had voted on it" in unescape(lea.page["board"])


def test_an_engineer_looks_and_writes_rounds_and_decides_nothing(lab: Lab, client: TestClient, people: People) -> None:
    eni = Visitor(lab, client, people, "eni")
    eni.open()
    assert "80 votes" in eni.page["board"]
    before = len(campaigns.read_acts(lab, "style"))
    filled = {"rater": "bo", "again_pair": "p5", "confirm": "style"}
    for button in ("do-left", "do-tie", "do-pause", "do-resume", "do-reopen-pair", "do-close", "do-reopen"):
        assert "for leads" in eni.press(button, **filled)
    assert len(campaigns.read_acts(lab, "style")) == before
    eni.press("do-preview")
    eni.press("do-write")
    assert Path("experiments/aac-round-1/pairs.jsonl").is_file()


def test_the_round_that_is_written_is_the_one_that_was_shown(lab: Lab, lea: Visitor) -> None:
    lea.open()
    assert "not said what the round must win" in lea.press("do-write")
    lea.press("do-preview")
    shown = unescape(lea.page["round"])
    assert "<td>in conflict</td><td>4</td>" in shown
    assert "1 of 2 items of mini stand in the rows" in shown
    assert "init_adapter: aac@v1" in shown
    assert lea.page["primary"] == "mini/exact"
    assert not Path("experiments").exists()
    rule(lab, "style", "lea", Decision("p0", "tie"))
    assert "Not written" in lea.press("do-write"), "votes or rulings came since it was shown"
    assert not Path("experiments").exists()
    lea.press("do-write")
    yaml = next(Path("experiments/aac-round-1").glob("*.yaml"))
    assert yaml.read_text(encoding="utf-8").splitlines()[-1] in unescape(lea.page["round"])
    assert f"ratchet run {yaml}" in lea.page["round"]
    assert [(one.who, one.what) for one in audit.entries(lab) if one.did == "exported"] == [
        ("lea", "experiments/aac-round-1/pairs.jsonl")
    ]
    before = sorted(Path("experiments").rglob("*"))
    lea.press("do-write")
    assert sorted(Path("experiments").rglob("*")) == before
    assert "not" in lea.press("do-preview", alias="nowhere") or "Not to be written" in lea.page["round"]


# --- ratchet campaign rule ----------------------------------------------------------------------------------------


def ruling(lab: Lab, *arguments: str) -> int:
    return one_line(
        lambda: app(["campaign", "rule", "style", *arguments, "--lab", str(lab.root)], standalone_mode=False)
    )


def test_a_lead_rules_by_command(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert ruling(lab) == 0
    said = capsys.readouterr().out
    assert "4 pairs to decide" in said
    assert "left answer:" in said
    assert "ann: " in said
    assert "aac@v1" not in said
    assert ruling(lab, "--format", "json") == 0
    (first, *_) = json.loads(capsys.readouterr().out)
    good = "left" if first["left"] == "good 0" else "right"
    assert ruling(lab, "p0", good, "--reason", "warmer") == 0
    assert campaigns.rulings(acts(lab, "ruling"))["p0"].choice == "a"
    capsys.readouterr()
    assert ruling(lab, "p0") == 0
    assert f"ruled {good} by" in capsys.readouterr().out
    assert ruling(lab, "p99", "tie") == 1
    assert "no main pair" in capsys.readouterr().err
    arguments = ["campaign", "board", "style", "--lab", str(lab.root)]
    assert one_line(lambda: app(arguments, standalone_mode=False)) == 0
    board = capsys.readouterr().out
    assert "3 pairs without a majority; 1 ruled on" in board
    assert "Say it in Welsh" in board
