"""People sign in, in a real browser: `ratchet app` on one side, Debian's Chromium on the other. By keyboard."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from harness import campaign as campaigns
from harness.core.paths import Lab
from harness.core.rating import Answer, CampaignRecord
from harness.core.records import DataRef, Subject
from harness.people import People
from tests.browser import app
from tests.browser.app import SENTENCE, WAIT_MS

SUBJECTS = (
    Subject(kind="adapter", label="aac@v1", model="run-aaaaaaaaaaaa", base_sha256="0" * 64),
    Subject(kind="base", label="the-base", model="tiny-base", base_sha256="0" * 64),
)


def write_campaign(lab: Lab) -> None:
    items = [campaigns.PoolItem(f"i{n}", "c", [{"role": "user", "content": f"Say {n}"}]) for n in range(3)]
    a, b = (
        {one.item_id: Answer(subject=who.label, model=who.model, text=f"{text} {one.item_id}") for one in items}
        for who, text in zip(SUBJECTS, ("First answer", "Another answer"), strict=True)
    )
    pairs, refused = campaigns.make_pairs(items, a, b, SUBJECTS, 0)
    pool = DataRef(path="pool.jsonl", sha256="0" * 64, rows=3, format="prompt")
    record = CampaignRecord(
        campaign="style", name="aac", subjects=list(SUBJECTS), pool=pool, decoding={}, pairs=len(pairs),
        refused=refused, seed=0, created="2026-11-20T00:00:00+00:00",
    )  # fmt: skip
    campaigns.write(lab, record, pairs)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """(address, lab) of `ratchet app` in a process of its own."""
    lab = Lab(tmp_path_factory.mktemp("portal"))
    write_campaign(lab)
    people = People(lab)
    people.accept(people.invite("eve", ["lead"]), SENTENCE)
    people.accept(people.invite("mia", ["rater"]), SENTENCE)
    with app.running(lab) as address:
        yield address, lab.root


def sign_in(page: Page, address: str, name: str, password: str = SENTENCE) -> None:
    """By keyboard alone: the focus stands in the first field."""
    page.goto(f"{address}/sign-in")
    expect(page.get_by_label("Name")).to_be_focused()  # a moment after the page has loaded; keys before that are lost
    page.keyboard.type(name)
    page.keyboard.press("Tab")
    page.keyboard.type(password)
    page.keyboard.press("Enter")


def test_an_invited_rater_chooses_a_password_rates_and_signs_out(browser: Browser, served: tuple[str, Path]) -> None:
    address, root = served
    invited = subprocess.run(
        [sys.executable, "-m", "harness.cli", "people", "invite", "ada", "--role", "rater", "--at", address,
         "--lab", root],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    link = invited.stdout.split()[-1]
    phone = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = phone.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(link)
    page.get_by_label("Password", exact=True).fill(SENTENCE)
    page.get_by_label("The same again").fill("another sentence")
    page.get_by_role("button", name="Save and sign in").tap()
    expect(page.get_by_role("alert")).to_contain_text("differ")
    page.keyboard.type(SENTENCE)  # the focus is in the first field again
    page.get_by_label("The same again").fill(SENTENCE)
    page.get_by_role("button", name="Save and sign in").tap()
    expect(page.get_by_role("heading", name="Hello ada")).to_be_visible(timeout=WAIT_MS)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(page.get_by_role("link", name="Results")).to_have_count(0)
    expect(page.get_by_role("link", name="What your votes changed")).to_be_visible()
    page.get_by_role("link", name="style").tap()
    expect(page.get_by_text("First answer").first).to_be_visible(timeout=WAIT_MS)
    page.goto(address)
    page.get_by_role("button", name="Sign out").tap()
    expect(page.get_by_role("status")).to_contain_text("signed out")
    page.goto(f"{address}/rate/style/")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert all(url.startswith((address, "data:", "blob:")) for url in asked)
    page.goto(link)
    expect(page.get_by_role("heading")).to_contain_text("does not work")
    phone.close()


def test_a_lead_signs_in_by_keyboard_and_comes_to_where_they_wanted(
    context: BrowserContext, served: tuple[str, Path]
) -> None:
    address, _ = served
    page = context.new_page()
    page.goto(f"{address}/rate/style/")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type("eve")
    page.keyboard.press("Tab")
    page.keyboard.type("not the sentence")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("name or the password is wrong")
    expect(page.get_by_label("Name")).to_have_value("eve")
    page.keyboard.type(SENTENCE)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Not for you")).to_be_visible()  # rating is for raters
    page.goto(address)
    expect(page.get_by_text("Rate answers")).to_have_count(0)
    page.get_by_role("link", name="Results").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/results/"))
    assert next(cookie["httpOnly"] and cookie["sameSite"] == "Strict" for cookie in context.cookies())
    assert page.evaluate("document.cookie") == ""


def test_a_german_browser_is_spoken_to_in_german_from_the_first_page_on(
    browser: Browser, served: tuple[str, Path]
) -> None:
    address, _ = served
    phone = browser.new_context(viewport={"width": 390, "height": 844}, locale="de-DE", color_scheme="dark")
    page = phone.new_page()
    page.goto(f"{address}/sign-in")
    expect(page.get_by_label("Ihr Name")).to_be_focused()
    for password in ("not the sentence", SENTENCE):
        page.get_by_label("Ihr Name").fill("eve")
        page.get_by_label("Passwort").fill(password)
        app.picture(page, "sign-in-german")
        page.get_by_role("button", name="Anmelden").click()
        if password != SENTENCE:
            expect(page.get_by_role("alert")).to_contain_text("Name oder das Passwort ist falsch")
    expect(page.get_by_role("heading", name="Guten Tag, eve")).to_be_visible()
    app.picture(page, "home-german")
    page.get_by_role("link", name="Was Bewertungen bewirkt haben").click()
    expect(page.get_by_role("heading")).to_have_text("Was Bewertungen bewirkt haben")
    assert page.evaluate("[document.documentElement.lang, document.documentElement.scrollWidth]") == ["de", 390]
    phone.close()


def test_guessing_ends_in_a_wait(context: BrowserContext, served: tuple[str, Path]) -> None:
    address, _ = served
    page = context.new_page()
    for _ in range(5):
        sign_in(page, address, "mia", "a wrong sentence")
        expect(page.get_by_role("alert")).to_contain_text("is wrong")
    sign_in(page, address, "mia")
    expect(page.get_by_role("alert")).to_contain_text("try again in 1 minute")
