"""Two people write and read drafts, in a real browser: `ratchet app` on one side, Debian's Chromium on the other."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from harness import campaign as campaigns
from harness.core.paths import Lab
from harness.people import People
from tests.browser import app
from tests.browser.app import SENTENCE, WAIT_MS, picture
from tests.unit.dashboards.test_write import ATTACK, make_drafts


class Served:
    """`ratchet app` in a process of its own, on one port however often it is started; stopped by its own pid."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.people, self.port = lab, People(lab), "0"
        for name in ("ann", "bo"):
            self.people.accept(self.people.invite(name, ["rater"]), SENTENCE)
        self.start()

    def start(self) -> None:
        self.process, self.address = app.start(self.lab, self.port)
        self.port = self.address.rpartition(":")[2]

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.communicate(timeout=60)

    def enter(self, context: BrowserContext, name: str) -> Page:
        """The writing page, for somebody who is signed in already."""
        page = app.enter(context, self.people, self.lab, name, f"{self.address}/write/letters/")
        page.locator("#text textarea").wait_for()
        return page


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    lab = Lab(tmp_path_factory.mktemp("writing"))
    make_drafts(lab, 3, text=ATTACK)
    server = Served(lab)
    yield server
    server.stop()


def box(page: Page) -> str:
    return page.locator("#text textarea").input_value()


def note(page: Page) -> str:
    return page.locator("#note").inner_text()


def test_two_people_write_and_read_by_keyboard_and_nothing_typed_is_lost(
    browser: Browser, context: BrowserContext, served: Served
) -> None:
    expect.set_options(timeout=WAIT_MS)
    ann = served.enter(context, "ann")
    expect(ann.locator("#text textarea")).to_be_focused()
    assert ann.locator("#desk script").count() == 0
    assert ATTACK in box(ann), "the box has the draft as it is"
    picture(ann, "write")
    # What is typed outlives a reload, and a server that is gone; it is never called saved meanwhile.
    ann.locator("#text textarea").fill("A warm text.")
    ann.reload()
    expect(ann.locator("#text textarea")).to_have_value("A warm text.")
    expect(ann.locator("#waiting")).to_contain_text("did not save")
    served.stop(signal.SIGKILL)
    ann.keyboard.type(" And a second sentence.")
    typed = box(ann)
    ann.keyboard.press("Control+Enter")
    expect(ann.locator("#waiting")).to_contain_text("Not saved", timeout=WAIT_MS)
    served.start()
    ann.reload()
    expect(ann.locator("#text textarea")).to_have_value(typed)
    tab = context.new_page()
    tab.goto(ann.url)
    expect(tab.locator("#text textarea")).to_have_value(typed)
    ann.locator("#text textarea").press("Control+Enter")
    expect(ann.locator(".note.saved")).to_have_text("Saved")
    expect(ann.locator(".count")).to_contain_text("1 saved by you")
    assert box(ann) != typed
    # The other tab still shows the text: another wording of it is not saved, and not lost.
    tab.locator("#text textarea").fill("Another wording.")
    tab.locator("#do-save").click()
    expect(tab.locator(".note.error").first).to_contain_text("another tab")
    assert box(tab) == "Another wording."
    ann.locator("#do-skip").click()
    expect(ann.locator("#note")).to_contain_text("Left to others")

    phone = browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, color_scheme="dark", locale="de-DE"
    )
    bo = served.enter(phone, "bo")
    assert box(bo) == typed
    expect(bo.locator("#draft ins").first).to_be_visible()
    assert bo.evaluate("document.documentElement.scrollWidth") == 390
    picture(bo, "read-phone-dark")
    bo.get_by_role("button", name="Zurückgeben").tap()
    expect(bo.locator(".note.error").first).to_contain_text("Sagen Sie, warum")
    bo.get_by_label("Warum Sie ihn zurückgeben").fill("too short")
    bo.get_by_role("button", name="Wie man schreibt und liest").tap()
    expect(bo.locator("#guidelines")).to_contain_text("Lesen Sie die Eingabe und den Entwurf")
    assert bo.evaluate("[document.documentElement.lang, document.title]") == ["de", "Antworten schreiben"]
    bo.get_by_role("button", name="Zurückgeben").tap()
    expect(bo.locator(".note.saved")).to_have_text("Gespeichert")
    phone.close()

    ann.reload()
    ann.locator("#text textarea").wait_for()
    while "Sent back" not in ann.locator("#draft").inner_text():
        before = ann.locator("#ticket textarea").input_value()
        ann.locator("#do-skip").click()
        expect(ann.locator("#ticket textarea")).not_to_have_value(before)
    expect(ann.locator(".sent-back")).to_contain_text("too short")
    picture(ann, "sent-back")
    acts = campaigns.read_acts(served.lab, "letters")
    assert [(act.who, act.step, act.text) for act in acts if act.kind == "written"] == [
        ("ann", "write", typed), ("bo", "review", ""),
    ]  # fmt: skip
