"""A rater at work, in a real browser: `python -m dashboards.app` on one side, Debian's Chromium on the other."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from harness import campaign as campaigns
from harness.core.journal import read_all
from harness.core.paths import Lab
from harness.core.rating import Answer, CampaignRecord
from harness.core.records import DataRef, Subject

PAIRS = 14
KEYS = {"1": "left", "2": "right", "3": "tie", "4": "both_bad", "s": "skip"}
WAIT_MS = 30_000

SUBJECTS = (
    Subject(kind="adapter", label="aac@v1", model="run-aaaaaaaaaaaa", base_sha256="ab" * 32, run_id="run-aaaaaaaaaaaa"),
    Subject(kind="base", label="the-plain-base", model="tiny-base", base_sha256="ab" * 32),
)
SECRETS = [name for subject in SUBJECTS for name in (subject.label, subject.model, subject.base_sha256)]
ATTACK = "Water <script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> {{x}} ${alert(1)}"


def write_campaign(lab: Lab, name: str, texts: list[tuple[str, str]]) -> None:
    items = [
        campaigns.PoolItem(f"i{n}", "c", [{"role": "user", "content": f"Say it: {{ want ; VERB }} {{ {n} ; NUMBER }}"}])
        for n in range(len(texts))
    ]
    a, b = (
        {f"i{n}": Answer(subject=who.label, model=who.model, text=both[side]) for n, both in enumerate(texts)}
        for side, who in enumerate(SUBJECTS)
    )
    pairs, refused = campaigns.make_pairs(items, a, b, SUBJECTS, seed=5)
    pool = DataRef(path="pool.jsonl", sha256="0" * 64, rows=len(items), format="prompt")
    record = CampaignRecord(
        campaign=name, name="aac", subjects=list(SUBJECTS), pool=pool, decoding={}, pairs=len(pairs),
        refused=refused, seed=5, created="2026-11-20T00:00:00+00:00",
    )  # fmt: skip
    campaigns.write(lab, record, pairs)


class Served:
    """The rating page of one campaign in a process of its own; stopped by its own pid."""

    def __init__(self, lab: Lab, campaign: str, raters: list[str], **environment: str) -> None:
        named = [part for rater in raters for part in ("--rater", rater)]
        command = [
            sys.executable,
            "-m",
            "dashboards.app",
            "--lab",
            str(lab.root),
            "--campaign",
            campaign,
            "--port",
            "0",
        ]
        self.process = subprocess.Popen(
            [*command, *named], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        assert self.process.stdout is not None
        self.links: dict[str, str] = {}
        for line in self.process.stdout:
            if found := re.fullmatch(r"(\S+): (http://\S+)\n", line):
                self.links[found[1]] = found[2]
            if len(self.links) == len(raters):
                break
        assert len(self.links) == len(raters), "the server ended before it printed its links"
        self.root = self.links[raters[0]].partition("/login")[0]

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    lab = Lab(tmp_path_factory.mktemp("lab"))
    texts = [(f"I want {n} of them.", f"Could I have {n}, please?") for n in range(PAIRS - 1)]
    write_campaign(lab, "style", [*texts, (ATTACK, "Water, please.")])
    return lab


@pytest.fixture(scope="module")
def served(lab: Lab) -> Iterator[Served]:
    server = Served(lab, "style", ["ann", "bo", "cy"])
    yield server
    server.stop()


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Start servers of a test's own; all are stopped, however the test ends."""
    servers: list[Served] = []

    def start(lab: Lab, campaign: str, **environment: str) -> Served:
        servers.append(Served(lab, campaign, ["ann"], **environment))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def enter(context: BrowserContext, link: str) -> Page:
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(link)
    page.locator("#left .answer").wait_for()
    return page


def ticket(page: Page) -> str:
    return page.locator("#ticket textarea").input_value()


def look(page: Page) -> None:
    """Spend as long on a pair as the server asks of a person; dated back, as tests do not wait."""
    held = ticket(page)
    page.locator("#ticket textarea").evaluate(
        """(box, text) => { box.value = text; box.dispatchEvent(new Event("input", {bubbles: true})); }""",
        re.sub(r"\|20\d\d", "|2020", held),
    )


def rate(page: Page, key: str, done: int) -> None:
    """Press a key and see the page say that this many are saved."""
    look(page)
    page.keyboard.press(key)
    expect(page.locator(".count")).to_contain_text(f"{done} saved", timeout=WAIT_MS)


