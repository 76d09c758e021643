"""`ratchet judge`: a campaign judged over HTTP, a sample for people, and what both may decide."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from harness import campaign as campaigns
from harness import human
from harness.core.rating import Answer, CampaignRecord, Vote
from harness.core.records import DataRef, EvalRecord, Subject
from harness.gate import judge as decide
from harness.pipeline import votes
from harness.spec import Gate, Primary
from serve.fake import Script

PAIRS = 240
AT = "2026-11-20T10:00:00+00:00"
OURS = Subject(kind="adapter", label="aac@v2", model="r-1", base_sha256="0" * 64, adapter_sha256="1" * 64)
BASE = Subject(kind="base", label="zero-shot", model="tiny", base_sha256="0" * 64)


class Careful(Script):
    """Prefers the answer that says 'better'; says nothing of use on questions with 'babble'."""

    def answer(self, model: str, prompt: str) -> str:
        first, second = re.findall(r"BEGIN \w+ ANSWER \w+\n(.*?)\nEND ", prompt, re.DOTALL)
        if "babble" in prompt:
            return "both are nice"
        place = "tie" if ("better" in first) == ("better" in second) else "first" if "better" in first else "second"
        return json.dumps({"evidence": "it says so", "winner": place})


@pytest.fixture
def rated(desk, serving):
    """A campaign in which answer a is better in three of four pairs, and a judge that sees it."""
    items = [campaigns.PoolItem(f"i{n}", f"i{n}", [{"role": "user", "content": f"question {n}"}]) for n in range(PAIRS)]

    def answers(subject: Subject, good) -> dict:
        texts = {n: f"better words {n}" if good(n) else f"other and longer words of no use {n}" for n in range(PAIRS)}
        return {f"i{n}": Answer(subject=subject.label, model=subject.model, text=text) for n, text in texts.items()}

    ours, theirs = answers(OURS, lambda n: n % 4 != 0), answers(BASE, lambda n: n % 4 == 0)
    pairs, refused = campaigns.make_pairs(items, ours, theirs, (OURS, BASE), seed=3)
    record = CampaignRecord(
        campaign="style", name="aac", subjects=[OURS, BASE], decoding={}, pairs=len(pairs), refused=refused, seed=3,
        pool=DataRef(path="pool.jsonl", sha256="0" * 64, rows=PAIRS, format="pool", split="pool"), created=AT,
    )  # fmt: skip
    campaigns.write(desk.lab, record, pairs)
    desk.write("judges.yaml", f"careful:\n  base_url: {serving(Careful())}\n  model: tiny\n")
    return desk


def vote(desk, campaign: str, count: int, choose, rater: str = "ann") -> None:
    """A rater's votes on the first `count` pairs; `choose(pair)` gives the side, a on the left."""
    log = campaigns.VoteLog(campaigns.folder(desk.lab, campaign))
    for pair in campaigns.read(desk.lab, campaign)[1][:count]:
        name = f"{campaign}/{pair.pair_id}/{rater}"
        log.add(
            Vote(assignment=name, campaign=campaign, pair_id=pair.pair_id, rater=rater, left="a", choice=choose(pair),
                 shown_at=AT, at=AT)
        )  # fmt: skip
    log.close()


def fair(pair) -> str:
    return "left" if "better" in pair.a.text else "right"


def verdict(desk, metric: str):
    """The gate's verdict with `metric` as the primary, against the base."""
    scores = votes.campaign_scores(desk.lab, [metric], [OURS, BASE], desk.root / "judges.yaml")
    ours, base = ({one.metric: one for one in scores if one.subject == subject} for subject in (OURS, BASE))
    return decide(Gate(primary=Primary(metric=metric, better_than=["base"])), ours, {"base": base})


