"""Everything that a page says is in the person's language: pages are shown in a made-up one, whose texts are all
marked, and what stands there without a mark was never translated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from string import Formatter
from typing import Any, get_args

import gradio as gr
import pytest

from dashboards import changed, chat_view, plain, rate, rate_view, screen, write, write_desk
from dashboards.screen import Note, Screen, Stage, Why
from dashboards.texts import CATALOGUES, LANGUAGES, Texts
from dashboards.web import STATIC
from dashboards.write_desk import Said, Sheet
from harness import campaign as campaigns
from harness.core.rating import CampaignRecord
from harness.core.records import DataRef, Verdict
from harness.people import Person
from harness.pipeline import campaigns as making
from harness.pipeline import tried, trying
from harness.pipeline.changed import Changed, Judged, Shaped
from harness.pipeline.disputes import Dispute
from serve.lease import Lease
from tests.unit.dashboards.tour import tour

SPOKEN = {"title", "aria-label", "alt", "placeholder", "label"}  # attributes that people see or hear
MUTE = {"kbd", "style"}
GIVEN = "4711"  # each name, text and number that comes from outside
MARK = re.compile(r"⟦[^⟦⟧]*⟧")
NAMES = re.compile(r"\b(Ratchet|SHIP|BLOCK|INCONCLUSIVE|INVALID)\b")  # the same in every language
LEAST = 280  # texts that were seen, of the table's: a sweep that sees fewer has lost a page
STOPS = 37  # of a tour


class Spoken(HTMLParser):
    """Every text and spoken attribute of some HTML; of `data-` attributes those of the scripts' texts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._mute, self._goes_on = 0, False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._mute += tag in MUTE
        self._goes_on = tag == "strong"  # a name inside a text, which is one text all the same
        for name, value in attrs:
            if name in SPOKEN and value:
                self.found.append(value)
            if name == "data-texts":
                self.found += json.loads(value or "{}").values()
            elif name.startswith("data-") and value and "⟦" in value:
                self.found.append(value)

    def handle_endtag(self, tag: str) -> None:
        self._mute -= tag in MUTE
        self._goes_on = tag == "strong"

    def handle_data(self, data: str) -> None:
        if self._goes_on and self.found:
            self.found[-1] += data
        elif data.strip() and not self._mute:
            self.found.append(data)


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> Texts:
    """Texts that are all ⟦like this⟧, with the key in front."""
    table = {key: f"⟦{key}|{text}⟧" for key, text in CATALOGUES[LANGUAGES[0]].items()}
    monkeypatch.setitem(CATALOGUES, "xx", table)
    monkeypatch.setattr("dashboards.texts.LANGUAGES", (*LANGUAGES, "xx"))
    return Texts("xx")


def lines(shown: Any) -> Iterator[str]:
    """What is said by a handler's values: HTML, labels of components, lists of either."""
    if isinstance(shown, str):
        reader = Spoken()
        reader.feed(shown)
        yield from reader.found
    elif isinstance(shown, list | tuple):
        for one in shown:
            yield from lines(one)
    elif isinstance(shown, gr.components.Component):
        yield from (value for value in (getattr(shown, "label", None),) if value)


def rating(texts: Texts) -> Iterator[Any]:
    """The rating page at each of its stages, with each of its notes and dialogs."""
    notes = [one for place in (screen, rate) for one in vars(place).values() if isinstance(one, Note)]
    turns = [{"role": role, "content": GIVEN} for role in ("system", "user", "assistant", "tool", "user")]
    yield [rate_view.note(texts, one) for one in notes]
    yield rate_view.tools(texts, GIVEN, home="/")
    for stage in get_args(Stage):
        for prompt in (turns, turns[-1:]):
            why = Why("left", "right", GIVEN) if stage == "explained" else None
            one = Screen(GIVEN, stage, Note(), 1, 1, 1.0, GIVEN, prompt, (GIVEN, GIVEN), (1, 2), why)
            yield rate._whole(texts, one)


def writing(texts: Texts) -> Iterator[Any]:
    """The writing page: to write, to write again, to read, with nothing left for each reason, and each note."""
    prompt = [{"role": role, "content": GIVEN} for role in ("system", "user")]
    at = campaigns.Progress(1, 1, 1, 1, 1, False)
    notes = [one for place in (write, write_desk) for one in vars(place).values() if isinstance(one, Said)]
    yield [write._note(texts, one) for one in notes]
    for step in ("write", "review"):
        for text in (GIVEN, f"{GIVEN} {GIVEN}"):
            yield write._render(texts, Sheet(GIVEN, GIVEN, at, Said(), step, prompt, GIVEN, text, GIVEN))
    for over in ("stopped", "done", "left", "skipped"):
        yield write._render(texts, Sheet(GIVEN, "", at, Said(), over=over))


