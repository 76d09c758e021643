"""The desk's rules: what is on disk after each thing that a rater does, and what the rater sees then."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dashboards.desk import Desk
from dashboards.screen import (
    ALREADY_SAVED,
    NOT_SAVED,
    NOTHING_TO_UNDO,
    OUT_OF_DATE,
    REPORTED,
    STOPPED,
    TAKEN_BACK,
    TOO_LONG,
    TOO_SOON,
    Note,
    Screen,
)
from harness import campaign as campaigns
from harness.core.paths import Lab
from harness.core.rating import Answer, AnyAct, CampaignRecord, Pair, Steer
from harness.core.records import DataRef, Subject

SUBJECTS = (
    Subject(kind="adapter", label="aac@v1", model="run-aaaaaaaaaaaa", base_sha256="0" * 64),
    Subject(kind="base", label="the-base", model="tiny-base", base_sha256="0" * 64),
)
TEXTS = ("First answer", "Another answer")


def pair(name: str, **changes: object) -> Pair:
    a, b = (
        Answer(subject=who.label, model=who.model, text=f"{text} {name}")
        for who, text in zip(SUBJECTS, TEXTS, strict=True)
    )
    found = Pair(pair_id=name, item_id=name, cluster=name, prompt=[{"role": "user", "content": "Say"}], a=a, b=b)
    return found.model_copy(update=changes)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Lab]:
    def made(count: int = 3, extra: list[Pair] | None = None, overlap: float = 1.0) -> Lab:
        """A lab with one campaign, 'style'."""
        lab = Lab(tmp_path)
        pool = DataRef(path="pool.jsonl", sha256="0" * 64, rows=count, format="prompt")
        record = CampaignRecord(
            campaign="style", name="aac", subjects=list(SUBJECTS), pool=pool, decoding={}, pairs=count, refused={},
            seed=0, overlap=overlap, created="2026-11-20T00:00:00+00:00",
        )  # fmt: skip
        campaigns.write(lab, record, [pair(f"p{n}") for n in range(count)], extra or [])
        return lab

    return made


def looked(ticket: str) -> str:
    """The ticket as if its pair had been on screen for two seconds."""
    name, _, at = ticket.partition("|")
    return f"{name}|{(datetime.datetime.fromisoformat(at) - datetime.timedelta(seconds=2)).isoformat()}"


def choose(desk: Desk, rater: str, choice: str = "left", **details: object) -> Screen:
    return desk.choose(rater, looked(desk.screen(rater).ticket), choice, json.dumps(details))  # type: ignore[arg-type]


def acts(lab: Lab, kind: str) -> list[AnyAct]:
    return [act for act in campaigns.read_acts(lab, "style") if act.kind == kind]


def steer(desk: Desk, what: str, **about: str) -> None:
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    act = {"event_id": f"{what}/{at}", "campaign": "style", "who": "lead", "at": at, "what": what}
    assert desk._acts.add(Steer.model_validate(act | about))


def test_a_choice_is_on_disk_before_the_next_pair_shows(make: Callable[..., Lab]) -> None:
    lab = make()
    desk = Desk(lab, "style")
    first = desk.screen("ann")
    second = desk.choose("ann", looked(first.ticket), "right")
    assert (first.done, second.done, second.left, second.note.tone) == (0, 1, 2, "saved")
    (vote,) = campaigns.read_votes(lab, "style")
    assert (vote.assignment, vote.choice) == (first.name, "right")
    assert first.answers[0].startswith(TEXTS[0] if vote.left == "a" else TEXTS[1])
    assert vote.seconds is not None
    assert vote.seconds >= 2
    assert second.pace_s == vote.seconds


def test_a_second_press_counts_neither_for_its_own_pair_nor_for_the_next(make: Callable[..., Lab]) -> None:
    lab = make()
    desk = Desk(lab, "style")
    first = desk.screen("ann")
    second = desk.choose("ann", looked(first.ticket), "left")
    assert desk.choose("ann", looked(first.ticket), "right").note == ALREADY_SAVED
    at_once = desk.choose("ann", second.ticket, "left")
    assert (at_once.note, at_once.name) == (TOO_SOON, second.name)
    assert [vote.choice for vote in campaigns.read_votes(lab, "style")] == ["left"]


@pytest.mark.parametrize(
    "ticket", ["", "x", "style/none/ann|2026-11-20T00:00:00+00:00", "{bo}", "{future}", "{bad}", "{take}"]
)
def test_a_ticket_that_is_not_the_raters_own_changes_nothing(make: Callable[..., Lab], ticket: str) -> None:
    lab = make()
    desk = Desk(lab, "style")
    own = desk.screen("ann")
    forged = ticket.format(
        bo=looked(desk.screen("bo").ticket),
        future=f"{own.name}|2999-01-01T00:00:00+00:00",
        bad=own.ticket + "x",
        take=f"{own.name}/1|2026-11-20T00:00:00+00:00",
    )
    assert desk.choose("ann", forged, "left").note == OUT_OF_DATE
    assert desk.say("ann", forged, json.dumps({"what": "unsafe", "text": "x"})) == OUT_OF_DATE
    assert (campaigns.read_votes(lab, "style"), acts(lab, "report")) == ([], [])


def test_a_full_disk_keeps_the_pair_and_says_so(make: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(make(), "style")
    ticket = looked(desk.screen("ann").ticket)
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "vote.event")
    failed = desk.choose("ann", ticket, "left")
    assert (failed.note, failed.ticket, failed.done) == (NOT_SAVED, ticket, 0)
    monkeypatch.delenv("RATCHET_FULL_DISK_AT")
    assert desk.choose("ann", ticket, "left").done == 1


def test_the_end_has_no_pair_and_no_ticket(make: Callable[..., Lab]) -> None:
    lab = make()
    desk = Desk(lab, "style")
    screens = [choose(desk, "ann", "tie") for _ in range(3)]
    assert (screens[-1].stage, screens[-1].ticket, screens[-1].answers, screens[-1].left) == ("done", "", ("", ""), 0)
    assert Desk(lab, "style").screen("ann").stage == "done"  # another process, after a restart
    assert Desk(lab, "style").screen("bo").done == 0


def test_what_is_said_beside_a_choice_is_stored_with_it(make: Callable[..., Lab]) -> None:
    lab = make()
    desk = Desk(lab, "style")
    assert choose(desk, "ann", tags=["wrong", "wrong", "<b>"], edit={"place": "left", "text": " Better. "}).done == 1
    original = desk.screen("ann").answers[1]
    assert choose(desk, "ann", edit={"place": "right", "text": original + "\n"}).done == 2  # nothing was changed
    assert choose(desk, "ann", "skip", reason=" language ").done == 3
    one, two, three = campaigns.read_votes(lab, "style")
    assert one.edit is not None
    assert (one.tags, one.edit.side, one.edit.text) == (["wrong", "<b>"], one.left, "Better.")
    assert two.edit is None
    assert (three.choice, three.reason, three.tags) == ("skip", "language", [])


@pytest.mark.parametrize(
    "details",
    ["", "no json", '{"tags": [""]}', '{"unknown": 1}', '{"edit": {"place": "a", "text": "x"}}',
     json.dumps({"reason": "x" * 501}), json.dumps({"edit": {"place": "left", "text": "x" * 20_001}})],
)  # fmt: skip
def test_details_that_are_none_save_nothing_and_keep_the_pair(make: Callable[..., Lab], details: str) -> None:
    lab = make()
    desk = Desk(lab, "style")
    ticket = looked(desk.screen("ann").ticket)
    screen = desk.choose("ann", ticket, "left", details)
    assert (screen.note, screen.ticket) == (TOO_LONG, ticket)
    assert campaigns.read_votes(lab, "style") == []


def test_undo_gives_the_pair_back_on_the_same_sides_and_one_screen_takes_back_one(make: Callable[..., Lab]) -> None:
    lab = make()
    desk = Desk(lab, "style")
    first = desk.screen("ann")
    choose(desk, "ann", "left")
    second = choose(desk, "ann", "right")
    back = desk.undo("ann", second.ticket)
    assert (back.note, back.done) == (TAKEN_BACK, 1)
    assert desk.undo("ann", second.ticket).note == OUT_OF_DATE  # the same request once more, from the same screen
    again = desk.undo("ann", back.ticket)
    assert (again.prompt, again.answers, again.name) == (first.prompt, first.answers, f"{first.name}/1")
    assert desk.undo("ann", again.ticket).note == NOTHING_TO_UNDO
    assert desk.choose("ann", looked(first.ticket), "left").note == OUT_OF_DATE  # another tab, from before
    assert choose(desk, "ann", "tie").done == 1
    assert [(vote.choice, vote.take) for vote in campaigns.read_votes(lab, "style")] == [("tie", 1)]


def test_undo_reaches_ten_votes_back_and_works_at_the_end(make: Callable[..., Lab]) -> None:
    desk = Desk(make(12), "style")
    for _ in range(12):
        screen = choose(desk, "ann")
    assert screen.stage == "done"
    notes: list[Note] = []
    for _ in range(11):
        screen = desk.undo("ann", screen.ticket)
        notes.append(screen.note)
    assert notes == [*[TAKEN_BACK] * 10, NOTHING_TO_UNDO]


def test_practice_comes_first_is_explained_and_is_no_vote(make: Callable[..., Lab]) -> None:
    practice = [pair(f"c{n}", role="calibration", expected="b", explanation="It is **kinder**.") for n in range(2)]
    lab = make(extra=practice)
    desk = Desk(lab, "style")
    first = desk.screen("ann")
    assert (first.stage, first.practice, first.is_first) == ("practice", (1, 2), True)
    told = desk.choose("ann", looked(first.ticket), "left")
    assert (told.stage, told.ticket, told.answers, told.practice) == ("explained", "", first.answers, (1, 2))
    assert told.why is not None
    assert told.why.text == "It is **kinder**."
    expected = "left" if first.answers[0].startswith(TEXTS[1]) else "right"
    assert (told.why.chosen, told.why.expected) == ("left", expected)
    assert desk.choose("ann", looked(first.ticket), "right").note == ALREADY_SAVED
    assert Desk(lab, "style").screen("ann").practice == (2, 2)
    choose(desk, "ann")
    assert (desk.screen("ann").stage, desk.screen("ann").left) == ("pair", 3)
    assert [act.choice for act in acts(lab, "calibrated") if act.kind == "calibrated"] == ["left", "left"]
    assert campaigns.read_votes(lab, "style") == []


def test_a_paused_rater_and_a_closed_campaign_take_nothing_more(make: Callable[..., Lab]) -> None:
    lab = make()
    desk = Desk(lab, "style")
    ticket = looked(desk.screen("ann").ticket)
    steer(desk, "pause", rater="ann")
    screen = desk.choose("ann", ticket, "left")
    assert (screen.stage, screen.note) == ("paused", STOPPED)
    held = looked(desk.screen("bo").ticket)
    steer(desk, "resume", rater="ann")
    assert desk.choose("ann", ticket, "left").done == 1
    steer(desk, "close")
    assert desk.choose("bo", held, "left").stage == "closed"
    assert len(campaigns.read_votes(lab, "style")) == 1


def test_a_single_pair_is_on_one_screen_only(make: Callable[..., Lab]) -> None:
    lab = make(4, overlap=0.0)
    desk = Desk(lab, "style")
    names = {desk.screen(rater).name.split("/")[1] for rater in ("ann", "bo", "cy")}
    assert len(names) == 3
    assert desk.screen("ann").name == Desk(lab, "style").screen("ann").name  # a second process, a reload


def test_a_report_names_the_answer_and_a_repeated_one_adds_nothing(make: Callable[..., Lab]) -> None:
    lab = make()
    desk = Desk(lab, "style")
    screen = desk.screen("ann")
    said = json.dumps({"what": "unsafe", "place": "right", "text": " It tells how. "})
    assert [desk.say("ann", screen.ticket, said) for _ in range(2)] == [REPORTED, REPORTED]
    assert desk.say("ann", "", json.dumps({"what": "prompt", "text": "Say thanks"})).tone == "saved"
    assert desk.say("ann", "", json.dumps({"what": "prompt", "text": " "})).tone == "calm"
    unsafe, prompt = [act for act in acts(lab, "report") if act.kind == "report"]
    right = "a" if screen.answers[1].startswith(TEXTS[0]) else "b"
    assert (unsafe.pair_id, unsafe.side, unsafe.text) == (screen.name.split("/")[1], right, "It tells how.")
    assert (prompt.what, prompt.pair_id, prompt.text) == ("prompt", None, "Say thanks")
    assert desk.screen("ann").name == screen.name


def test_guidelines_are_in_the_raters_language_where_there_are_any(make: Callable[..., Lab]) -> None:
    lab = make()
    desk = Desk(lab, "style")
    assert desk.guidelines("de") is None
    (campaigns.folder(lab, "style") / "guidelines.md").write_text("Be fair")
    assert desk.guidelines("de") == "Be fair"
    (campaigns.folder(lab, "style") / "guidelines.de.md").write_text("Sei fair")
    assert (desk.guidelines("de"), desk.guidelines("en")) == ("Sei fair", "Be fair")