def test_a_campaign_is_judged_once_and_goes_on(rated):
    ran = rated.ratchet("judge", "style", "--judge", "careful", "--format", "json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert (found["wins"], found["losses"], found["ties"], found["consistent"]) == (180, 60, 0, 1.0)
    assert found["win"]["estimate"] == 0.75
    assert found["longer"]["estimate"] == 0.0
    rated.write(
        "judges.yaml", (rated.root / "judges.yaml").read_text().replace("\n  model", "\n  concurrency: 1\n  model")
    )
    before = rated.files()
    text = rated.ratchet("judge", "campaign", "style", "--judge", "careful")
    assert "win rate 75.0%" in text.out
    assert "order consistency 100% of 240 pairs; nobody has voted" in text.out
    assert rated.files() == before


def test_agreement_with_people_stands_beside_the_number(rated):
    vote(rated, "style", 40, fair)
    ran = rated.ratchet("judge", "style", "--judge", "careful")
    assert "kappa with people 1.00 (1.00 to 1.00, 40 pairs)" in ran.out


@pytest.mark.usefixtures("without_pauses")
def test_what_is_wrong_is_said_in_one_line(rated):
    assert "has no judge 'careles'" in rated.ratchet("judge", "style", "--judge", "careles").error
    assert "no campaign 'stile'" in rated.ratchet("judge", "stile", "--judge", "careful").error
    rated.write("judges.yaml", "careful: {base_url: 'http://127.0.0.1:9', model: tiny}\n")
    assert (
        "judge careful at http://127.0.0.1:9: 4 of 4 requests failed"
        in rated.ratchet("judge", "style", "--judge", "careful").error
    )


def test_a_judge_that_scored_the_training_never_judges(rated):
    rated.spec(train__method={"type": "dpo"}, train__dataset="pairs.jsonl")
    row = {"prompt": "p", "chosen": "c", "rejected": "r", "judge": {"name": "careful", "model": "tiny"}}
    rated.write("pairs.jsonl", [row])
    made = rated.trained(rated.resolve().plan.runs[0])
    record, pairs = campaigns.read(rated.lab, "style")
    ours = OURS.model_copy(update={"adapter_sha256": made.sha256, "run_id": made.run_id})
    campaigns.write(rated.lab, record.model_copy(update={"campaign": "own", "subjects": [ours, BASE]}), pairs)
    error = rated.ratchet("judge", "own", "--judge", "careful").error
    assert f"careful must not judge campaign 'own': run {made.run_id} was trained on pairs.jsonl" in error


def test_people_decide(rated):
    vote(rated, "style", 120, fair)
    found = verdict(rated, "human/style/win")
    assert found.verdict == "SHIP", found.reason
    assert human.explain(found.rows[0].comparison.difference).startswith("preferred in 7")


def test_votes_that_trained_do_not_decide(rated):
    vote(rated, "style", 120, fair)
    pair = campaigns.read(rated.lab, "style")[1][0]
    rated.spec(train__method={"type": "dpo"}, train__dataset="pairs.jsonl")
    rated.write("pairs.jsonl", [{"prompt": "p", "chosen": "c", "rejected": "r", "pair_id": pair.pair_id}])
    made = rated.trained(rated.resolve().plan.runs[0])
    record, pairs = campaigns.read(rated.lab, "style")
    ours = OURS.model_copy(update={"adapter_sha256": made.sha256, "run_id": made.run_id})
    campaigns.write(rated.lab, record.model_copy(update={"campaign": "own", "subjects": [ours, BASE]}), pairs)
    assert (
        f"run {made.run_id} was trained on votes of this campaign"
        in votes.campaign_scores(rated.lab, ["human/own/win"], [BASE])[0].problem
    )


def test_a_judge_decides_only_through_people(rated):
    """Without judgements, without votes, with too few, with chosen ones: INVALID, and why. With a random 60: SHIP."""
    metric = "judge/style/careful"
    assert "careful has judged 0 of 240 pairs" in verdict(rated, metric).reason
    assert rated.ratchet("judge", "style", "--judge", "careful").code == 0
    found = verdict(rated, metric)
    assert found.verdict == "INVALID"
    assert found.reason.endswith("nobody has voted")
    drawn = rated.ratchet("judge", "sample", "style", "--pairs", 60, "--format", "json")
    assert len(json.loads(drawn.out)["pairs"]) == 60
    vote(rated, "style-sample", 40, fair)
    assert "people labelled 40 clusters; 50 are needed" in verdict(rated, metric).reason
    vote(rated, "style-sample", 60, fair)
    found = verdict(rated, metric)
    assert found.verdict == "SHIP", found.reason
    difference = found.rows[0].comparison.difference
    assert difference.method == "ppi"
    assert "60 items labelled by people (60 clusters), 180 by the judge alone" in difference.note
    assert difference.low < 0.5 < difference.high


def test_chosen_pairs_are_no_random_sample(rated):
    assert rated.ratchet("judge", "style", "--judge", "careful").code == 0
    pairs = campaigns.read(rated.lab, "style")[1]
    log = campaigns.VoteLog(campaigns.folder(rated.lab, "style"))
    for pair in pairs[100:200]:
        log.add(
            Vote(assignment=f"style/{pair.pair_id}/ann", campaign="style", pair_id=pair.pair_id, rater="ann", left="a",
                 choice="left", shown_at=AT, at=AT)
        )  # fmt: skip
    log.close()
    found = verdict(rated, "judge/style/careful")
    assert found.verdict == "INVALID"
    assert "not the first of the random order" in found.reason


def test_the_sample_is_drawn_once_and_never_trains(rated):
    first = rated.ratchet("judge", "sample", "style", "--pairs", 60)
    assert first.out == rated.ratchet("judge", "sample", "style", "--pairs", 60).out
    assert "exists with 60 pairs" in rated.ratchet("judge", "sample", "style", "--pairs", 70).error
    assert campaigns.read(rated.lab, "style-sample")[0].name != "aac"


def test_replies_that_cannot_be_read_stop_a_decision(rated):
    record, pairs = campaigns.read(rated.lab, "style")
    babble = [{"role": "user", "content": "babble"}]
    odd = [pair.model_copy(update={"prompt": babble}) if n < 6 else pair for n, pair in enumerate(pairs)]
    campaigns.write(rated.lab, record.model_copy(update={"campaign": "odd"}), odd)
    ran = rated.ratchet("judge", "odd", "--judge", "careful")
    assert "6 could not be read" in ran.out
    assert "not one JSON object (12 times)" in ran.out
    vote(rated, "odd", 100, fair)
    assert "6 of 240 verdicts of careful could not be read" in verdict(rated, "judge/odd/careful").reason


def test_two_evaluations_become_a_campaign(desk, serving):
    """Two endpoints answer an evalset with a judge's metric, end to end: the judge's metric decides nothing; the same
    answers, side by side in a campaign that people rated, do."""
    good = serving(Script(base="good", answers={"*": {f"item {n}": f"better answer {n}" for n in range(50)}}))
    poor = serving(Script(base="poor"))
    graded = serving(Graded())
    desk.write("judges.yaml", f"careful: {{base_url: '{graded}', model: tiny}}\n")
    options = {"judge": "careful", "rubric": "Does it say better?", "scale": [0, 1]}
    desk.evalset("mini", metrics={"exact": {"scorer": "exact"}, "nice": {"scorer": "judge", "options": options}})
    desk.spec(
        base_model=None,
        train=None,
        subjects=[{"endpoint": {"base_url": good, "model": "good"}}],
        baselines=[{"endpoint": {"base_url": poor, "model": "poor"}}],
        gate={"primary": {"metric": "mini/nice", "better_than": ["best_baseline"]}, "overrule": "a test"},
    )
    assert desk.ratchet("run", "spec.yaml").code == 0
    report = desk.ratchet("report", "spec.yaml", "--format", "json")
    assert json.loads(report.out)["verdict"] == "INVALID"
    assert "a judge made this metric, and no person's label corrects it" in report.out
    stored = [EvalRecord.read(path) for path in desk.lab.evals.glob("*/eval.json")]
    first_pass = {one.subject.model: one.eval_id for one in stored if not one.subject.repeat}
    evals = [first_pass["good"], first_pass["poor"]]
    desk.write("judges.yaml", f"careful: {{base_url: '{serving(Careful())}', model: tiny}}\n")
    more = ["--judge", "careful", "--name", "two", "--split", "release"]
    judged = desk.ratchet("judge", "evals", *evals, *more)
    assert judged.code == 0, judged.err
    assert "40 won, 0 lost, 0 ties" in judged.out
    assert desk.ratchet("judge", "evals", *evals, *more).out == judged.out

    vote(desk, "two", 40, fair)
    spec = yaml.safe_load((desk.root / "spec.yaml").read_text())
    spec["gate"]["primary"]["metric"] = "human/two/win"
    desk.write("people.yaml", yaml.safe_dump(spec))
    desk.write("judges.yaml", f"careful: {{base_url: '{graded}', model: tiny}}\n")
    assert desk.ratchet("run", "people.yaml").code == 0
    decided = desk.ratchet("report", "people.yaml", "--format", "json")
    assert json.loads(decided.out)["verdict"] == "SHIP"


class Graded(Script):
    """Grades 1 for answers that say 'better'."""

    def answer(self, model: str, prompt: str) -> str:
        said = re.findall(r"BEGIN ANSWER \w+\n(.*?)\nEND ", prompt, re.DOTALL)[0]
        return json.dumps({"evidence": "it says so", "score": int("better" in said)})
