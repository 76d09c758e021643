"""Trying what is served, in a real browser: `ratchet app` and `serve.fake` on one side, Chromium on the other."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from harness import campaign as campaigns
from harness import captured
from harness.core.paths import Lab
from harness.people import People
from harness.pipeline import trying
from tests.browser import app
from tests.browser.app import SENTENCE, picture
from tests.browser.test_rate import AUDIT
from tests.unit.dashboards.test_try import ATTACK, HELLO, KIND, FakeEngine

ANSWERS = {
    "aac@v1": {"Say hello": ATTACK},
    "*": {"Say hello": "Hello to you.\n\n- one\n- two", "And then?": "Then the end.", "Say much": "word " * 400},
}


@dataclass
class Served:
    lab: Lab
    people: People
    engine: FakeEngine
    address: str

    def enter(self, context: BrowserContext, name: str) -> Page:
        """The page, for somebody who is signed in already."""
        page = app.enter(context, self.people, self.lab, name, f"{self.address}/try/")
        page.locator("#composer").wait_for()
        return page


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    lab = Lab(tmp_path_factory.mktemp("trying"))
    environment = {name: value for name, value in os.environ.items() if name != "RATCHET_ENGINES"}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RATCHET_ENGINES", raising=False)
        engine = FakeEngine(lab, answers=ANSWERS, piece_s=0.03)
    people = People(lab)
    people.accept(people.invite("eve", ["lead"]), SENTENCE)
    people.accept(people.invite("max", ["engineer"]), SENTENCE)
    with app.running(lab, environment=environment) as address:
        yield Served(lab, people, engine, address)
    engine.kill()


def fair(page: Page) -> None:
    """Names of controls, headings, contrast, and nothing that scrolls sideways."""
    found = json.loads(page.evaluate(AUDIT, ""))
    assert (found["pale"], found["unnamed"], found["skipped"]) == ([], [], [])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def ask(page: Page, text: str) -> None:
    ended = page.locator(".side[data-side=a] .answer[data-id]")
    count = ended.count()
    page.get_by_label("Your message").fill(text)
    page.get_by_label("Your message").press("Control+Enter")
    expect(ended).to_have_count(count + 1)
    expect(page.locator("#send")).to_be_enabled()


def test_two_side_by_side_are_asked_judged_edited_and_still_there_after_a_reload(
    context: BrowserContext, served: Served
) -> None:
    page = served.enter(context, "eve")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    a, b = (page.locator(f".side[data-side={side}]") for side in "ab")
    fair(page)
    picture(page, "try-empty")
    a.get_by_label("Model").select_option("aac@v2")
    expect(page.locator("#system")).to_have_value(KIND)  # the version's contract says so; v1 has none
    a.get_by_label("Model").select_option("aac@prod")
    expect(page.locator("#system")).to_have_value("")
    b.get_by_label("Beside it").select_option("aac@v2")
    ask(page, "Say hello")
    expect(a.locator(".answer strong")).to_have_text("Bold")
    expect(b.locator(".answer li")).to_have_text(["one", "two"])
    assert "<script>document.title" in a.locator(".answer").inner_text(), "shown as it was written"
    a.get_by_role("button", name="Bad").click()
    a.get_by_label("Why").fill("it shouts")
    a.get_by_label("Why").press("Enter")
    expect(a.locator(".said")).to_have_text("Saved")
    b.get_by_role("button", name="Edit").click()
    b.get_by_label("What it should have said").fill("Hello, dear.")
    b.get_by_role("button", name="Save edit").click()
    expect(b.locator(".said")).to_have_text("Saved")
    b.get_by_role("button", name="This one is better").click()
    expect(b.get_by_role("button", name="This one is better")).to_have_attribute("aria-pressed", "true")
    b.get_by_role("button", name="To a campaign").click()
    expect(b.get_by_role("button", name="To a campaign")).to_have_attribute("aria-pressed", "true")
    asked_first = next(iter(captured.load(served.lab.requests).exchanges.values())).call
    purpose = campaigns.purpose_of(captured.cluster_of("", asked_first))
    page.get_by_text("A campaign of what was sent to one").click()
    expect(page.locator("#sent-counts")).to_contain_text("Answers sent: 1. Pairs of them: 1")
    page.get_by_label("Name of the campaign").fill("hello")
    page.get_by_label("What its votes are for").select_option(purpose)
    fair(page)
    picture(page, "try-campaign")
    page.get_by_role("button", name="Make the campaign").click()
    expect(page.locator("#made")).to_contain_text("Campaign hello is made. Pairs to rate: 1.")
    assert campaigns.read(served.lab, "hello")[1][0].prompt == HELLO
    ask(page, "And then?")
    expect(a.locator(".answer")).to_have_count(2)
    page.get_by_label("Your message").fill("not sent yet")
    fair(page)
    picture(page, "try-light")

    page.reload()
    expect(a.locator(".answer")).to_have_count(2)
    expect(b.locator(".answer li")).to_have_text(["one", "two"])
    expect(a.get_by_role("button", name="Bad").first).to_have_attribute("aria-pressed", "true")
    expect(a.get_by_label("Why").first).to_have_value("it shouts")
    expect(b.get_by_role("button", name="This one is better")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_label("Your message")).to_have_value("not sent yet")
    expect(a.get_by_label("Model")).to_have_value("aac@prod")
    b.get_by_role("button", name="Edit").first.click()
    expect(b.get_by_label("What it should have said")).to_have_value("Hello, dear.")
    assert page.locator(".log script, .log img").count() == 0
    assert page.title() == "Try it"
    assert all(url.startswith((served.address, "data:", "blob:")) for url in asked)

    traffic = captured.load(served.lab.requests).only(captured.Which(key=trying.KEY))
    (bad,) = captured.rows(traffic, "kto").rows
    assert (bad["label"], bad["reasons"], bad["raters"]) == (False, ["it shouts"], ["portal:eve"])
    assert sorted(row["source"] for row in captured.rows(traffic, "pairs").rows) == ["edit", "preference"]
    (sent,) = captured.rows(traffic.only(captured.Which(sent=True)), "pool").rows
    assert (sent["version"], sent["prompt"]) == ("aac@v2", [{"role": "user", "content": "Say hello"}])
    assert {len(one.call.prompt) for one in traffic.exchanges.values()} == {1, 3}


def test_on_a_phone_in_the_dark_and_when_the_engine_dies(browser: Browser, served: Served) -> None:
    phone = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, color_scheme="dark")
    page = served.enter(phone, "max")
    a = page.locator(".side[data-side=a]")
    expect(a.locator("option[value=r-9]")).to_have_count(1)
    ask(page, "Say hello")
    a.get_by_role("button", name="Good").tap()
    expect(a.locator(".said")).to_have_text("Saved")
    a.get_by_role("button", name="Edit").tap()
    fair(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    picture(page, "try-phone-dark")
    page.get_by_role("button", name="New conversation").tap()
    expect(a.locator(".answer")).to_have_count(0)

    page.get_by_label("Your message").fill("Say much")
    page.get_by_role("button", name="Send").tap()
    expect(a.locator(".answer")).to_contain_text("word word")
    page.get_by_role("button", name="Stop").tap()
    expect(a.locator(".note.error")).to_have_text("Stopped. Not kept.")
    expect(page.get_by_label("Your message")).to_have_value("Say much")
    page.get_by_role("button", name="Send").tap()
    expect(a.locator(".answer").last).to_contain_text("word word")
    served.engine.kill()
    expect(a.locator(".note.error").last).to_contain_text("the engine stopped answering")
    page.get_by_role("button", name="Send").tap()
    expect(a.locator(".note.error").last).to_contain_text("no engine runs on this lab. start one: ratchet serve.")
    fair(page)
    picture(page, "try-phone-dark-error")
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("no engine runs on this lab")
    picture(page, "try-phone-dark-none")
    assert not [one for one in captured.load(served.lab.requests).exchanges.values() if one.call.left]
    phone.close()
