"""`ratchet next` and its preview: the same round, looked at and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rounds_lab import make, rated_campaign

from harness import audit
from harness import campaign as campaigns
from harness.cli import app, one_line
from harness.core.paths import Lab
from harness.core.rating import Ruling

WHEN = "2026-11-20T09:00:00+00:00"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.chdir(tmp_path)
    return make(tmp_path)


def rule(lab: Lab, pair_id: str, choice: Any, at: str = WHEN) -> None:
    acts = campaigns.ActLog(campaigns.folder(lab, "style"))
    acts.add(Ruling(event_id=f"{pair_id}/{at}", campaign="style", who="lea", at=at, pair_id=pair_id, choice=choice))
    acts.close()


def following(lab: Lab, *more: str) -> int:
    return one_line(lambda: app(["next", "aac", "--lab", str(lab.root), *more], standalone_mode=False))


def asked(lab: Lab, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    assert following(lab, *more, "--format", "json") == 0
    return dict(json.loads(capsys.readouterr().out))


def test_the_preview_is_what_is_written_then(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    rule(lab, "p0", "both_bad")
    rule(lab, "p0", "b", at="2026-11-20T10:00:00+00:00")  # the latest stands
    rule(lab, "p1", "tie")
    seen = asked(lab, capsys, "--preview")
    assert {name: count for name, count in seen["outcomes"].items() if count} == {"used": 37, "tie": 1, "conflict": 2}
    assert (seen["adjudicated"], seen["edited"], seen["rows"], seen["sft"]) == (2, 1, 38, 1)
    assert (seen["continues"], seen["primary"], seen["refused"]) == ("aac@v1", "mini/exact", "")
    assert not Path("experiments").exists()
    assert audit.entries(lab) == []

    made = asked(lab, capsys, "--primary", "mini/exact")
    assert made["files"] == seen["files"]
    assert Path(made["spec"]).read_text(encoding="utf-8") == seen["yaml"]
    assert "2 of them as a lead ruled" in seen["yaml"]
    rows = [json.loads(line) for line in Path(made["files"][0]).read_text(encoding="utf-8").splitlines()]
    assert len(rows) == seen["rows"]
    assert next(row["chosen"][0]["content"] for row in rows if row["pair_id"] == "p0") == "bad 0"
    assert json.loads(Path(made["files"][1]).read_text(encoding="utf-8"))["completion"][0]["content"] == "best 9"
    assert asked(lab, capsys, "--primary", "mini/exact")["files"] == made["files"]  # the same again
    assert asked(lab, capsys, "--preview", "--labels", "majority")["files"][0].startswith("experiments/aac-round-2/")


def test_labels_may_be_votes_alone(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    rule(lab, "p0", "b")
    seen = asked(lab, capsys, "--preview", "--labels", "majority")
    assert (seen["outcomes"]["conflict"], seen["adjudicated"]) == (4, 0)


def test_an_item_of_the_gate_that_was_rated_is_told(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert following(lab, "--preview") == 0
    said = capsys.readouterr().out
    assert "1 of 2 items of mini stand in the rows (1 release; first i0)" in said
    assert "in conflict" in said
    assert "would write experiments/aac-round-1/pairs.jsonl" in said
    assert "init_adapter: aac@v1" in said


def test_the_preview_says_why_nothing_would_be_written(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    (lab.registry / "aac.json").unlink()
    seen = asked(lab, capsys, "--preview")
    assert "aac" in seen["refused"]
    assert (seen["yaml"], seen["files"], seen["outcomes"]["used"]) == ("", [], 36)
    assert following(lab, "--primary", "mini/exact") == 1


def test_votes_for_judging_are_named_and_left_out(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    rated_campaign(lab, "verdicts", "judge")
    seen = asked(lab, capsys, "--preview")
    assert (seen["campaigns"], seen["held"], seen["rows"]) == (["style"], ["verdicts"], 37)


def test_to_write_a_round_it_must_be_said_what_it_has_to_win(lab: Lab) -> None:
    with pytest.raises(Exception, match="--primary METRIC"):
        following(lab)
