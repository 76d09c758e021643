"""A lead at the board, in a real browser: looks, decides by keyboard and by tap, pauses, writes a round, closes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from rounds_lab import make

from harness import campaign as campaigns
from harness.core.paths import Lab
from harness.people import People
from tests.browser import app
from tests.browser.app import SENTENCE, WAIT_MS

DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Lab]]:
    """(address, lab) of `ratchet app`, run in the folder that has the lab in it."""
    root = tmp_path_factory.mktemp("board")
    lab = make(root)
    people = People(lab)
    people.accept(people.invite("lea", ["lead"]), SENTENCE)
    with app.running(lab, cwd=root) as address:
        yield address, lab


def at_board(browser: Browser, address: str, screen: dict[str, object], search: str = "") -> Page:
    """Signed in, at the board, which says what it must."""
    expect.set_options(timeout=WAIT_MS)
    page = browser.new_context(**screen).new_page()  # type: ignore[arg-type]
    page.goto(f"{address}/sign-in")
    page.get_by_label("Name").fill("lea")
    page.get_by_label("Password").fill(SENTENCE)
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Board").wait_for()
    page.goto(f"{address}/board/{search}")
    return page


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def rulings(lab: Lab) -> dict[str, str]:
    return {pair: one.choice for pair, one in campaigns.rulings(campaigns.read_acts(lab, "style")).items()}


def test_a_lead_looks_decides_and_writes_the_next_round(browser: Browser, served: tuple[str, Lab]) -> None:
    address, lab = served
    page = at_board(browser, address, DESKTOP, "?campaign=style")
    expect(page.locator("#wins")).to_contain_text("subject 1")
    assert "aac@v1" not in page.inner_text("body")
    assert fits(page)
    app.picture(page, "board")
    page.get_by_role("tab", name="To decide").click()
    expect(page.locator("#undecided")).to_contain_text("4 pairs")
    app.picture(page, "decide")
    page.locator("#do-tie").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#note")).to_contain_text("Saved: p0, tie")
    expect(page.locator("#undecided")).to_contain_text("3 pairs")
    page.locator("#do-both_bad").click()
    expect(page.locator("#note")).to_contain_text("Saved: p1, both bad")
    assert rulings(lab) == {"p0": "tie", "p1": "both_bad"}
    assert page.title() == "Board"  # p1 had a script in it

    page.get_by_role("tab", name="Next round").click()
    page.locator("#do-preview").click()
    expect(page.locator("#yaml")).to_contain_text("init_adapter: aac@v1")
    expect(page.locator("#primary textarea, #primary input")).to_have_value("mini/exact")
    page.locator("#do-write").click()
    app.picture(page, "round")
    expect(page.locator("#round")).to_contain_text("ratchet run experiments/aac-round-1/")
    assert (lab.root.parent / "experiments" / "aac-round-1" / "pairs.jsonl").is_file()
    page.context.close()


def test_a_lead_pauses_and_closes_on_a_phone(browser: Browser, served: tuple[str, Lab]) -> None:
    address, _ = served
    page = at_board(browser, address, PHONE, "?campaign=style&tab=decide&pair=p2")
    expect(page.locator("#case")).to_contain_text("Say 2, please")
    assert fits(page)
    page.goto(f"{address}/board/?campaign=style&tab=steer")
    page.get_by_label("Rater", exact=True).click()
    page.get_by_role("option", name="bo").click()
    page.locator("#do-pause").tap()
    expect(page.locator("#note")).to_contain_text("bo is paused in style")
    page.get_by_label("Type the campaign's name").fill("style")
    page.locator("#do-close").tap()
    expect(page.locator("#note")).to_contain_text("closed; names are shown")
    assert fits(page)
    page.reload()
    page.get_by_role("tab", name="Board").tap()
    expect(page.locator("#wins")).to_contain_text("aac@v1")
    expect(page.locator("#raters")).to_contain_text("(paused)")
    assert fits(page)
    page.context.close()
