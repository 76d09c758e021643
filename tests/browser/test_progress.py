"""Somebody watches a grid that runs, in a real browser: files appear as training writes them, and the page follows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from results_lab import EVALS, PLAN, RUN, make

from harness.core.paths import write_atomic
from harness.core.records import PlannedEval, PlannedEvals
from harness.people import People
from tests.browser import app
from tests.browser.app import SENTENCE, WAIT_MS, picture

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}


class Grid:
    """A finished lab, taken back to where its plan was just written; each call lets it come further."""

    def __init__(self, root: Path) -> None:
        self.lab = make(root)[0]
        self._later = {path: path.read_bytes() for path in self._made()}
        for path in self._later:
            path.unlink()

    def _made(self) -> list[Path]:
        lab = self.lab
        records = [lab.adapter_record(RUN), lab.runs / RUN / "metrics.jsonl", *lab.evals.glob("*/*"), lab.database]
        return [*records, lab.reports / f"{PLAN}.json"]

    def comes(self, *names: str) -> None:
        """Files of these names are there from now on."""
        for path, content in self._later.items():
            if path.name in names:
                write_atomic(path, content)

    def steps(self, count: int) -> None:
        rows = [{"step": step, "total": 20, "loss": 3.0 / step, "seconds": 30.0 * step} for step in range(1, count + 1)]
        path = self.lab.runs / RUN / "metrics.jsonl"
        write_atomic(path, "".join(json.dumps(one) + "\n" for one in rows).encode())

    def plans_evaluations(self) -> None:
        evals = [
            PlannedEval(eval_id=one, subject=label, run_id=None, evalset="mini", items=84)
            for label, one in EVALS.items()
        ]
        PlannedEvals(plan_id=PLAN, evals=evals).write(self.lab.planned_evals(PLAN))

    def items(self, label: str, count: int) -> None:
        """The first `count` items of an evaluation in its journal."""
        path = next(one for one in self._later if EVALS[label] in str(one) and one.name.startswith("items-"))
        write_atomic(path, b"".join(self._later[path].splitlines(keepends=True)[:count]))


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Grid:
    return Grid(tmp_path_factory.mktemp("grid"))


@pytest.fixture(scope="module")
def people(grid: Grid) -> People:
    people = People(grid.lab)
    people.accept(people.invite("lea", ["lead"]), SENTENCE)
    people.accept(people.invite("ada", ["rater"]), SENTENCE)
    return people


@pytest.fixture(scope="module")
def address(grid: Grid, people: People) -> Iterator[str]:
    with app.running(grid.lab) as found:
        yield found


def test_the_page_follows_a_grid_until_all_is_finished(
    browser: Browser, grid: Grid, people: People, address: str
) -> None:
    """On a phone in the dark. Nothing is stored at first, so that the page opens with what there is: progress."""
    expect.set_options(timeout=WAIT_MS)
    context = browser.new_context(**PHONE)  # type: ignore[arg-type]
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = app.enter(context, people, grid.lab, "lea", f"{address}/results/")
    rows, evals = page.locator("#live-runs tbody tr"), page.locator("#live-evals tbody tr")
    expect(rows).to_contain_text("missing")

    grid.steps(1)
    expect(rows).to_contain_text("1 of 20")
    assert page.locator("#live-curve").count() == 0
    grid.steps(10)
    expect(rows).to_contain_text("10 of 20")
    expect(rows).to_contain_text("about 5 min")  # ten steps at half a minute
    expect(page.locator("#live-curve")).to_contain_text("at step 10")
    page.locator("#live-curve polyline").wait_for(state="attached")

    grid.comes("adapter.json")
    expect(rows).to_contain_text("finished")
    grid.plans_evaluations()
    grid.items("tuned", 21)
    expect(evals.first).to_contain_text("21 of 84")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    picture(page, "progress-phone-dark")
    grid.comes("eval.json")
    expect(page.locator(".count")).to_contain_text("2 of 2 evaluations done")

    grid.comes(f"{PLAN}.json")
    expect(page.locator("#as-of")).to_contain_text("Everything is finished.")
    expect(page.locator(".count")).to_contain_text("reported: SHIP")
    before = len([url for url in asked if "/live/" in url])
    assert before >= 5
    page.wait_for_timeout(4000)  # longer than a page that went on would wait
    assert len([url for url in asked if "/live/" in url]) == before
    assert all(url.startswith((address, "data:", "blob:")) for url in asked)

    link = page.locator("a.here").get_attribute("href") or ""
    assert f"watch={PLAN}" in link
    assert "tab=progress" in link
    grid.comes("ratchet.duckdb")
    page.goto(f"{address}/results/{link}")
    expect(rows).to_contain_text("finished")
    page.get_by_role("link", name="Leaderboard").tap()
    expect(page.locator("#leaderboard tbody tr")).to_have_count(2)
    context.close()


def test_progress_is_for_leads_alone_and_a_withdrawn_one_hears_so(
    browser: Browser, grid: Grid, people: People, address: str
) -> None:
    context = browser.new_context()
    page = app.enter(context, people, grid.lab, "ada", address)
    assert page.request.get(f"{address}/results/live/{PLAN}").status == 403
    context.close()
    context = browser.new_context()
    assert context.request.get(f"{address}/results/live/{PLAN}", max_redirects=0).status in (303, 401)
    for path in (grid.lab.reports / f"{PLAN}.json", grid.lab.eval_record(EVALS["tuned"])):
        path.unlink()
    page = app.enter(context, people, grid.lab, "lea", f"{address}/results/?tab=progress&watch={PLAN}")
    expect(page.locator("#as-of")).to_contain_text("looks again")
    picture(page, "progress")
    people.set_roles("lea", ["rater"])
    expect(page.locator("#as-of")).to_contain_text("sign in")
    context.close()