def test_a_whole_campaign_by_keyboard(lab: Lab, served: Served, context: BrowserContext) -> None:
    """With a reload and a double press on the way: what the page called saved is in the journal, exactly once."""
    seen: list[str] = []
    context.on("response", lambda answer: seen.append(answer.url))
    page = enter(context, served.links["ann"])
    keys = [list(KEYS)[n % len(KEYS)] for n in range(PAIRS)]
    chosen: dict[str, str] = {}
    for n, key in enumerate(keys):
        if n == 4:
            before = ticket(page).partition("|")[0]
            page.reload()
            page.locator("#left .answer").wait_for()
            assert ticket(page).partition("|")[0] == before
        chosen[ticket(page).partition("|")[0]] = KEYS[key]
        rate(page, key, n + 1)
        if n == 6:  # the second press of a double press, on the pair that has just appeared
            page.keyboard.press(key)
            expect(page.locator("#note [data-at]")).to_contain_text("not counted", timeout=WAIT_MS)
            expect(page.locator(".count")).to_contain_text("7 saved")
        else:
            expect(page.locator(".note.saved")).to_have_text("Saved")
    expect(page.locator(".thanks h2")).to_have_text("Thank you, ann")
    expect(page.locator("#choices")).to_have_count(0)
    page.keyboard.press("1")  # nothing is left to vote on

    events = [event for event in read_all(campaigns.folder(lab, "style"), campaigns.VOTES) if event["rater"] == "ann"]
    assert len(events) == PAIRS
    assert {event["assignment"]: event["choice"] for event in events} == chosen
    assert {event["left"] for event in events} == {"a", "b"}
    assert {
        url.partition(
            "/",
        )[0]
        for url in seen
    } == {"http:"}
    assert all(url.startswith(served.root) for url in seen), "something outside was asked for"


def test_nothing_the_browser_gets_tells_who_answered(served: Served, context: BrowserContext) -> None:
    bodies: list[str] = []

    def keep(answer: object) -> None:
        kind = answer.headers.get("content-type", "")  # type: ignore[attr-defined]
        if "json" in kind or "html" in kind:
            bodies.append(answer.text())  # type: ignore[attr-defined]

    page = context.new_page()
    page.on("response", keep)
    page.goto(served.links["bo"])
    page.locator("#left .answer").wait_for(timeout=WAIT_MS)
    rate(page, "1", 1)
    page.wait_for_load_state("load")
    text = "\n".join([*bodies, page.content()])
    assert "I want" in text or "Could I" in text or "Water" in text
    assert [secret for secret in SECRETS if secret in text] == []
    assert not re.search(r'"left"\s*:\s*"[ab]"', text)


def test_script_in_an_answer_is_only_text(lab: Lab, serve: Callable[..., Served], context: BrowserContext) -> None:
    write_campaign(lab, "attack", [(ATTACK, "Water, please.")])
    page = enter(context, serve(lab, "attack").links["ann"])
    answers = [page.locator("#left .text").inner_text(), page.locator("#right .text").inner_text()]
    assert sorted(answers) == sorted([ATTACK, "Water, please."])
    assert page.locator("#answers script, #answers img").count() == 0
    assert page.title() == "Rate answers"


def test_without_a_link_there_is_nothing(served: Served, context: BrowserContext) -> None:
    for path in ("/", "/config", "/gradio_api/info"):
        assert context.request.get(served.root + path).status == 401
    page = context.new_page()
    answer = page.goto(served.root)
    assert answer is not None
    assert answer.status == 401
    expect(page.locator("h1")).to_have_text("This page needs your link")


def test_two_tabs_give_one_vote(lab: Lab, served: Served, context: BrowserContext) -> None:
    one, two = enter(context, served.links["cy"]), enter(context, served.links["cy"])
    assert ticket(one).partition("|")[0] == ticket(two).partition("|")[0]
    rate(one, "1", 1)
    look(two)
    two.keyboard.press("2")
    expect(two.locator("#note [data-at]")).to_contain_text("your first choice stands", timeout=WAIT_MS)
    choices = [vote.choice for vote in campaigns.read_votes(lab, "style") if vote.rater == "cy"]
    assert choices == ["left"]


