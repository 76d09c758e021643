"""`ratchet next` and its preview: the same round, looked at and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from results_lab import PLAN, RUN, trained

from harness import audit
from harness import campaign as campaigns
from harness.cli import app, one_line
from harness.core.paths import Lab
from harness.core.rating import Answer, CampaignRecord, Edit, Pair, Ruling, Vote
from harness.core.records import DataRef, PlanRecord, RegistryRecord, Subject, Version

WHEN = "2026-11-20T09:00:00+00:00"
SUBJECTS = [
    Subject(kind="adapter", label="aac@v1", model=RUN, base_sha256="0" * 64),
    Subject(kind="base", label="zero", model="tiny", base_sha256="0" * 64),
]
ITEM = "The heron waits at the river until the small fish come back to the warm stones near the bank"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A promoted adapter, an evalset, and a campaign of 40 pairs: two raters, who differ on p0 to p3; p9 was edited,
    and p7's prompt is an item of the evalset."""
    monkeypatch.chdir(tmp_path)
    lab = Lab(tmp_path / "lab")
    _promoted(lab)
    folder = tmp_path / "evalsets" / "mini"
    folder.mkdir(parents=True)
    (folder / "evalset.yaml").write_text(
        "name: mini\nversion: 1\ndescription: x\nlicence: CC0-1.0\nmetrics:\n  exact: {scorer: exact}\n",
        encoding="utf-8",
    )
    lines = [{"id": "i0", "prompt": ITEM, "gold": ["yes"]}, {"id": "i1", "prompt": "What is new?", "gold": ["no"]}]
    (folder / "items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    _campaign(lab, "style", "train")
    return lab


def _promoted(lab: Lab) -> None:
    job = trained(lab)
    spec = {"name": "aac", "base_model": "base", "train": {"dataset": "x.jsonl"}, "evaluate": {"evalsets": ["mini"]},
            "gate": {"primary": {"metric": "mini/exact", "better_than": ["base"]}}}  # fmt: skip
    plan = PlanRecord(plan_id=PLAN, name="aac", spec_path="aac.yaml", spec=spec, runs=[job], gate={}, created=WHEN)
    plan.write(lab.plans / PLAN / "plan.json")
    version = Version(
        version=1, run_id=RUN, adapter_sha256="a" * 64, base_sha256="b" * 64, base_path="base", verdict="SHIP",
        plan_id=PLAN, created=WHEN,
    )  # fmt: skip
    RegistryRecord(name="aac", seq=1, versions=[version], aliases={"prod": 1}, history=[]).write(
        lab.registry / "aac.json"
    )


def _campaign(lab: Lab, name: str, purpose: Any) -> None:
    pairs = [
        Pair(
            pair_id=f"p{n}", item_id=f"i{n}", cluster=f"c{n}",
            prompt=[{"role": "user", "content": ITEM if n == 7 else f"Say {n}, please"}],
            a=Answer(subject="aac@v1", model=RUN, text=f"good {n}"),
            b=Answer(subject="zero", model="t", text=f"bad {n}"),
        )
        for n in range(40)
    ]  # fmt: skip
    pool = DataRef(path="pool.jsonl", sha256="0" * 64, rows=40, format="pool")
    record = CampaignRecord(
        campaign=name, name="aac", purpose=purpose, subjects=SUBJECTS, pool=pool, decoding={}, pairs=40, refused={},
        seed=7, created=WHEN,
    )  # fmt: skip
    log = campaigns.VoteLog(campaigns.write(lab, record, pairs))
    for number in range(40):
        log.add(_vote(name, number, "ann", "left", Edit(side="a", text="best 9") if number == 9 else None))
        log.add(_vote(name, number, "bo", "right" if number < 4 else "left"))
    log.close()


def _vote(campaign: str, number: int, rater: str, choice: Any, edit: Edit | None = None) -> Vote:
    return Vote(
        assignment=f"{campaign}/p{number}/{rater}", campaign=campaign, pair_id=f"p{number}", rater=rater, left="a",
        choice=choice, shown_at=WHEN, at=WHEN, seconds=8.0, edit=edit,
    )  # fmt: skip


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
    _campaign(lab, "verdicts", "judge")
    seen = asked(lab, capsys, "--preview")
    assert (seen["campaigns"], seen["held"], seen["rows"]) == (["style"], ["verdicts"], 37)


def test_to_write_a_round_it_must_be_said_what_it_has_to_win(lab: Lab) -> None:
    with pytest.raises(Exception, match="--primary METRIC"):
        following(lab)
