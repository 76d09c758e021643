"""The one page of a report: what it says, what it never shows, and that text of others stays text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from results_lab import ATTACK, BROKEN, PLAN, SEALED, make

from harness.core.paths import Lab
from harness.pipeline.page import gather, items_of
from harness.report import Report, as_html, gallery
from harness.report.canvas import COLOURS, as_svg, spread
from harness.report.context_plots import smoothed, thinned
from harness.report.extras import Extras
from harness.report.words import guardrails, headline, unguarded, what_changes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lab, Report]:
    return make(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def page(made: tuple[Lab, Report]) -> str:
    lab, report = made
    return as_html(report, gather(lab, report, "demo@prod", "demo@v3"))


class Elements(HTMLParser):
    """Every element with its attributes, and all the text that a reader sees."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_first_screen_says_what_a_decision_needs(made, page):
    seen = " ".join(" ".join(Elements(page).text).split())
    assert "SHIP tuned may take the place of demo@v3" in seen
    assert "demo@prod would serve tuned; it serves demo@v3 now. The command is: ratchet promote r-0" in seen
    assert "On mini/exact it reaches 1.00 where the base (zero-shot) reaches 0.33: 66.7 percentage points" in seen
    assert "mini/length holds against the base (zero-shot): 4.00 characters better" in seen
    assert "Answering" in seen
    assert "98,304" in seen
    order = [page.index(f'id="{part}"') for part in ("change", "decides", "guardrails", "cost", "examples", "evidence")]
    assert order == sorted(order)


def test_the_statistics_are_all_there(made, page):
    seen = " ".join(" ".join(Elements(page).text).split())
    for part in ("degrees of freedom", "sign-flip p", "level", "Look 1 of 5 at this release split", PLAN, "e" * 64):
        assert part in seen
    assert "The winner's optimism" in seen


def test_nothing_in_it_runs_or_reaches_outside(page):
    found = Elements(page).found
    assert {tag for tag, _ in found} & {"script", "img", "link", "iframe", "object", "embed", "form"} == set()
    assert [name for _, attributes in found for name in attributes if name.startswith("on")] == []
    outside = [value for _, attributes in found for key, value in attributes.items() if key in ("src", "href")]
    assert outside == []  # SVG refers to its own parts with xlink:href, to '#…' alone
    assert set(re.findall(r'xlink:href="(.)', page)) <= {"#"}
    assert "@import" not in page
    assert len(page.encode()) < 1_500_000


def test_an_attack_in_an_answer_is_shown_as_text(page):
    assert ATTACK in "".join(Elements(page).text)


def test_release_is_never_shown_even_when_it_is_passed_in(made, page):
    assert SEALED not in page
    lab, report = made
    extras = gather(lab, report)
    leaked = extras.examples[0].model_copy(
        update={"split": "release", "candidate": extras.examples[0].candidate.model_copy(update={"answer": SEALED})}
    )
    assert SEALED not in as_html(report, extras.model_copy(update={"examples": [leaked]}))


def test_examples_are_of_dev_and_say_what_was_fixed_and_broken(made):
    lab, report = made
    comparison = report.candidates[0].rows[0].comparison
    items = items_of(lab, comparison)
    assert {item.split for item in items} == {"dev"}
    assert {item.item_id for item in items if item.outcome == "broke"} == set(BROKEN)


def test_the_same_report_gives_the_same_bytes(made, page):
    lab, report = made
    assert as_html(report, gather(lab, report, "demo@prod", "demo@v3")) == page


def test_a_report_of_an_older_ratchet_is_still_a_page(made):
    """Without the fields that came later, without extras, without a candidate that was chosen."""
    _, report = made
    old = report.model_dump(mode="json", exclude={"optimism", "recipes", "repeats", "look", "alpha", "excluded"})
    for candidate in old["candidates"]:
        candidate |= {"chosen": False}
        for row in candidate["rows"]:
            row.pop("level")
            row.pop("sign_flip", None)
    page = as_html(Report.model_validate(old))
    assert "tuned" in page
    assert "Look 1 of 5" in page
    bare = report.model_copy(
        update={"gate": None, "verdict": None, "candidates": [], "boards": [], "reason": "", "optimism": []}
    )
    assert "this plan has no gate" in as_html(bare)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("SHIP", "tuned may take the place of v3"),
        ("BLOCK", "tuned must not take the place of v3"),
        ("INCONCLUSIVE", "It is not known yet whether tuned may take the place of v3"),
        ("INVALID", "What was measured cannot decide whether tuned may take the place of v3"),
    ],
)
def test_a_headline_for_every_verdict(made, verdict, words):
    _, report = made
    assert headline(report.model_copy(update={"verdict": verdict}), Extras(serving="v3")) == words


