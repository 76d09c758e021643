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
from harness.core.rating import Answer, CampaignRecord, Pair
from harness.core.records import DataRef, Subject

PAIRS = 14
KEYS = {"1": "left", "2": "right", "3": "tie", "4": "both_bad", "s": "skip"}
WAIT_MS = 30_000
# As `python -m dashboards.app`. A second press comes soon or late, as the machine is busy: here every pair that
# `look` does not date back was shown too shortly.
START = "import sys; from dashboards import app, desk; desk.MIN_LOOK_S = 600.0; sys.exit(app.main())"

SUBJECTS = (
    Subject(kind="adapter", label="aac@v1", model="run-aaaaaaaaaaaa", base_sha256="ab" * 32, run_id="run-aaaaaaaaaaaa"),
    Subject(kind="base", label="the-plain-base", model="tiny-base", base_sha256="ab" * 32),
)
SECRETS = [name for subject in SUBJECTS for name in (subject.label, subject.model, subject.base_sha256)]
ATTACK = "Water <script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> {{x}} ${alert(1)}"
SHAPED = "**Water**, [please](javascript:document.title='owned') ![x](https://example.org/pixel.png)"


def write_campaign(lab: Lab, name: str, texts: list[tuple[str, str]], practice: int = 0, prompt: str = "") -> None:
    def pairs(role: str, count: int, **more: str) -> list[Pair]:
        found = []
        for n, both in enumerate(texts[:count]):
            a, b = (
                Answer(subject=who.label, model=who.model, text=text) for who, text in zip(SUBJECTS, both, strict=True)
            )
            turns = [{"role": "user", "content": prompt or f"Say it: {{ want ; VERB }} {{ {n} ; NUMBER }}"}]
            one = Pair(pair_id=f"{role}{n}", item_id=f"i{n}", cluster="c", prompt=turns, a=a, b=b)
            found.append(one.model_copy(update={"role": role, **more}))
        return found

    pool = DataRef(path="pool.jsonl", sha256="0" * 64, rows=len(texts), format="prompt")
    record = CampaignRecord(
        campaign=name, name="aac", subjects=list(SUBJECTS), pool=pool, decoding={}, pairs=len(texts), refused={},
        seed=5, created="2026-11-20T00:00:00+00:00",
    )  # fmt: skip
    calibration = pairs("calibration", practice, expected="a", explanation="It is **kinder**.")
    campaigns.write(lab, record, pairs("main", len(texts)), calibration)


