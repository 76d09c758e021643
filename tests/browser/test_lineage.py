"""A lead asks which votes shaped an adapter, in a real browser: by the link, by keyboard, on a phone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from harness.core.paths import Lab
from harness.people import People
from harness.store import ingest
from tests.browser import app
from tests.unit.harness.store.made import fill

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}
Served = tuple[str, Lab, People]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("lineage")
    lab = Lab(root / "lab")
    fill(lab, root)
    ingest(lab)
    people = People(lab)
    people.accept(people.invite("lea", ["lead"]), app.SENTENCE)
    with app.running(lab, cwd=root) as address:
        yield address, lab, people


def at_lineage(context: BrowserContext, served: Served, search: str = "") -> Page:
    address, lab, people = served
    expect.set_options(timeout=app.WAIT_MS)
    page = app.enter(context, people, lab, "lea", f"{address}/lineage/{search}")
    page.locator("#answer").wait_for()
    return page


def test_the_answer_comes_first_and_another_run_is_asked_by_keyboard(context: BrowserContext, served: Served) -> None:
    page = at_lineage(context, served)
    expect(page.locator("#answer")).to_contain_text("1 vote by 1 rater on 1 pair shaped it")
    expect(page.locator("#answer")).to_contain_text("Yes, they touch its gate")
    expect(page.locator("#votes")).to_contain_text("ann")
    assert page.get_by_role("link", name="Link to this view").get_attribute("href") == "?run=r-1"
    page.get_by_label("Run, version or alias").fill("nobody@prod")
    page.keyboard.press("Enter")
    expect(page.locator(".note.error")).to_contain_text("nobody")
    page.get_by_label("Run, version or alias").fill("r-1")
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_contain_text("Yes, they touch its gate")


def test_a_phone_shows_all_of_it_and_keys_scroll_a_wide_table(browser: Browser, served: Served) -> None:
    context = browser.new_context(**PHONE)  # type: ignore[arg-type]
    page = at_lineage(context, served, "?run=r-1")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    wide = page.get_by_role("group", name="table: data")
    assert wide.evaluate("box => box.scrollWidth > box.clientWidth")
    wide.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.scrollLeft > 0")
    app.picture(page, "lineage-phone")
    context.close()