def test_a_guardrail_that_fails_says_so_in_words(made):
    _, report = made
    rail = next(row for row in report.candidates[0].rows if row.role == "guardrail")
    for verdict, words in (
        ("BLOCK", "loses too much"), ("INCONCLUSIVE", "may or may not hold"), ("INVALID", "cannot be judged"),
        (None, "does not count here"),
    ):  # fmt: skip
        row = rail.model_copy(update={"verdict": verdict})
        candidate = report.candidates[0].model_copy(update={"rows": [row]})
        ((_, sentence),) = guardrails(report.model_copy(update={"candidates": [candidate]}))
        assert words in sentence


def test_a_loss_that_no_row_guards_is_said_all_the_same(made):
    """`mini/length` taken out of the gate, with a difference that lies wholly below zero."""
    _, report = made
    lost = [one for one in report.candidates[0].comparisons if one.metric == "mini/length"]
    worse = {"estimate": -4.0, "low": -5.0, "high": -3.0}
    lost = [one.model_copy(update={"difference": one.difference.model_copy(update=worse)}) for one in lost]
    candidate = report.candidates[0].model_copy(update={"comparisons": lost})
    mine = report.model_copy(update={"candidates": [candidate]})
    assert unguarded(mine) == []
    free = mine.model_copy(update={"gate": mine.gate.model_copy(update={"guardrails": []})})
    (sentence,) = unguarded(free)
    assert "mini/length, which the gate does not look at, against zero-shot: 4.00 characters worse" in sentence


def test_a_candidate_that_is_served_already_changes_nothing(made):
    _, report = made
    row = report.candidates[0].rows[0].model_copy(update={"comparator": "incumbent", "verdict": None})
    candidate = report.candidates[0].model_copy(update={"rows": [row]})
    mine = report.model_copy(update={"candidates": [candidate]})
    extras = Extras(alias="demo@prod", serving="demo@v3")
    assert headline(mine, extras) == "tuned is what is served now, and holds against all others"
    assert what_changes(mine, extras)[0] == "Nothing: demo@prod serves demo@v3, and that is tuned."


# --- plots ------------------------------------------------------------------------------------------------------


def test_every_plot_has_its_labels_as_text_and_its_colours_as_properties(made):
    lab, report = made
    drawn = gallery(report, gather(lab, report))
    assert set(drawn) == {"forest", "slopes", "means", "curves"}  # one run has nothing to weigh up, and no tag is given
    for name, figure in drawn.items():
        svg = as_svg(figure, name)
        assert svg.startswith("<svg")
        assert "<text" in svg
        assert f"var(--plot-0, {COLOURS[0].lower()})" in svg
        assert all(part.startswith(f"{name}-") for part in re.findall(r' id="([^"]*)"', svg))
    alone = as_svg(drawn["means"], "means", alone=True)
    assert "prefers-color-scheme: dark" in alone


def test_labels_that_would_overlap_are_spread_around_their_middle():
    """1.0 and 1.1 need a gap of 1: they share the middle 1.05, so they stand at 0.55 and 1.55; 9 is far and stays."""
    assert spread([1.1, 9.0, 1.0], 1.0) == pytest.approx([1.55, 9.0, 0.55])


def test_curves_are_smoothed_over_the_steps_before_and_keep_their_end():
    """4 % of 50 steps are 2: each point is the mean of itself and the one before."""
    assert smoothed([float(n) for n in range(50)])[:3] == pytest.approx([0.0, 0.5, 1.5])
    steps, values = thinned(list(range(1001)), [float(n) for n in range(1001)])
    assert (steps[-1], values[-1]) == (1000, 1000.0)
    assert len(steps) <= 202


# --- through the door -------------------------------------------------------------------------------------------


def test_ratchet_report_writes_the_page_beside_the_rest(desk):
    context = desk.evaluated()
    done = desk.ratchet("report", "spec.yaml")
    assert done.code == 0, done.err
    assert f"{context.plan.plan_id}.html" in done.out
    page = (desk.lab.reports / f"{context.plan.plan_id}.html").read_text(encoding="utf-8")
    assert "may ship" in page
    assert context.plan.plan_id in page
