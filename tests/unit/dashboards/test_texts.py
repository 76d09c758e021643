"""The raters' languages: every text is there in each, with the same values in it, and the browser's wish is heard."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from string import Formatter
from typing import Any

import argon2
import fastapi
import psutil
import pytest

from dashboards import chat, rate, screen
from dashboards.screen import Note
from dashboards.texts import CATALOGUES, LANGUAGES, Texts, language_of
from harness import campaign as campaigns
from harness.core.errors import EngineError, RatchetError
from harness.core.paths import Lab, check_name
from harness.core.rating import CampaignRecord
from harness.core.records import DataRef
from harness.people import Locked, People
from harness.pipeline import changed, disputes, trying
from serve.lease import Lease
from serve.plugin import feedback
from serve.plugin.call import Call
from serve.plugin.call import Refused as NotTaken


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_every_text_with_the_same_values(language: str) -> None:
    def fields(text: str) -> set[str | None]:
        return {name for _, name, _, _ in Formatter().parse(text) if name is not None}

    english, other = CATALOGUES[LANGUAGES[0]], CATALOGUES[language]
    assert list(other) == list(english)
    assert {key: fields(text) for key, text in other.items()} == {key: fields(text) for key, text in english.items()}
    assert all(text.strip() for text in other.values())


def test_every_note_has_a_text() -> None:
    notes = [one for place in (screen, rate) for one in vars(place).values() if isinstance(one, Note)]
    assert {f"note_{note.key}" for note in notes} == {key for key in CATALOGUES["en"] if key.startswith("note_")}


def test_a_value_in_a_text_is_only_text() -> None:
    shown = Texts("en")("thanks", rater="<b>${x}")
    assert shown == "Thank you, &lt;b&gt;&#36;&#123;x&#125;"


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("", "en"), ("de", "de"), ("de-CH, en;q=0.5", "de"), ("fr, en;q=0.3, de;q=0.7", "de"), ("fr;q=1", "en"),
     ("en-GB,de;q=0.9", "en"), ("de;q=x, de;q=0", "en"), (",;q=,*", "en"), ("DE-at", "de")],
)  # fmt: skip
def test_the_browser_says_which_language(accepted: str, language: str) -> None:
    assert language_of(accepted) == language


# --- errors -------------------------------------------------------------------------------------------------------


def errors(lab: Lab, patch: pytest.MonkeyPatch) -> list[RatchetError | NotTaken]:
    """One of each kind that has a text, raised where it is raised for people."""
    people = People(lab, hasher=argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    record = CampaignRecord(
        campaign="c", name="n", subjects=[], pool=DataRef(path="", sha256="", rows=0, format=""), decoding={}, pairs=0,
        refused={"empty": 2}, seed=0, created="",
    )  # fmt: skip
    turn = {"role": "user", "content": "x"}

    def said(act: Callable[[], Any]) -> RatchetError | NotTaken:
        with pytest.raises((RatchetError, NotTaken)) as found:
            act()
        return found.value

    def passed(password: str) -> RatchetError | NotTaken:
        return said(lambda: people.accept("", password))

    found = [said(lambda: people.sign_in("ann", "wrong")) for _ in range(6)][4:]
    found += [Locked(599), passed("short"), passed("x" * 1_001), passed("x" * 20)]
    found += [said(lambda: disputes.add(lab, "c", "ann", "p", "r", "x" * 1_001))]
    found += [said(lambda: changed.dispute(lab, "ann", "r", "p", "x"))]
    found += [said(lambda: trying.conversation([turn] * 42))]
    found += [said(lambda: trying.conversation([turn | {"content": "x" * 32_001}]))]
    found += [said(lambda: asyncio.run(trying.models(lab, candidates=True)))]
    lease(lab).write(lab.engines / "e" / "lease.json")
    found += [said(lambda: asyncio.run(trying.models(lab, candidates=True)))]
    found += [said(lambda: asyncio.run(chat._read(large_request())))]
    patch.setattr(chat, "_models", nothing_served)
    found += [said(lambda: asyncio.run(chat._asked(lab, None, "ann", {"model": "a'b", "messages": [turn]})))]  # type: ignore[arg-type]
    found += [trying._broken(Call("/", "POST", ""), None) or EngineError("")]
    found += [said(lambda: feedback.check({"completion_id": "c-1", "edited": " "})), feedback._busy()]
    found += [said(lambda: check_name("A B", "campaign")), said(lambda: check_name("A B", "name"))]
    found += [said(lambda: campaigns.write(lab, record, []))]
    (lab.campaigns / "c").mkdir(parents=True)
    (lab.campaigns / "c" / "campaign.json").touch()
    return [*found, said(lambda: campaigns.write(lab, record, []))]


async def nothing_served(*_: object) -> dict[str, trying.Model]:
    return {}


def large_request() -> fastapi.Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * (chat.MAX_BYTES + 1), "more_body": False}

    return fastapi.Request({"type": "http", "method": "POST", "headers": []}, receive)


def lease(lab: Lab) -> Lease:
    """Of an engine that is there and answers nothing: this process."""
    started = psutil.Process().create_time()
    (lab.engines / "e").mkdir(parents=True)
    return Lease(
        engine_id="e", pid=os.getpid(), pgid=os.getpgid(0), port=9, state="restarting", spec={}, started=started,
        admin_token="",
    )  # fmt: skip


def test_an_error_reads_in_english_as_elsewhere_and_in_german_in_german(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {"engine_stopped"}  # in test_try.py, where an engine stops
    for error in errors(Lab(tmp_path), monkeypatch):
        if isinstance(error, RatchetError):
            code, line, about = error.code, error.one_line(), error.about
        else:
            code, line, about = str(error.body["error"]["code"]), str(error), {}
        seen.add(code)
        assert Texts("en").said(code, "no text", about) == line
        german = Texts("de").said(code, line, about)
        assert german != line
        assert "{" not in german
    told = {key.removeprefix("error_").removesuffix("_one") for key in CATALOGUES["en"] if key.startswith("error_")}
    assert seen == told


def test_numbers_are_written_as_people_there_write_them() -> None:
    english, german = Texts("en"), Texts("de")
    assert (english.counted("changed_votes", 1), german.counted("changed_votes", 1)) == ("1 vote", "1 Bewertung")
    assert (english.counted("changed_votes", 1_234_567), german.counted("changed_votes", 1_234_567)) == (
        "1,234,567 votes", "1.234.567 Bewertungen",
    )  # fmt: skip
    assert german.error(Locked(60)).endswith("in 1 Minute noch einmal.")
    assert german.error(Locked(120)).endswith("in 2 Minuten noch einmal.")
    assert german.error(EngineError("a pipe burst", "call somebody")) == "a pipe burst. call somebody."
