"""Somebody who looks at results, in a real browser: `ratchet dashboard` on one side, Chromium on the other."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from results_lab import ATTACK, BROKEN, PLAN, SEALED, make

from harness.core.paths import Lab
from harness.pipeline.tag_events import tags_of

WAIT_MS = 30_000


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return make(tmp_path_factory.mktemp("lab"))[0]


@pytest.fixture(scope="module")
def link(lab: Lab) -> Iterator[str]:
    """One server for the file, stopped by its own pid; the personal link that it prints."""
    command = [
        sys.executable,
        "-m",
        "harness.cli",
        "dashboard",
        "--lab",
        str(lab.root),
        "--port",
        "0",
        "--viewer",
        "ann",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = next((line for line in process.stdout if line.startswith("ann: ")), "")
    assert found, "the server ended before it printed its link"
    yield found.removeprefix("ann: ").strip()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)


@pytest.fixture
def page(context: BrowserContext, link: str) -> Page:
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    expect.set_options(timeout=WAIT_MS)
    page.goto(link)
    page.locator("#leaderboard").wait_for()
    return page


def root(link: str) -> str:
    return link.partition("/login")[0]


def see(page: Page, link: str, **filters: str) -> None:
    """Open a view by its link."""
    query = "&".join(f"{key}={value}" for key, value in filters.items())
    page.goto(f"{root(link)}/?{query}")


def test_the_leaderboard_shows_and_nothing_outside_is_asked_for(context: BrowserContext, link: str) -> None:
    seen: list[str] = []
    context.on("response", lambda answer: seen.append(answer.url))
    page = context.new_page()
    page.goto(link)
    rows = page.locator("#leaderboard tbody tr")
    expect(rows).to_have_count(2, timeout=WAIT_MS)
    expect(rows.first).to_contain_text("tuned")
    expect(rows.first).to_contain_text(re.compile(r"0\.92 \["))
    page.get_by_role("tab", name="Plots").click()
    picture = page.locator("#pictures img").first
    picture.wait_for(timeout=WAIT_MS)
    page.wait_for_function("document.querySelector('#pictures img').naturalWidth > 100", timeout=WAIT_MS)
    assert all(url.startswith(root(link)) for url in seen)
    assert page.evaluate("document.cookie") == ""


def test_the_items_can_be_narrowed_to_what_was_broken(page: Page) -> None:
    page.get_by_role("tab", name="Items").click()
    expect(page.locator("#outcome-counts")).to_contain_text("14 fixed, 2 broke")
    page.locator("#kind input").click()
    page.get_by_role("option", name="broke").click()
    expect(page.locator(".item")).to_have_count(2)
    assert sorted(page.locator(".item header b").all_inner_texts()) == sorted(BROKEN)


def test_a_link_opens_the_view_that_it_was_taken_from(page: Page, link: str) -> None:
    see(page, link, tab="items", plan=PLAN, metric="mini/exact", kind="broke", subjects="tuned,zero-shot")
    expect(page.locator(".item")).to_have_count(2)
    expect(page.locator("a.here")).to_have_attribute("href", re.compile("tab=items.*kind=broke"))
    again = page.locator("a.here").get_attribute("href") or ""
    page.goto(root(link) + again)
    expect(page.locator(".item")).to_have_count(2)


def test_a_script_in_an_answer_is_only_text(page: Page, link: str) -> None:
    see(page, link, tab="items", kind="broke")
    card = page.locator('[data-item="dev-4"]')
    expect(card.locator(".sides .text").nth(1)).to_have_text(ATTACK)
    assert page.locator(".item script, .item img").count() == 0
    assert page.title() == "Results"


def test_release_stays_sealed(context: BrowserContext, link: str) -> None:
    bodies: list[str] = []

    def keep(answer: object) -> None:
        kind = answer.headers.get("content-type", "")  # type: ignore[attr-defined]
        if "json" in kind or "html" in kind or "csv" in kind:
            bodies.append(answer.text())  # type: ignore[attr-defined]

    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(link)
    page.locator("#leaderboard").wait_for()  # a page that is left while it loads takes its answers' texts with it
    page.on("response", keep)
    see(page, link, tab="items", split="release")
    expect(page.locator("#sealed")).to_contain_text("60", timeout=WAIT_MS)
    expect(page.locator("#cards .note")).to_contain_text("--burn")
    assert page.locator(".item").count() == 0
    assert SEALED not in "\n".join([*bodies, page.content()])


def test_a_tag_added_by_hand_is_stored(lab: Lab, page: Page, link: str) -> None:
    see(page, link, tab="items", kind="broke")
    expect(page.locator(".item")).to_have_count(2)
    item = page.locator("#item input").input_value()
    page.locator("#tag input, #tag textarea").fill("Wrong tense")
    page.get_by_role("button", name="Add tag").click()
    expect(page.locator(f'[data-item="{item}"] .tag')).to_have_text("wrong-tense")
    expect(page.locator("#tags")).to_contain_text("1 of 2")
    assert tags_of(lab, "e" * 64) == {item: {"wrong-tense": True}}
    page.locator("#tag input, #tag textarea").fill("<script>")
    page.get_by_role("button", name="Add tag").click()
    expect(page.locator(".note.error")).to_contain_text("not a valid name")
    assert tags_of(lab, "e" * 64) == {item: {"wrong-tense": True}}


def test_without_a_link_there_is_nothing(context: BrowserContext, link: str) -> None:
    for path in ("/", "/config", "/gradio_api/info", "/table/items.csv", f"/report/{PLAN}"):
        assert context.request.get(root(link) + path).status == 401


def test_a_phone_shows_all_of_it(browser: Browser, link: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page = context.new_page()
    page.goto(link)
    page.locator("#leaderboard").wait_for(timeout=WAIT_MS)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    context.close()


def test_the_page_of_a_report_needs_nothing_else(tmp_path: Path, context: BrowserContext) -> None:
    """Opened as a file: no request but its own, no script, and no wider than a phone."""
    from harness.pipeline.page import gather
    from harness.report import as_html

    lab, report = make(tmp_path / "lab")
    path = tmp_path / "page.html"
    path.write_text(as_html(report, gather(lab, report, "demo@prod")), encoding="utf-8")
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(path.as_uri())
    assert asked == [path.as_uri()]
    expect(page.locator("h1")).to_have_text("tuned may ship")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.locator("svg").first.bounding_box() is not None
    assert "owned" not in page.title()
