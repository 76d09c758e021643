"""Writing over HTTP, through the portal: what is shown as saved is one act on disk, whoever presses what how often."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import argon2
import pytest
from fastapi.testclient import TestClient

from dashboards import write
from dashboards.gate import cookie_name
from dashboards.portal import Portal
from dashboards.texts import Texts
from dashboards.write_desk import WriteDesk
from harness import campaign as campaigns
from harness.campaign.pairs import drafts
from harness.core.paths import Lab
from harness.core.rating import Answer, CampaignRecord, Steer, Written
from harness.core.records import DataRef, Subject
from harness.people import People

AT = "http://127.0.0.1:7862"
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
BASE = Subject(kind="base", label="the-base", model="tiny-base", base_sha256="0" * 64)
ATTACK = "<script>alert(1)</script> {{x}} ${y} **bold**"
SAVE, ACCEPT, SEND_BACK, SKIP = 1, 2, 3, 4  # the page's handlers, after the one that opens it


def make_drafts(lab: Lab, count: int, name: str = "letters", text: str = "Draft") -> None:
    items = [campaigns.PoolItem(f"i{n}", f"c{n}", [{"role": "user", "content": f"Say {n}"}]) for n in range(count)]
    answers = {f"i{n}": Answer(subject=BASE.label, model=BASE.model, text=f"{text} {n}") for n in range(count)}
    pairs, refused = drafts(items, answers, BASE, 0)
    record = CampaignRecord(
        campaign=name, name="aac", kind="write", subjects=[BASE], decoding={}, pairs=len(pairs), refused=refused,
        pool=DataRef(path="pool.jsonl", sha256="0" * 64, rows=count, format="pool"), seed=0,
        created="2026-11-20T00:00:00+00:00",
    )  # fmt: skip
    campaigns.write(lab, record, pairs)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path / "lab")
    make_drafts(lab, 2)
    return lab


class Writer:
    """Somebody with the page open: presses buttons over HTTP and sees what is shown."""

    def __init__(self, client: TestClient, portal: Portal, name: str) -> None:
        self._client, self._cookies = client, {cookie_name(portal.lab): portal.people._new_session(name)}
        self.shown: list[Any] = []
        self.press(0)

    def press(self, handler: int, *data: str) -> str:
        """Press, and return the note. Where the page stays as it is, `shown` does too."""
        self._client.cookies.clear()
        self._client.cookies.update(self._cookies)
        answer = self._client.post(
            "/write/letters/gradio_api/run/predict", json={"data": list(data), "fn_index": handler}
        )
        assert answer.status_code == 200, answer.text
        found = answer.json()["data"]
        self.shown = [old if one == {"__type__": "update"} else one for one, old in zip(
            found, self.shown or found, strict=True
        )]  # fmt: skip
        return re.sub("<[^>]*>", "", unescape(found[0]))

    @property
    def ticket(self) -> str:
        return str(self.shown[11])

    @property
    def text(self) -> str:
        return str(self.shown[5]["value"])

    @property
    def progress(self) -> str:
        return re.sub("<[^>]*>", " ", unescape(self.shown[1]))


@pytest.fixture
def at_work(lab: Lab) -> Iterator[Callable[[str], Writer]]:
    people = People(lab, hasher=CHEAP)
    for name in ("ann", "bo", "cy"):
        people.accept(people.invite(name, ["rater"]), "a sentence will do")
    portal = Portal(lab, people)
    with TestClient(portal.app(), base_url=AT, raise_server_exceptions=False) as client:
        yield lambda name: Writer(client, portal, name)
    portal.close()


def texts(lab: Lab) -> list[Written]:
    return [act for act in campaigns.read_acts(lab, "letters") if act.kind == "written"]


def test_one_writes_another_accepts_and_both_rows_are_there(lab: Lab, at_work: Callable[[str], Writer]) -> None:
    ann = at_work("ann")
    first = ann.ticket
    draft = ann.text
    assert ann.press(SAVE, first, "A warm text.\r\nTwo lines.") == "Saved"
    assert ann.ticket != first
    assert "1 saved by you" in ann.progress
    assert f'data-saved="{first}"' in ann.shown[0]
    bo = at_work("bo")
    assert bo.text == "A warm text.\nTwo lines."
    assert "<del>" in bo.shown[4]
    assert "<ins>" in bo.shown[4]
    assert "the-base" not in str(bo.shown)
    assert "ann" not in str(bo.shown), "a reader does not learn who wrote it"
    assert bo.press(ACCEPT, bo.ticket, bo.text) == "Saved"
    record, pairs = campaigns.read(lab, "letters")
    acts = campaigns.read_acts(lab, "letters")
    (row,) = campaigns.sft_rows(record, pairs, acts)
    (pair,) = campaigns.preference_rows(record, pairs, acts)
    assert row["completion"][0]["content"] == "A warm text.\nTwo lines."
    assert (pair["rejected"][0]["content"], row["writer"], row["reviewer"]) == (draft, "ann", "bo")


def test_a_text_that_was_sent_back_comes_with_its_reason_and_the_readers_words(
    lab: Lab, at_work: Callable[[str], Writer]
) -> None:
    ann = at_work("ann")
    ann.press(SAVE, ann.ticket, "Zero!")
    bo = at_work("bo")
    held = bo.ticket
    assert "Say why" in bo.press(SEND_BACK, held, "Zero, warm!", " ")
    assert bo.ticket == held
    assert bo.press(SEND_BACK, held, "Zero, warm!", "<b>too cold</b>") == "Saved"
    cy = at_work("cy")
    assert cy.text == "Zero, warm!"
    assert "&lt;b&gt;too cold" in cy.shown[4]
    assert cy.press(SAVE, cy.ticket, "Zero, very warm!") == "Saved"
    assert [(one.step, one.who, one.accepted) for one in texts(lab)] == [
        ("write", "ann", None), ("review", "bo", False), ("write", "cy", None),
    ]  # fmt: skip


def test_pressed_twice_and_in_two_tabs_it_is_stored_once_and_nothing_else_is_called_saved(
    lab: Lab, at_work: Callable[[str], Writer]
) -> None:
    one, two, other = at_work("ann"), at_work("ann"), at_work("bo")
    held = one.ticket
    assert two.ticket == held
    assert other.ticket != held, "a text is on one person's screen"
    assert one.press(SAVE, held, "Mine.") == "Saved"
    assert "on disk already" in two.press(SAVE, held, "Mine.")
    three = at_work("ann")
    before = three.ticket
    note = three.press(SAVE, held, "Something else.")
    assert note.startswith("Not saved")
    assert "another tab" in note
    assert three.ticket == before, "the page stays as it is, with what was typed"
    late = other.press(SAVE, held, "Bo's.")
    assert late.startswith("Not saved. Somebody else")
    assert [one.text for one in texts(lab)] == ["Mine."]
    other.press(SKIP, held, "")
    assert other.ticket not in ("", held), "bo goes on with what is bo's"


def test_a_skipped_draft_goes_to_others_and_the_end_says_why(lab: Lab, at_work: Callable[[str], Writer]) -> None:
    ann = at_work("ann")
    first = ann.ticket
    assert ann.press(SKIP, first, "") == "Left to others."
    second = ann.ticket
    assert second.split("|")[0] != first.split("|")[0]
    ann.press(SKIP, second, "")
    assert ann.ticket == ""
    assert "you skipped or sent back 2" in ann.shown[10]
    assert at_work("ann").ticket == "", "after a reload too"
    assert at_work("bo").ticket == first


@pytest.mark.parametrize(
    "held", ["", "nonsense", "p|write|x", "no-such-pair|write|0", "a|b|c|d", "p|write|١", "|write|0"]
)
def test_a_ticket_of_nobody_changes_nothing(lab: Lab, at_work: Callable[[str], Writer], held: str) -> None:
    ann = at_work("ann")
    before = ann.ticket
    for handler, data in ((SAVE, ["x"]), (ACCEPT, ["x"]), (SEND_BACK, ["x", "why"]), (SKIP, [""])):
        ann.press(handler, held, *data)
        assert ann.ticket == before
    assert texts(lab) == []


def test_nobody_accepts_their_own_text(lab: Lab, at_work: Callable[[str], Writer]) -> None:
    ann = at_work("ann")
    held = ann.ticket
    ann.press(SAVE, held, "Mine.")
    note = ann.press(ACCEPT, held.replace("write|0", "review|1"), "Mine.")
    assert note.startswith("Not saved. This one is not for you")
    assert len(texts(lab)) == 1


def test_too_long_and_empty_texts_stay_on_the_page(lab: Lab, at_work: Callable[[str], Writer]) -> None:
    ann = at_work("ann")
    held = ann.ticket
    assert ann.press(SAVE, held, " \n").startswith("Not saved. An empty text")
    assert ann.press(SAVE, held, "x" * 100_001).startswith("Not saved. Too long")
    assert ann.ticket == held
    assert texts(lab) == []


def test_a_full_disk_saves_nothing_and_says_so(
    lab: Lab, at_work: Callable[[str], Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = at_work("ann")
    held = ann.ticket
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "act.event")
    assert ann.press(SAVE, held, "Mine.").startswith("Not saved. The server could not write it")
    monkeypatch.delenv("RATCHET_FULL_DISK_AT")
    assert ann.press(SAVE, held, "Mine.") == "Saved"
    assert [one.text for one in texts(lab)] == ["Mine."]


def test_who_is_paused_gets_nothing_but_loses_nothing(lab: Lab, at_work: Callable[[str], Writer]) -> None:
    ann = at_work("ann")
    held = ann.ticket
    log = campaigns.ActLog(campaigns.folder(lab, "letters"))
    at = "2026-11-20T00:00:00+00:00"
    assert log.add(Steer(event_id="s", campaign="letters", who="eve", at=at, what="pause", rater="ann"))
    assert ann.press(SAVE, held, "Mine.") == "Saved"
    assert ann.ticket == ""
    assert "takes no texts from you" in ann.shown[10]


def test_script_in_a_draft_a_prompt_or_a_text_is_only_text(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "attacked")
    make_drafts(lab, 1, "letters", ATTACK)
    desk = WriteDesk(lab, "letters")
    sheet = desk.sheet("ann")
    shown = "".join(str(one) for one in write._render(Texts("en"), sheet)[:5])
    assert "<script>" not in shown
    assert "{{" not in shown
    assert "<strong>bold</strong>" in shown
    desk.write("ann", sheet.ticket, f"{ATTACK} and more")
    shown = "".join(str(one) for one in write._render(Texts("en"), desk.sheet("bo"))[:5])
    assert "<script>" not in shown
    assert "${" not in shown
    assert "<ins>" in shown
    desk.close()