class Served:
    """The rating page of one campaign in a process of its own; stopped by its own pid."""

    def __init__(self, lab: Lab, campaign: str, raters: list[str], port: int = 0, **environment: str) -> None:
        named = [part for rater in raters for part in ("--rater", rater)]
        command = [
            sys.executable,
            "-c",
            START,
            "--lab",
            str(lab.root),
            "--campaign",
            campaign,
            "--port",
            str(port),
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
        self.port = int(self.root.rpartition(":")[2])

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

    def start(lab: Lab, campaign: str, port: int = 0, **environment: str) -> Served:
        servers.append(Served(lab, campaign, ["ann"], port, **environment))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def enter(context: BrowserContext, link: str) -> Page:
    """Open the page, and read the guidelines that it begins with."""
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(link)
    page.locator("#left .answer").wait_for()
    if page.locator("#dialog-guidelines[open]").count():
        page.keyboard.press("Enter")
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
    if key == "s":
        page.keyboard.press("2")  # the reason
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
    expect(page.locator(".over h2")).to_have_text("Thank you, ann")
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

    context.on("response", keep)
    page = enter(context, served.links["bo"])
    rate(page, "1", 1)
    page.wait_for_load_state("load")
    text = "\n".join([*bodies, page.content()])
    assert "I want" in text or "Could I" in text or "Water" in text
    assert [secret for secret in SECRETS if secret in text] == []
    assert not re.search(r'"left"\s*:\s*"[ab]"', text)


def test_a_rater_by_mouse_on_a_phone_in_german_with_attacks_everywhere(
    lab: Lab, serve: Callable[..., Served], browser: Browser
) -> None:
    """Practice, tags, a better answer, a reason to skip, a report, undo: all by tapping. No text of others runs."""
    write_campaign(lab, "attack", [(ATTACK, SHAPED), ("Yes.", "No thank you.")], practice=1, prompt=ATTACK)
    phone = browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, locale="de-DE", color_scheme="dark"
    )
    asked: list[str] = []
    phone.on("request", lambda request: asked.append(request.url))
    server = serve(lab, "attack")
    page = phone.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(server.links["ann"])
    page.get_by_role("button", name="Anfangen").tap()
    expect(page.locator("h1")).to_have_text("Übung 1 von 1")
    look(page)
    page.get_by_role("button", name="Links ist besser").tap()
    expect(page.locator(".why")).to_contain_text("It is kinder.", timeout=WAIT_MS)
    page.get_by_role("button", name="Weiter").tap()
    expect(page.locator("h1")).to_have_text("Paar 1")

    assert page.locator("#prompt .text").inner_text() == ATTACK
    shown = sorted(page.locator(f"#{side} .shaped").inner_text().strip() for side in ("left", "right"))
    assert shown == sorted([ATTACK, SHAPED.replace("**", "").replace("![x]", "!x ")])
    page.get_by_role("button", name="Unformatiert zeigen").tap()
    raw = sorted(page.locator(f"#{side} .raw").inner_text() for side in ("left", "right"))
    assert raw == sorted([ATTACK, SHAPED])
    assert page.locator("#desk :is(script, img, a, iframe)").count() == 0

    page.get_by_role("button", name="Stichwörter").tap()
    page.get_by_label("Zu lang").tap()
    page.get_by_label("Eigene Wörter").fill(ATTACK)
    page.get_by_role("button", name="Fertig").tap()
    expect(page.locator("#pending")).to_contain_text("<script>")
    page.get_by_role("button", name="Verbessern").tap()
    page.locator("#dialog-edit [value=right]").tap()
    page.get_by_label("Die bessere Antwort").fill("Viel besser.")
    page.get_by_role("button", name="Diesen Text nehmen").tap()
    page.get_by_role("button", name="Unsicheres melden").tap()
    page.get_by_label("Was ist daran unsicher?").fill("Es brennt.")
    page.get_by_role("button", name="Melden", exact=True).tap()
    expect(page.locator(".note.saved")).to_contain_text("Gemeldet", timeout=WAIT_MS)
    expect(page.locator("#pending")).to_contain_text("verbesserte Antwort (Rechts)")  # a report takes nothing away
    look(page)
    page.get_by_role("button", name="Rechts ist besser").tap()
    expect(page.locator("h1")).to_have_text("Paar 2", timeout=WAIT_MS)
    expect(page.locator("#pending")).to_have_text("")
    look(page)
    page.get_by_role("button", name="Auslassen").tap()
    page.get_by_role("button", name="In einer Sprache").tap()
    expect(page.locator(".over h2")).to_have_text("Danke, ann", timeout=WAIT_MS)
    page.get_by_role("button", name="Zurücknehmen").tap()
    expect(page.locator("h1")).to_have_text("Paar 2", timeout=WAIT_MS)
    look(page)
    page.get_by_role("button", name="Gleich gut").tap()
    expect(page.locator(".over h2")).to_be_visible(timeout=WAIT_MS)

    first, second = campaigns.read_votes(lab, "attack")
    assert first.edit is not None
    assert (first.choice, first.tags[0], first.edit.text) == ("right", "too long", "Viel besser.")
    assert (first.edit.side != first.left, second.choice, second.take) == (True, "tie", 1)
    acts = campaigns.read_acts(lab, "attack")
    assert [act.kind for act in acts] == ["calibrated", "report", "undo"]
    assert page.title() == "Antworten bewerten"
    assert page.evaluate("[document.documentElement.lang, document.documentElement.scrollWidth]") == ["de", 390]
    assert all(url.startswith((server.root, "data:", "blob:")) for url in asked)
    phone.close()


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


def test_nothing_is_called_saved_that_is_not(lab: Lab, serve: Callable[..., Served], context: BrowserContext) -> None:
    """A full disk, a killed server that comes back, a withdrawn link and a dead network, under one open page."""
    write_campaign(lab, "trouble", [(f"Yes {n}.", f"No thank you {n}.") for n in range(4)])
    full = serve(lab, "trouble", RATCHET_FULL_DISK_AT="vote.event")
    page = enter(context, full.links["ann"])
    shown = page.locator("#left .shaped").inner_text()
    look(page)
    page.keyboard.press("1")
    expect(page.locator(".note.error")).to_contain_text("Not saved", timeout=WAIT_MS)
    page.keyboard.press("e")
    page.get_by_label("The better answer").fill("Written before the server died.")
    page.keyboard.press("Escape")
    full.stop(signal.SIGKILL)
    look(page)
    page.keyboard.press("1")
    expect(page.locator("#waiting")).to_contain_text("Not saved", timeout=WAIT_MS)
    expect(page.locator(".note.saved")).to_have_count(0)
    assert campaigns.read_votes(lab, "trouble") == []

    again = serve(lab, "trouble", full.port)  # the page finds it by itself, and still has what was written
    expect(page.locator("#waiting")).to_contain_text("was not saved", timeout=WAIT_MS)
    assert page.locator("#left .shaped").inner_text() == shown
    page.keyboard.press("e")
    expect(page.get_by_label("The better answer")).to_have_value("Written before the server died.")
    page.get_by_role("button", name="Use this text").click()
    rate(page, "2", 1)
    expect(page.locator(".note.saved")).to_be_visible()

    raters = campaigns.folder(lab, "trouble") / "raters.json"
    kept = raters.read_bytes()
    raters.unlink()
    page.keyboard.press("2")
    expect(page.locator("#waiting")).to_contain_text("Not saved", timeout=WAIT_MS)
    expect(page.locator(".note.saved")).to_be_hidden()
    raters.write_bytes(kept)
    page.reload()
    page.locator("#left .answer").wait_for()
    rate(page, "1", 2)

    context.set_offline(True)
    expect(page.locator("#waiting")).to_contain_text("No network")
    page.keyboard.press("1")
    expect(page.locator("#waiting")).to_contain_text("Not saved", timeout=WAIT_MS)
    context.set_offline(False)
    page.reload()
    page.locator("#left .answer").wait_for()
    rate(page, "2", 3)
    again.stop(signal.SIGKILL)
    votes = campaigns.read_votes(lab, "trouble")
    assert [vote.choice for vote in votes] == ["right", "left", "right"]
    assert votes[0].edit is not None
    assert votes[0].edit.text == "Written before the server died."


