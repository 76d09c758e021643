"""`ratchet campaign import`: what comes in is what went out, once, whole or not at all."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Literal

import pytest

from harness import campaign as campaigns
from harness.campaign.sampling import purpose_of
from harness.core.paths import Lab
from harness.core.rating import Steer
from harness.pipeline.board import campaign_board
from harness.pipeline.exporting import Form, export
from tests.unit.harness.campaign.conftest import TRAINED, WHEN
from tests.unit.harness.campaign.conftest import import_file as run

ROW = {"prompt": "Say it", "a": "one thing", "b": "something else", "cluster": TRAINED[0]}


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# --- there and back -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "ending"), [
    ("csv", "csv"), ("jsonl", "jsonl"), ("label-studio", "json"), ("argilla", "json"),
])  # fmt: skip
def test_a_table_comes_back_as_it_went(rated: Lab, tmp_path: Path, form: Form, ending: str) -> None:
    out = tmp_path / f"votes.{ending}"
    kind: Literal["csv", "jsonl"] = "csv" if form == "csv" else "jsonl"
    export(rated, "style", form, out, "lead")
    assert run(rated, out) == 0
    first, again = (tables(rated, tmp_path, name, kind) for name in ("style", "copy"))
    # names of the campaign and of what stands for it; subjects are blind again, under names of their own
    own = {"campaign", "assignment", "take", "a_subject", "b_subject", "origin"}
    assert [without(row, own) for row in again] == [without(row, own) for row in first]
    boards = [campaign_board(rated, name).board for name in ("style", "copy")]
    for one, other in zip(*(board.raters for board in boards), strict=True):
        assert one == other
    assert boards[0].alpha == boards[1].alpha
    assert boards[0].coverage == boards[1].coverage
    assert {row["origin"].split()[0] for row in again if row["rater"]} == {out.name}
    assert all(len(row["origin"].split()[1]) == 64 for row in again if row["rater"])


def tables(lab: Lab, place: Path, campaign: str, kind: Literal["csv", "jsonl"]) -> list[dict[str, Any]]:
    path = place / f"{campaign}-as-table.{kind}"
    export(lab, campaign, kind, path, "lead")
    return table(path)


def table(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    return [json.loads(line) for line in path.read_text().splitlines()]


def without(row: dict[str, Any], columns: set[str]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in columns}


def test_trl_rows_come_back_with_every_view(rated: Lab, tmp_path: Path) -> None:
    out, again = tmp_path / "dpo.jsonl", tmp_path / "again.jsonl"
    export(rated, "style", "trl-preference", out, "lead")
    assert run(rated, out) == 0
    export(rated, "copy", "trl-preference", again, "lead")
    kept = ("prompt", "chosen", "rejected", "cluster", "raters", "views", "votes")
    first, second = ([{key: row[key] for key in kept} for row in table(path)] for path in (out, again))
    assert first == second
    assert first


def test_the_same_file_again_adds_nothing(rated: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "votes.csv"
    export(rated, "style", "csv", out, "lead")
    assert run(rated, out) == 0
    assert "5 pairs, 7 votes imported" in capsys.readouterr().out
    before = sorted(path.name for path in campaigns.folder(rated, "copy").iterdir())
    assert run(rated, out) == 0
    assert "0 votes imported, 7 were there before" in capsys.readouterr().out
    assert sorted(path.name for path in campaigns.folder(rated, "copy").iterdir()) == before


def test_the_store_knows_where_a_vote_came_from(rated: Lab, tmp_path: Path) -> None:
    from harness import store

    out = tmp_path / "votes.csv"
    export(rated, "style", "csv", out, "lead")
    assert run(rated, out) == 0
    store.ingest(rated)
    _, rows = store.query(rated, "SELECT campaign, count(*), count(*) FILTER (origin LIKE 'votes.csv %') FROM votes "
                                 "GROUP BY campaign ORDER BY campaign")  # fmt: skip
    assert rows == [("copy", 7, 7), ("style", 7, 0)]


# --- votes into a campaign that is there --------------------------------------------------------------------------


def test_votes_of_others_join_a_campaign_once(rated: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, filled = tmp_path / "votes.jsonl", tmp_path / "filled.jsonl"
    export(rated, "style", "jsonl", out, "lead")
    rows = [row | ({} if row["rater"] else {"rater": "cy", "preferred": "b"}) for row in table(out)]
    lines(filled, rows)
    for added in (1, 0):
        assert run(rated, filled, "style") == 0
        assert f"{added} votes imported, {8 - added} were there before" in capsys.readouterr().out
    assert [(one.pair_id, one.view) for one in campaigns.read_votes(rated, "style") if one.rater == "cy"] == [
        ("p4", "b")
    ]
    handout = campaigns.open_handout(rated, "style")[0]
    assert handout.done("cy") == 1


@pytest.mark.parametrize(("change", "said"), [
    ({"pair_id": "p77"}, "column 'pair_id' is 'p77', which campaign 'style' does not have"),
    ({"a": "another text"}, "column 'a' is not what campaign 'style' shows for 'p4'"),
])  # fmt: skip
def test_a_file_that_does_not_fit_adds_nothing(
    rated: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str], said: str
) -> None:
    out, wrong = tmp_path / "votes.jsonl", tmp_path / "wrong.jsonl"
    export(rated, "style", "jsonl", out, "lead")
    rows = [row | ({} if row["pair_id"] != "p4" else {"rater": "cy", "preferred": "b"} | change) for row in table(out)]
    before = len(campaigns.read_votes(rated, "style"))
    assert run(rated, lines(wrong, rows), "style") == 1
    assert said in capsys.readouterr().err
    assert len(campaigns.read_votes(rated, "style")) == before


def test_a_closed_campaign_takes_no_votes(rated: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "votes.jsonl"
    export(rated, "style", "jsonl", out, "lead")
    acts = campaigns.ActLog(campaigns.folder(rated, "style"))
    acts.add(Steer(event_id="s", campaign="style", who="lead", at=WHEN, what="close"))
    acts.close()
    assert run(rated, out, "style") == 1
    assert "is closed" in capsys.readouterr().err


# --- other people's files -----------------------------------------------------------------------------------------


def test_what_is_not_worth_showing_or_not_for_training_is_counted(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judged = next(f"c{n}" for n in range(40) if purpose_of(f"c{n}") == "judge")
    other = ROW | {"b": "a third one", "cluster": judged, "preferred": "a"}
    rows = [ROW, ROW | {"b": "one  thing"}, ROW | {"a": "I am ChatGPT"}, other]
    assert run(lab, lines(tmp_path / "others.jsonl", rows), "copy") == 0
    said = capsys.readouterr().out
    assert "1 pairs, 0 votes" in said
    for reason in ("1 identical", "1 names itself", "1 other purpose", "1 votes on what was left out"):
        assert reason in said


def test_chosen_and_rejected_do_not_show_by_side_and_conversations_may_share_their_prompt(
    lab: Lab, tmp_path: Path
) -> None:
    def said(*texts: str) -> list[dict[str, str]]:
        return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]

    rows: list[dict[str, Any]] = [
        {"prompt": "Why?", "chosen": f"for reason {n}", "rejected": f"there is no {n}", "cluster": cluster}
        for n, cluster in enumerate(TRAINED[:20])
    ]
    rows.append({"chosen": said("Hi", "Hello you"), "rejected": said("Hi", "What now"), "cluster": TRAINED[0]})
    assert run(lab, lines(tmp_path / "trl.jsonl", rows), "copy", "--rater", "bo") == 0
    votes = campaigns.read_votes(lab, "copy")
    assert {one.rater for one in votes} == {"bo"}
    assert {one.view for one in votes} == {"a", "b"}
    pairs = {one.pair_id: one for one in campaigns.read(lab, "copy")[1]}
    for one in votes:
        chosen = pairs[one.pair_id].a if one.view == "a" else pairs[one.pair_id].b
        assert chosen.text.startswith(("for reason", "Hello"))
    assert any(pair.prompt == said("Hi") for pair in pairs.values())


@pytest.mark.parametrize(("rows", "said"), [
    ([ROW, ROW | {"preferred": "left"}], "2: column 'preferred' is 'left'. write one of a, b, tie, both_bad, skip."),
    ([ROW, ROW | {"rater": "Ada Lovelace", "preferred": "a"}], "2: column 'rater' has 'Ada Lovelace'"),
    ([ROW, ROW | {"rater": "ann"}], "2: column 'preferred' is missing or empty"),
    ([ROW, ROW | {"a": ""}], "2: column 'a' is missing or empty"),
    ([ROW, ROW | {"a": 7}], "2: column 'a' must be text or a list of turns"),
    ([ROW, ROW | {"preferred": "a", "at": "2026-11-20"}], "2: column 'at' is '2026-11-20', without a zone"),
    ([ROW, ROW | {"preferred": "a", "seconds": "fast"}], "2: column 'seconds' is 'fast'"),
    ([ROW, ROW | {"preferred": "a", "tags": "long"}], "2: column 'tags' is no list"),
    ([ROW | {"pair_id": "x"}, ROW | {"pair_id": "x", "b": "third"}],
     "2: column 'b' is not what line 1 has for the same pair (x)"),
    ([ROW | {"role": "gold"}], "1: column 'expected' is missing or empty"),
    ([ROW | {"role": "repeat", "repeat_of": "gone"}], "1: column 'repeat_of' is 'gone'"),
    ([{"prompt": "p", "completion": "c", "label": True}], "1: has single answers"),
    ([{"text": "p"}], "1: these columns are no pairs of answers"),
    ([{"chosen": "yes", "rejected": "no"}], "1: column 'prompt' is missing"),
])  # fmt: skip
def test_errors_name_line_and_column_and_leave_nothing(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[dict[str, Any]], said: str
) -> None:
    assert run(lab, lines(tmp_path / "others.jsonl", rows), "copy") == 1
    assert f"others.jsonl:{said}" in capsys.readouterr().err.replace("\n", " ")
    assert not (lab.campaigns / "copy").exists()


def test_what_a_stopped_import_left_does_not_count(rated: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "votes.csv"
    export(rated, "style", "csv", out, "lead")
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "campaign.record")
    assert run(rated, out) == 1
    monkeypatch.delenv("RATCHET_FULL_DISK_AT")
    rows = [row for row in table(out) if row["rater"] != "ann"]
    less = lines(tmp_path / "less.jsonl", [row | {"tags": [], "edit_side": None, "edit_text": None} for row in rows])
    assert run(rated, less) == 0
    assert {one.rater for one in campaigns.read_votes(rated, "copy")} == {"bo"}
