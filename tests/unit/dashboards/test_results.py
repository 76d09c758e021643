"""The results page's questions, links and files, without a browser."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from results_lab import ATTACK, BROKEN, DEV, EVALS, PLAN, RELEASE, RUN, SEALED, make

from dashboards import results_app, results_data, results_view
from dashboards.links import Links
from dashboards.results_files import as_csv
from dashboards.view import ALL_PLANS, View, fit, read_query
from harness.core.errors import InputError
from harness.core.paths import Lab
from harness.core.records import AliasMove, RegistryRecord, Version
from harness.pipeline.failures import add_tag


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return make(tmp_path_factory.mktemp("lab"))[0]


# --- questions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [PLAN, None])
def test_the_leaderboard_has_every_subject_with_its_interval(lab: Lab, plan: str | None) -> None:
    """On dev the tuned one misses two of 24; the base has those two right, and every third."""
    board = results_data.leaderboard(lab, "mini/exact", "dev", plan)
    means = {line.subject: line.mean for line in board.lines}
    assert list(means) == ["tuned", "zero-shot"]
    assert means["tuned"].estimate == pytest.approx((DEV - 2) / DEV)
    assert means["zero-shot"].estimate == pytest.approx((DEV / 3 + 2) / DEV)
    assert all(mean.low is not None and mean.low < mean.estimate < mean.high for mean in means.values())
    assert (board.older, board.lines[0].run_id) == (0, RUN)


def test_items_are_those_of_open_splits_alone(lab: Lab) -> None:
    subjects = results_data.subjects(lab, PLAN, "mini/exact")
    assert subjects == EVALS
    items = results_data.items(lab, "mini/exact", "dev", subjects)
    assert {one.item_id for one in items.found if one.outcome == "broke"} == set(BROKEN)
    sealed = results_data.items(lab, "mini/exact", "release", subjects)
    assert (sealed.found, sealed.others) == ([], {})
    assert sealed.sealed == {label: {"scored": RELEASE} for label in EVALS}
    with pytest.raises(InputError, match="two subjects are needed"):
        results_data.items(lab, "mini/exact", "dev", {"tuned": EVALS["tuned"]})
    with pytest.raises(InputError, match="not a valid name"):
        results_data.items(lab, "mini/exact", "dev", {"tuned": "../../x", "zero-shot": EVALS["zero-shot"]})


def test_runs_side_by_side_show_what_differs() -> None:
    one = {"run_id": "r-1", "label": "a", "created": "t", "seed": 0, "adapter.r": 8}
    other = {"run_id": "r-2", "label": "b", "created": "t", "seed": 0, "adapter.r": 16, "method.beta": 0.1}
    assert results_data.side_by_side([one, other]) == [
        ("run_id", ["r-1", "r-2"]), ("label", ["a", "b"]), ("created", ["t", "t"]), ("adapter.r", [8, 16]),
        ("method.beta", [None, 0.1]),
    ]  # fmt: skip
    assert ("seed", [0, 0]) in results_data.side_by_side([one, other], only_different=False)


def test_a_runs_means_stand_below_its_settings(lab: Lab) -> None:
    rows = dict(results_data.run_means(lab, [RUN], "dev"))
    assert rows["mini/exact on dev"][0].startswith("0.92 [")


# --- views and links --------------------------------------------------------------------------------------------


def test_a_link_brings_its_view_back(lab: Lab) -> None:
    view = View(tab="items", plan=PLAN, metric="mini/length", split="tune", subjects=["tuned", "zero-shot"], place=3)
    address = results_view.links(view.query())
    search = address.partition("href='")[2].partition("'")[0].replace("&amp;", "&")
    assert read_query(search) == view


@pytest.mark.parametrize(
    "search", ["", "?plan=../../etc&metric=x&split=secret&page=-1&runs=a,b&tab=x&name=..", "?page=9" * 99]
)
def test_a_link_that_does_not_fit_shows_what_there_is(lab: Lab, search: str) -> None:
    view, choices = fit(lab, read_query(search))
    assert (view.plan, view.metric, view.split, view.runs) == (PLAN, "mini/exact", "dev", [RUN])
    assert view.subjects == ["tuned", "zero-shot"]
    assert view.place >= 1
    assert choices.plans[0] == (ALL_PLANS, ALL_PLANS)


def test_an_empty_lab_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no results yet"):
        fit(Lab(tmp_path), View())


def test_the_history_of_an_alias_says_what_each_change_was_and_its_verdict() -> None:
    """Made v1 (SHIP), v2 (forced), back to v1, then a weight: newest first."""
    same = {"run_id": RUN, "adapter_sha256": "a", "base_sha256": "b", "base_path": "b", "plan_id": PLAN, "created": "t"}
    versions = [
        Version(version=1, verdict="SHIP", **same), Version(version=2, verdict=None, forced_reason="demo", **same)
    ]  # fmt: skip
    steps = [(None, 1, "move"), (1, 2, "move"), (2, 1, "move"), (1, 1, "weights")]
    history = [
        AliasMove(seq=n, alias="prod", before=old, after=new, who="ann", why=f"why {n}", at=f"t{n}", kind=kind)
        for n, (old, new, kind) in enumerate(steps)
    ]
    record = RegistryRecord(name="demo", seq=4, versions=versions, aliases={"prod": 1}, history=history)
    rows = results_view.moves(record)
    assert [(row[2], row[4], row[5]) for row in rows] == [
        ("weights", "v1", "SHIP"), ("rollback", "v1", "SHIP"), ("promotion", "v2", "forced: demo"),
        ("promotion", "v1", "SHIP"),
    ]  # fmt: skip
    assert rows[0][6:] == ("ann", "why 3")
    assert "rollback" in results_view.history(record, {})


# --- text of others ---------------------------------------------------------------------------------------------


def test_answers_and_names_are_only_text(lab: Lab) -> None:
    items = results_data.items(lab, "mini/exact", "dev", EVALS)
    shown = results_view.cards(items, items.found)
    assert "<script" not in shown
    assert "<img" not in shown
    assert "&lt;script&gt;" in shown
    assert "{{x}}" not in shown
    assert results_view.table(("<b>",), [("<i>",)], "<u>").count("&lt;") == 4


def test_a_table_file_holds_no_formula() -> None:
    rows = list(csv.reader(io.StringIO(as_csv(("subject", "mean"), [("=1+1", -0.5), ("@x", None), ("fine", "a\nb")]))))
    assert rows == [["subject", "mean"], ["'=1+1", "-0.5"], ["'@x", ""], ["fine", "a\nb"]]


# --- the web app ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(lab: Lab) -> tuple[FastAPI, Links]:
    """Building the page takes seconds, so it is built once."""
    links = results_app.links_of(lab)
    return results_app.build_app(lab, links), links


@pytest.fixture
def client(served: tuple[FastAPI, Links]) -> TestClient:
    client = TestClient(served[0], follow_redirects=False)
    client.get("/login", params={"token": served[1].new(["ann"])["ann"]})
    return client


FILES = [f"/table/{name}.csv" for name in ("leaderboard", "runs", "items", "history")] + [
    f"/plot/forest.svg?plan={PLAN}", f"/plot/means.png?plan={PLAN}", f"/plot/curves.svg?runs={RUN}",
]  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/config", *FILES, f"/report/{PLAN}"])
def test_nothing_is_open_without_a_viewers_cookie(served: tuple[FastAPI, Links], path: str) -> None:
    assert TestClient(served[0]).get(path).status_code == 401


@pytest.mark.parametrize("path", FILES)
def test_files_come_behind_the_link(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert len(answer.content) > (40 if "history" in path else 100)
    assert SEALED.encode() not in answer.content


@pytest.mark.parametrize(
    "path",
    [
        "/table/x.csv",
        "/plot/x.svg",
        f"/plot/forest.pdf?plan={PLAN}",
        "/plot/forest.svg?plan=p-0",
        "/report/p-000000000009",
        "/report/..%2fregistry",
        f"/plot/tags.svg?plan={PLAN}",
    ],
)
def test_what_is_not_there_is_one_line(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.text.count("\n") == 0


def test_release_does_not_leave_as_a_file_either(client: TestClient) -> None:
    text = client.get("/table/items.csv?split=release&metric=mini/exact").text
    assert text.splitlines() == ["item,split,outcome,score of tuned,score of zero-shot,prompt,answer of tuned,"
                                 "answer of zero-shot,tags"]  # fmt: skip
    assert ATTACK[:2] in client.get("/table/items.csv?split=dev&metric=mini/exact").text


def test_the_page_of_a_plan_comes_once_it_is_written(lab: Lab, client: TestClient) -> None:
    path = lab.reports / f"{PLAN}.html"
    path.write_text("<!doctype html><title>x</title>", encoding="utf-8")
    answer = client.get(f"/report/{PLAN}")
    path.unlink()
    assert (answer.status_code, answer.headers["x-content-type-options"]) == (200, "nosniff")


def test_a_tag_is_drawn_once_it_is_there(tmp_path: Path) -> None:
    own, report = make(tmp_path / "lab")
    add_tag(own, EVALS["tuned"], "dev-3", ["wrong-tense"], "ann")
    found = results_data.items(own, "mini/exact", "dev", EVALS)
    assert [(one.tag, one.items, one.failures) for one in found.tags] == [("wrong-tense", 1, 2)]
    assert "wrong-tense" in results_view.tags(found)
    assert [one.tag for one in results_data.extras(own, report).tags] == ["wrong-tense"]