def test_a_page_that_everybody_can_use(served: Served, browser: Browser) -> None:
    """What axe looks for, by measures of our own: names of controls, language, headings, focus order, contrast (4.5 to
    1, WCAG 2.2 AA). On a wide screen in light and on a narrow one in dark, the page and each of its dialogs."""
    for scheme, width in (("light", 1280), ("dark", 390)):
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 844})
        page = enter(context, served.links["bo"])
        left, right = page.locator("#left .answer").bounding_box(), page.locator("#right .answer").bounding_box()
        assert left is not None
        assert right is not None
        assert (right["y"] >= left["y"] + left["height"]) == (width == 390)  # one column, or two of the same size
        assert left["width"] == right["width"]
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate("document.documentElement.lang") == "en"
        assert page.locator("h1").count() == 1
        assert page.locator("main, nav[aria-label]").count() >= 2
        assert page.locator("#choose-both_bad").get_attribute("aria-keyshortcuts") == "4"
        _check(page, "", scheme)
        for key, name in zip("setgfp", ("skip", "edit", "tags", "guidelines", "report", "suggest"), strict=True):
            page.keyboard.press(key)
            expect(page.locator(f"#dialog-{name}")).to_be_visible()
            assert page.get_by_role("dialog").get_attribute("aria-labelledby") == f"title-{name}"
            _check(page, f"#dialog-{name} ", f"{name}, {scheme}")
            page.keyboard.press("Escape")
        reached = _tab_through(page)
        assert reached == page.evaluate(IN_SIGHT_ORDER)
        assert len(reached) >= 12
        context.close()


def _check(page: Page, within: str, where: str) -> None:
    found = json.loads(page.evaluate(AUDIT, within))
    assert found["texts"] >= 3, where
    assert (found["pale"], found["unnamed"], found["skipped"]) == ([], [], []), where


def _tab_through(page: Page) -> list[str]:
    """What the Tab key reaches, once round."""
    reached: list[str] = []
    page.evaluate("document.activeElement.blur()")
    for _ in range(30):
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.id || document.activeElement.dataset.tool || ''")
        if not name or name in reached:
            break
        reached.append(name)
    return reached


# The controls that are in sight, by rows from the top and then from the left.
IN_SIGHT_ORDER = """() => [...document.querySelectorAll("button, a[href], input, textarea, [tabindex='0']")]
  .filter((e) => !e.closest("dialog") && e.getClientRects().length && getComputedStyle(e).visibility !== "hidden")
  .map((e) => [e.id || e.dataset.tool || "", e.getBoundingClientRect(), Boolean(e.closest("nav"))])
  .sort((a, b) => a[2] - b[2] || Math.round((a[1].y - b[1].y) / 8) || a[1].x - b[1].x).map(([name]) => name)"""

# Every text in sight against its ground, every control's accessible name, and headings that skip a level.
AUDIT = """(within) => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const [r, g, b] = rgb(colour).slice(0, 3).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (e) => rgb(getComputedStyle(e).backgroundColor)[3] === 255
    ? getComputedStyle(e).backgroundColor : ground(e.parentElement);
  const seen = [...document.querySelectorAll(within + "*")].filter((e) => e.getClientRects().length
    && getComputedStyle(e).visibility !== "hidden" && (within || !e.closest("dialog")));
  const texts = seen.filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()));
  const pale = texts.map((e) => {
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
    return [e.tagName + "." + e.className + " " + e.textContent.trim().slice(0, 30), (a + 0.05) / (b + 0.05)];
  }).filter(([, ratio]) => ratio < 4.5);
  const named = (e) => (e.getAttribute("aria-label") || e.innerText
    || [...(e.labels ?? [])].map((l) => l.innerText).join("") || "").trim();
  const unnamed = seen.filter((e) => e.matches("button, a, input, textarea, select, [tabindex='0']") && !named(e))
    .map((e) => e.outerHTML.slice(0, 80));
  const levels = seen.filter((e) => /^H[1-6]$/.test(e.tagName) && !e.closest(".md")).map((e) => Number(e.tagName[1]));
  const skipped = levels.filter((level, n) => level > (n ? levels[n - 1] : within ? 1 : 0) + 1);
  return JSON.stringify({texts: texts.length, pale, unnamed, skipped});
}"""