def trying_out(texts: Texts) -> Iterator[Any]:
    """The page Try it with every kind of model, without any, and what it says of a campaign."""
    lease = Lease(engine_id="e", pid=1, pgid=1, port=1, state="ready", spec={}, started=1.0, admin_token="")
    models = [trying.Model(GIVEN, kind, None, lease) for kind in trying.KINDS]
    reasons = [
        *campaigns.REFUSALS, making.OTHER_PURPOSE, tried.NOTHING_BESIDE, tried.USED, "redacted", "left", "empty",
        "several_answers", "tool_calls", "token_ids", "not_text",
    ]  # fmt: skip
    counts = dict.fromkeys(reasons, 1)
    record = CampaignRecord(
        campaign=GIVEN, name=GIVEN, subjects=[], pool=DataRef(path="", sha256="", rows=0, format=""), decoding={},
        pairs=1, refused=counts, seed=0, created="",
    )  # fmt: skip
    yield chat_view.frame(texts, GIVEN, models, {GIVEN: GIVEN})
    yield [chat_view.message(texts, texts.raw(key)) for key in ("try_signed_out", "try_unreadable", "try_busy")]
    yield chat_view.message(texts, texts.raw("try_problem", why=GIVEN))
    yield [chat_view.sent(texts, tried.Sent(1, [], counts)), chat_view.made(texts, record)]


def voting(texts: Texts) -> Iterator[Any]:
    """A home page without a card; what votes changed: adapters with a version and without, each verdict, disputes."""
    rater, lead = (Person(name=GIVEN, roles=[role], created="") for role in ("rater", "lead"))
    yield bytes(plain.home(texts, rater, []).body).decode()
    disputed = [Dispute(at=GIVEN, who=GIVEN, plan_id=GIVEN, run_id=GIVEN, text=text) for text in (GIVEN, "")]
    judged = [Judged(GIVEN, verdict, GIVEN, GIVEN, disputed) for verdict in get_args(Verdict)]
    adapters = [
        Shaped(GIVEN, GIVEN, 1, 1, False, [GIVEN], [GIVEN], [GIVEN], judged),
        Shaped(GIVEN, "", 2_000, 2, True, [GIVEN, GIVEN]),
    ]
    yield [changed._line(texts, one) for one in adapters]
    for person in (rater, lead):
        yield changed._adapters(texts, Changed(adapters, []), person, (GIVEN, GIVEN, GIVEN))
    yield changed._waiting(texts, Changed([], [GIVEN, GIVEN]))


def erring(texts: Texts) -> Iterator[Any]:
    """What pages say of errors, whose values are data of every kind; that they are raised so is in test_texts.py."""
    errors = [key for key in CATALOGUES["en"] if key.startswith("error_")]
    fields = {key: [name for _, name, _, _ in Formatter().parse(CATALOGUES["en"][key]) if name] for key in errors}
    yield [plain.status_line(texts.raw(key, **dict.fromkeys(fields[key], GIVEN)), True) for key in errors]


def untranslated(line: str) -> bool:
    """Whether words stand outside of all marks, which may stand in one another."""
    while MARK.search(line):
        line = MARK.sub("", line)
    return bool(re.search(r"[^\W\d_]{2,}", NAMES.sub("", line)))


def test_no_page_says_anything_that_was_not_translated(
    marked: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = (rating, writing, trying_out, voting, erring)
    toured = [answer.text for answer in tour(tmp_path, "xx", monkeypatch)]
    said = [line for shown in (*(one for page in pages for one in page(marked)), toured) for line in lines(shown)]
    assert [line for line in said if untranslated(line)] == []
    seen = {key for line in said for key in re.findall(r"⟦(\w+)\|", line)}
    assert len(seen) >= LEAST
    assert set(CATALOGUES["en"]) - seen <= set(labels())


def test_the_portal_speaks_german_where_the_browser_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page says that it is German, to browsers and to caches, and none of its lines is an English text's."""
    answers = list(tour(tmp_path, "de", monkeypatch))
    assert len(answers) == STOPS
    english = set(CATALOGUES["en"].values()) - set(CATALOGUES["de"].values())
    for answer in answers:
        assert '<html lang="de"' in answer.text, answer.url
        assert (answer.headers["content-language"], answer.headers["vary"]) == ("de", "accept-language")
        assert english & set(lines(answer.text)) == set(), answer.url


def labels() -> set[str]:
    """Keys that label Gradio's own components, which the browser translates, and texts of Markdown as a whole."""
    sources = "".join(Path(str(one.__file__)).read_text(encoding="utf-8") for one in (rate, write))
    named = {key for pair in re.findall(r'I18N\("(\w+)"\)|_box\("(\w+)"|_hidden\("(\w+)"\)', sources) for key in pair}
    buttons = {f"choose_{choice}" for choice in rate.CHOICES} | {label for label, _ in rate_view.HIDDEN_BUTTONS}
    return (named | buttons | {"write_guidelines", "default_guidelines"}) - {""}


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("try.js", {*chat_view.SAID_BY_SCRIPT, "cancel", "saving"}),
        ("write.js", set(write.SAID_BY_SCRIPT)),
    ],
)
def test_scripts_say_only_what_the_server_gave_them(file: str, said: set[str]) -> None:
    """What a script names of its texts is what it gets, and it has no sentence of its own."""
    lines = (STATIC / file).read_text(encoding="utf-8").splitlines()
    source = "".join(re.sub(r"(^|\s)//.*", "", line) for line in lines)
    named = set(re.findall(r"texts(?:\(\))?\.(\w+)", source))
    assert named | {"title"} == said | {"title"}
    assert re.findall(r'"[A-Z][a-z]+[ .…][^"]*"|`[A-Z][a-z]+ [^`]*`', source) == []


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_another_language_is_another_text(language: str) -> None:
    """Every text was translated: none is that of the first language."""
    english, other = CATALOGUES[LANGUAGES[0]], CATALOGUES[language]
    assert [key for key in english if english[key] == other[key]] == []
    assert len(other) > LEAST