def test_a_phone_shows_all_of_it_and_the_keyboard_reaches_every_choice(served: Served, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, color_scheme="dark")
    page = enter(context, served.links["bo"])
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    left, right = page.locator("#left .answer").bounding_box(), page.locator("#right .answer").bounding_box()
    assert left is not None
    assert right is not None
    assert right["y"] >= left["y"] + left["height"]  # stacked, as wide as each other
    assert right["width"] == left["width"] > 300
    reached = []
    for _ in range(7):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    order = ["choose-left", "choose-tie", "choose-both_bad", "choose-right", "choose-skip"]
    assert [name for name in reached if name] == order
    assert page.locator("#choose-both_bad").get_attribute("aria-keyshortcuts") == "4"
    context.close()


def test_a_full_disk_keeps_the_pair_and_a_killed_server_loses_nothing(
    lab: Lab, serve: Callable[..., Served], context: BrowserContext
) -> None:
    write_campaign(lab, "disk", [(f"Yes {n}.", f"No thank you {n}.") for n in range(3)])
    full = serve(lab, "disk", RATCHET_FULL_DISK_AT="vote.event")
    page = enter(context, full.links["ann"])
    shown = page.locator("#left .text").inner_text()
    look(page)
    page.keyboard.press("1")
    expect(page.locator(".note.error")).to_contain_text("Not saved", timeout=WAIT_MS)
    assert page.locator("#left .text").inner_text() == shown
    full.stop(signal.SIGKILL)
    assert campaigns.read_votes(lab, "disk") == []

    again = serve(lab, "disk")
    page = enter(context, again.links["ann"])
    assert page.locator("#left .text").inner_text() == shown
    rate(page, "2", 1)
    again.stop(signal.SIGKILL)
    assert [vote.choice for vote in campaigns.read_votes(lab, "disk")] == ["right"]


def test_saved_never_stands_where_nothing_was_saved(
    lab: Lab, serve: Callable[..., Served], context: BrowserContext
) -> None:
    """A link that is withdrawn, and a server that is gone, while the page is open."""
    write_campaign(lab, "gone", [(f"Yes {n}.", f"No thank you {n}.") for n in range(4)])
    server = serve(lab, "gone")
    page = enter(context, server.links["ann"])
    rate(page, "1", 1)
    expect(page.locator(".note.saved")).to_be_visible()
    raters = campaigns.folder(lab, "gone") / "raters.json"
    kept = raters.read_bytes()
    raters.unlink()
    page.keyboard.press("2")
    expect(page.locator("#waiting")).to_contain_text("Not saved", timeout=WAIT_MS)
    expect(page.locator(".note.saved")).to_be_hidden()
    raters.write_bytes(kept)
    rate(page, "2", 2)
    expect(page.locator("#waiting")).to_be_hidden()
    server.stop(signal.SIGKILL)
    page.keyboard.press("1")
    expect(page.locator("#waiting")).to_contain_text("Not saved", timeout=WAIT_MS)
    assert [vote.choice for vote in campaigns.read_votes(lab, "gone")] == ["left", "right"]


def test_text_stands_out_from_its_ground(served: Served, browser: Browser) -> None:
    """Contrast of each kind of text is at least 4.5 to 1 (WCAG 2.2 AA), computed as WCAG defines it, in both themes."""
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)
        page = enter(context, served.links["bo"])
        ratios = json.loads(page.evaluate(CONTRASTS))
        assert len(ratios) == len(TEXTS)
        assert {name: ratio for name, ratio in ratios.items() if ratio < 4.5} == {}, scheme
        context.close()


TEXTS = ["h1", ".count", "#prompt h2", "#prompt .text", ".answer h2", ".answer .text", "#choose-left", "#choose-tie",
         "#choose-skip", "#guidelines button", ".answer kbd"]  # fmt: skip
CONTRASTS = f"""() => {{
  const canvas = document.createElement("canvas").getContext("2d", {{willReadFrequently: true}});
  const rgb = (colour) => {{
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  }};
  const light = (colour) => {{
    const [r, g, b] = rgb(colour).slice(0, 3).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }};
  const ground = (e) => rgb(getComputedStyle(e).backgroundColor)[3] === 255
    ? getComputedStyle(e).backgroundColor : ground(e.parentElement);
  return JSON.stringify(Object.fromEntries({json.dumps(TEXTS)}.map((name) => {{
    const e = document.querySelector(name);
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
    return [name, (a + 0.05) / (b + 0.05)];
  }})));
}}"""
