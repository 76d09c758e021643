"""`ratchet campaign export`: what comes out, what is held back, and that it is on record."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from harness import audit
from harness import campaign as campaigns
from harness.cli import app, one_line
from harness.core.paths import Lab
from harness.core.rating import Vote
from harness.data import inspect
from harness.pipeline.forms.csv_text import COLUMNS, as_csv, from_cell
from tests.unit.harness.campaign.conftest import make

WHEN = "2026-11-20T09:00:00+00:00"


def export(lab: Lab, form: str, out: Path, *more: str) -> int:
    arguments = ["campaign", "export", "style", "--as", form, "--out", str(out), "--lab", str(lab.root), *more]
    return one_line(lambda: app(arguments, standalone_mode=False))


@pytest.fixture
def rated(lab: Lab) -> Lab:
    """p0: two of two for a; p1: both bad; p2: a tie; p3: nobody."""
    make(lab, 4)
    log = campaigns.VoteLog(campaigns.folder(lab, "style"))
    for pair, rater, choice in (("p0", "ann", "left"), ("p0", "bo", "left"), ("p1", "ann", "both_bad"),
                                ("p2", "ann", "tie")):  # fmt: skip
        vote = {"assignment": f"style/{pair}/{rater}", "campaign": "style", "pair_id": pair, "rater": rater}
        log.add(Vote.model_validate(vote | {"left": "a", "choice": choice, "shown_at": WHEN, "at": WHEN}))
    log.close()
    return lab


@pytest.mark.parametrize(("form", "kind", "rows"), [
    ("trl-preference", "preference", 1), ("trl-kto", "labelled", 4), ("trl-sft", "prompt_completion", 1),
])  # fmt: skip
def test_training_files_have_lineage_and_a_card(rated: Lab, tmp_path: Path, form: str, kind: str, rows: int) -> None:
    out = tmp_path / "own.jsonl"
    assert export(rated, form, out) == 0
    found = inspect(out)
    assert (found.format, found.rows) == (kind, rows)
    first = json.loads(out.read_text().splitlines()[0])
    assert first["assignments"] == ["style/p0/ann", "style/p0/bo"]
    assert (first["campaign"], first["pair_id"], first["raters"]) == ("style", "p0", ["ann", "bo"])
    assert first["label_rule"].startswith("more than half")
    card = (tmp_path / "own.card.md").read_text()
    assert "4 by 2 raters" in card
    assert "1 unrated" in card
    assert [(one.did, one.counts) for one in audit.entries(rated)] == [("exported", {"rows": rows})]
    assert export(rated, form, out) == 1


def test_kto_rows_say_which_answers_were_wanted(rated: Lab, tmp_path: Path) -> None:
    out = tmp_path / "kto.jsonl"
    assert export(rated, "trl-kto", out) == 0
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["pair_id"], row["label"]) for row in found] == [
        ("p0", True), ("p0", False), ("p1", False), ("p1", False)
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_table_has_every_vote_and_every_pair_without_subjects_names(rated: Lab, tmp_path: Path, form: str) -> None:
    out = tmp_path / f"votes.{form}"
    assert export(rated, form, out) == 0
    text = out.read_text()
    rows = list(csv.DictReader(text.splitlines())) if form == "csv" else [json.loads(one) for one in text.splitlines()]
    assert [(row["pair_id"], row["rater"] or "", row["preferred"] or "") for row in rows] == [
        ("p0", "ann", "a"), ("p0", "bo", "a"), ("p1", "ann", "both_bad"), ("p2", "ann", "tie"), ("p3", "", "")
    ]  # fmt: skip
    assert {row["a_subject"] for row in rows} < {"subject 1", "subject 2"}


def test_personal_data_stays_unless_allowed(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(lab, 1)
    log = campaigns.VoteLog(campaigns.folder(lab, "style"))
    vote = {"assignment": "style/p0/ann", "campaign": "style", "pair_id": "p0", "rater": "ann", "left": "a"}
    said = {"choice": "skip", "reason": "ask ada@example.com", "shown_at": WHEN, "at": WHEN}
    log.add(Vote.model_validate(vote | said))
    log.close()
    out = tmp_path / "votes.jsonl"
    assert export(lab, "jsonl", out) == 1
    assert "1 email" in capsys.readouterr().err
    assert not out.exists()
    assert export(lab, "jsonl", out, "--allow-pii") == 0


def test_votes_for_judging_never_train(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(lab, 1, purpose="judge")
    assert export(lab, "trl-kto", tmp_path / "x.jsonl") == 1
    assert "nothing of it is trained on" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["=1+1", "'=1", "''-x", "'tis", "plain", "", "@a", "\tx"])
def test_no_formula_in_a_table_and_the_text_comes_back(text: str) -> None:
    (row,) = csv.DictReader(as_csv([dict.fromkeys(COLUMNS) | {"a": text}]).splitlines())
    assert not row["a"].startswith(("=", "@", "-", "+", "\t"))
    assert from_cell(row["a"]) == text
