"""A lab in which a round ends and the next one begins: a promoted adapter, an evalset, a rated campaign. No process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from results_lab import ATTACK, PLAN, RUN, trained

from harness import campaign as campaigns
from harness.core.paths import Lab
from harness.core.rating import Answer, CampaignRecord, Edit, Pair, Report, Vote
from harness.core.records import DataRef, PlanRecord, RegistryRecord, Subject, Version

WHEN = "2026-11-20T09:00:00+00:00"
SUBJECTS = [
    Subject(kind="adapter", label="aac@v1", model=RUN, base_sha256="0" * 64),
    Subject(kind="base", label="zero", model="tiny", base_sha256="0" * 64),
]
ITEM = "The heron waits at the river until the small fish come back to the warm stones near the bank"


def make(root: Path) -> Lab:
    """`root`/lab, and `root`/evalsets beside it, to be run in `root`.

    Forty pairs of campaign 'style': Ann and Bo differ on p0 to p3; p9 was edited, p7's prompt is an item of the
    evalset, and p1's answer is an attack. Bo reported p1 and suggested a prompt.
    """
    lab = Lab(root / "lab")
    _promoted(lab)
    folder = root / "evalsets" / "mini"
    folder.mkdir(parents=True)
    (folder / "evalset.yaml").write_text(
        "name: mini\nversion: 1\ndescription: x\nlicence: CC0-1.0\nmetrics:\n  exact: {scorer: exact}\n",
        encoding="utf-8",
    )
    lines = [{"id": "i0", "prompt": ITEM, "gold": ["yes"]}, {"id": "i1", "prompt": "What is new?", "gold": ["no"]}]
    (folder / "items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    rated_campaign(lab, "style", "train")
    _reports(lab)
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


def rated_campaign(lab: Lab, name: str, purpose: Any) -> None:
    pairs = [
        Pair(
            pair_id=f"p{n}", item_id=f"i{n}", cluster=f"c{n}",
            prompt=[{"role": "user", "content": ITEM if n == 7 else f"Say {n}, please"}],
            a=Answer(subject="aac@v1", model=RUN, text=f"good {n}"),
            b=Answer(subject="zero", model="t", text=f"bad {n} **bold** {ATTACK}" if n == 1 else f"bad {n}"),
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
        choice=choice, shown_at=WHEN, at=WHEN, seconds=8.0, edit=edit, tags=["too short"] if rater == "bo" else [],
    )  # fmt: skip


def _reports(lab: Lab) -> None:
    acts = campaigns.ActLog(campaigns.folder(lab, "style"))
    acts.add(
        Report(event_id="r1", campaign="style", who="bo", at=WHEN, what="unsafe", pair_id="p1", side="b", text=ATTACK)
    )
    acts.add(Report(event_id="r2", campaign="style", who="bo", at=WHEN, what="prompt", text="Say it in Welsh"))
    acts.close()
