"""Error analysis through the command line: what was fixed and broken, tags, the seal of `release`, exports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import burned
from harness.core.journal import Journal, read_all
from harness.data import inspect, read_json_lines
from harness.evalset import load
from harness.pipeline import contamination, failures
from harness.pipeline.check import check
from harness.pipeline.tag_events import folder
from serve.fake import Script

RELEASE = ("--split", "release")


@pytest.fixture
def lab(desk):
    """10 dev items: the adapter is right on 0, 3, 6, 9, the base on even numbers."""
    desk.evaluated(right=lambda subject, number: number % (3 if subject.kind == "adapter" else 2) == 0)
    return desk


def shown(desk, *arguments):
    ended = desk.ratchet("errors", "spec.yaml", *arguments, "--format", "json")
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def test_fixed_and_broken_items_side_by_side(lab):
    found = shown(lab)
    assert found["counts"] == {"fixed": 2, "broke": 3, "failed": 3, "solved": 2, "unscored": 0}
    assert [(one["item_id"], one["outcome"]) for one in found["items"]][:5] == [
        ("i2", "broke"), ("i3", "fixed"), ("i4", "broke"), ("i8", "broke"), ("i9", "fixed"),
    ]  # fmt: skip
    assert (found["candidate"], found["against"], found["splits"]) == ("sft", "zero-shot", ["tune", "dev"])
    first = found["items"][0]
    assert (first["prompt"], first["gold"], first["change"]) == ("item 2", ["answer 2"], -1.0)
    assert {one["split"] for one in found["items"]} == {"dev"}
    assert [one["item_id"] for one in shown(lab, "--only", "broke", "--limit", 2)["items"]] == ["i2", "i4"]


def test_people_read_it_as_text_and_as_markdown(lab):
    text = lab.ratchet("errors", "spec.yaml", "--limit", 2).out
    assert "sft against zero-shot on mini/exact, tune and dev" in text
    assert "2 fixed, 3 broke, 3 failed, 2 solved" in text
    assert "broke i2 (dev, -1.00)" in text
    assert "right: answer 2" in text
    assert "8 more items" in text
    page = lab.ratchet("errors", "show", "spec.yaml", "--format", "md").out
    assert "## broke: i2 (dev, -1.00)" in page
    assert "```text\nitem 2\n```" in page


def test_what_is_not_shown_is_counted_among_what_was_asked_for(lab):
    """10 items, of which 3 broke: with a filter, only those can be more."""
    said = "more items: --limit 0 shows all"
    assert f"1 {said} 3 " in lab.ratchet("errors", "spec.yaml", "--only", "broke", "--limit", 2).out
    assert said not in lab.ratchet("errors", "spec.yaml", "--only", "broke").out
    assert said not in lab.ratchet("errors", "spec.yaml", "--item", "i2").out
    assert lab.ratchet("tag", "spec.yaml", "i4", "tone").code == 0
    tagged = lab.ratchet("errors", "spec.yaml", "--tag", "tone")
    assert (tagged.out.count("broke i"), said in tagged.out) == (1, False)
    assert "no such items" in lab.ratchet("errors", "spec.yaml", "--tag", "none").out
    assert shown(lab, "--only", "broke", "--limit", 2)["selected"] == 3


def test_report_and_errors_of_a_plan_work_from_any_folder(lab, tmp_path_factory, monkeypatch):
    plan = lab.resolve().plan
    plan.model_copy(update={"folder": str(lab.root)}).write(lab.lab.plans / plan.plan_id / "plan.json")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    home = ("--lab", lab.lab.root)
    assert lab.ratchet("report", *home).code == lab.ratchet("report", plan.plan_id, *home).code == 11
    assert "broke i2" in lab.ratchet("errors", plan.plan_id, *home).out
    assert lab.ratchet("tag", plan.plan_id, "i4", "tone", *home).out == "i4: tagged tone\n"
    assert "tone" in lab.ratchet("tags", plan.plan_id, *home).out
    assert (Path.cwd(), list(elsewhere.iterdir())) == (elsewhere, [])
    assert "spec.yaml does not exist" in lab.ratchet("report", "spec.yaml", *home).error
    plan.write(lab.lab.plans / plan.plan_id / "plan.json")  # as plans were written before they knew their folder
    assert f"plan {plan.plan_id} was made of spec.yaml, which is not there" in lab.ratchet("report", *home).error


def test_names_that_do_not_exist_are_said_in_one_line(lab):
    run = lab.resolve().plan.runs[0].run_id
    for arguments, said in (
        (("--candidate", "r-000000000000"), f"candidate 'r-000000000000' is not in this plan. use one of {run}"),
        (("--against", "gpt"), "comparator 'gpt' is not in this plan. use one of"),
        (("--against", "incumbent"), "there is no incumbent: nothing was promoted to desk@prod"),
        (("--against", run), f"{run} is not evaluated on mini, or is the candidate itself"),
        (("--metric", "mini/bleu"), "metric mini/bleu is not measured by this spec. use one of mini/exact"),
        (("--metric", "exact"), "metric 'exact' is not of the form EVALSET/METRIC"),
        (("--metric", "other/exact"), "no candidate is evaluated on other yet"),
        (("--split", "train"), "split train is not known. use tune, dev, release"),
    ):
        assert said in lab.ratchet("errors", "spec.yaml", *arguments).error


def test_the_best_of_several_is_chosen_on_dev(desk):
    desk.spec(grid={"train.seed": [0, 1]}, baselines=["zero_shot", {"few_shot": 2}])
    good = {"seed=1": 4, "2-shot": 3, "seed=0": 2, "zero-shot": 1}
    desk.evaluated(right=lambda subject, number: number < good.get(subject.label, 0) or number >= 10)
    found = shown(desk, "--against", "best")
    assert (found["candidate"], found["against"]) == ("seed=1", "2-shot")
    assert found["counts"]["fixed"] == 1
    assert shown(desk, "--candidate", "seed=0", "--against", "seed=1")["counts"]["broke"] == 2


# --- release is sealed ---


def items(names):
    return [word for name in names for word in ("--item", name)]


def test_release_opens_with_a_reason_and_what_is_opened_burns(lab):
    sealed = lab.ratchet("errors", "spec.yaml", *RELEASE)
    assert "release is sealed" in sealed.error
    assert not (lab.lab.registry / "burned").exists()
    opened = ["i12", "i13", "i14"]
    found = shown(lab, *RELEASE, "--burn", "a customer asks about item 12", *items(opened))
    assert {one["item_id"] for one in found["items"]} == set(opened)
    (entry,) = burned.read(lab.lab)
    assert (set(entry.item_ids), entry.who, entry.why) == (set(opened), "tester", "a customer asks about item 12")
    evalset = load("mini")
    assert burned.opened(lab.lab, evalset.sha256) == set(opened)
    assert burned.opened(lab.lab, "0" * 64) == set()
    shown(lab, *RELEASE, "--burn", "again", *items([*opened, "i15"]))
    assert [len(one.item_ids) for one in burned.read(lab.lab)] == [3, 1]  # what was open already is no new entry


def test_release_items_cannot_be_picked_by_what_came_of_them(lab):
    """Burning just those that a candidate broke would lift it over any line."""
    for picked in (("--only", "broke"), ("--limit", 3), ("--tag", "verb")):
        refused = lab.ratchet("errors", "spec.yaml", *RELEASE, "--burn", "looking", *picked).error
        assert "cannot be picked by what came of them" in refused
    assert (
        "there is no item 'i99'" in lab.ratchet("errors", "spec.yaml", *RELEASE, "--burn", "x", *items(["i99"])).error
    )
    assert burned.read(lab.lab) == []


def test_burnt_items_decide_nothing_and_the_report_says_so(lab):
    before = json.loads(lab.ratchet("report", "spec.yaml", "--format", "json").out)
    opened = ["i10", "i11", "i12", "i13", "i14"]
    shown(lab, *RELEASE, "--burn", "looking", *items(opened))
    assert contamination.excluded(lab.resolve()) == {"mini": set(opened)}
    report = json.loads(lab.ratchet("report", "spec.yaml", "--format", "json").out)
    assert report["excluded"] == {"mini": 5}
    assert (before["look"], report["look"]) == (1, 2), "other items are other evidence"
    assert "items of mini that decide nothing: 5 of release were opened on record" in report["notes"]
    (row,) = [row for row in report["candidates"][0]["rows"] if row["comparator"] == "best_baseline"]
    assert (row["comparison"]["paired"], row["comparison"]["excluded"]) == (35, 5)


def test_an_item_stays_burnt_in_another_version_with_another_id_and_a_corrected_answer(lab):
    shown(lab, *RELEASE, "--burn", "looking", *items(["i12", "i13"]))
    rows = [
        {"id": f"i{n}", "split": "dev" if n < 10 else "release", "prompt": f"item {n}", "gold": [f"answer {n}"]}
        for n in range(50)
    ]
    rows[12]["gold"], rows[13]["id"] = ["a better answer"], "renamed"
    lab.evalset("mini", rows, version=2)
    assert contamination.excluded(lab.resolve()) == {"mini": {"i12", "renamed"}}
    lab.evalset("mini", [row | {"prompt": f"question {row['id']}"} for row in rows], version=3)
    assert contamination.excluded(lab.resolve()) == {}


def test_an_entry_of_before_burns_by_evalset_and_id(lab):
    """Entries that do not say what their items ask, as of before 2026-11-27."""
    entry = {"evalset": "mini", "evalset_version": "0", "evalset_sha256": "0" * 64, "item_ids": ["i12"]}
    with Journal(burned.folder(lab.lab), burned.STEM) as journal:
        journal.append(entry | {"who": "ann", "why": "looking", "at": "2026-11-20T10:00:00+00:00"})
        journal.append(entry | {"evalset": "other", "item_ids": ["i13"], "who": "a", "why": "b", "at": "c"})
        journal.append(entry | {"evalset": "lm_eval", "item_ids": ["t/1"], "who": "a", "why": "b", "at": "c"})
    assert contamination.excluded(lab.resolve()) == {"mini": {"i12"}}
    assert burned.burned(lab.lab, "lm_eval/t", {"t/1": "x", "t/2": "y"}) == {"t/1"}


def test_what_cannot_be_written_down_is_not_shown(lab, monkeypatch):
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "registry.burn")
    ended = lab.ratchet("errors", "spec.yaml", *RELEASE, "--burn", "looking")
    assert "the disk is full" in ended.error
    assert ended.out == ""
    assert burned.opened(lab.lab, load("mini").sha256) == set()


# --- tags ---


def test_tags_are_events_and_again_is_none(lab):
    assert lab.ratchet("tag", "spec.yaml", "i2", "verb", "tense").out == "i2: tagged verb, tense\n"
    assert lab.ratchet("tag", "spec.yaml", "i2", "verb").out == "no change\n"
    assert lab.ratchet("tag", "spec.yaml", "i2", "tense", "--remove").out == "i2: took away tense\n"
    assert lab.ratchet("tag", "spec.yaml", "i2", "tense", "--remove").out == "no change\n"
    events = [(one["tag"], one["removed"], one["who"]) for one in read_all(folder(lab.lab), "tags")]
    assert events == [("verb", False, "tester"), ("tense", False, "tester"), ("tense", True, "tester")]
    assert shown(lab, "--tag", "verb")["items"][0]["tags"] == ["verb"]
    record = next(lab.lab.evals.glob("e-*")).name
    assert lab.ratchet("tag", record, "i4", "verb").code == 0  # by an evaluation's id


def test_tags_that_cannot_be(lab, monkeypatch):
    assert "evalset mini has no item 'i99'" in lab.ratchet("tag", "spec.yaml", "i99", "verb").error
    assert "tag 'No Good' is not a valid name" in lab.ratchet("tag", "spec.yaml", "i2", "No Good").error
    assert "item 'i12' is of release, which is sealed" in lab.ratchet("tag", "spec.yaml", "i12", "verb").error
    assert (
        "nothing of this plan is evaluated on 'x'" in lab.ratchet("tag", "spec.yaml", "i2", "v", "--evalset", "x").error
    )
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "tag.event")
    assert "the disk is full" in lab.ratchet("tag", "spec.yaml", "i2", "verb").error


def test_counts_shares_and_ceilings(lab):
    """Six of ten dev items fail; two tagged: a third, and 2 / 10 = 0.2 to be had."""
    assert "no tags on these failures yet" in lab.ratchet("tags", "spec.yaml").out
    for name in ("i2", "i4", "i3"):  # i3 is right: no failure
        lab.ratchet("tag", "spec.yaml", name, "verb")
    (verb,) = json.loads(lab.ratchet("tags", "spec.yaml", "--format", "json").out)
    assert (verb["items"], verb["failures"], round(verb["share"], 3)) == (2, 6, 0.333)
    assert verb["ceiling"]["estimate"] == pytest.approx(0.2)
    assert verb["ceiling"]["low"] < 0.2 < verb["ceiling"]["high"]
    text = lab.ratchet("tags", "spec.yaml").out
    assert "33% of 6" in text
    assert "+0.200" in text
    assert "release is sealed" in lab.ratchet("tags", "spec.yaml", *RELEASE).error


def test_a_judge_s_suggestions_wait_for_a_person(lab):
    def judge(item):
        return [("verb", "it says so"), ("tense", "too")] if item.item_id in ("i2", "i3", "i4") else []

    found = failures.failures(lab.lab, "spec.yaml", failures.Question())
    assert failures.suggest_tags(lab.lab, found, judge, "judge-1") == 4  # i3 is right
    assert failures.suggest_tags(lab.lab, found, judge, "judge-1") == 0
    lab.ratchet("tag", "spec.yaml", "i2", "verb")
    lab.ratchet("tag", "spec.yaml", "i4", "verb", "--remove")
    assert failures.suggest_tags(lab.lab, found, judge, "judge-1") == 0  # a person said no
    items = {one["item_id"]: one for one in shown(lab)["items"]}
    assert (items["i2"]["tags"], items["i2"]["suggested"]) == (["verb"], ["tense"])
    assert (items["i4"]["tags"], items["i4"]["suggested"]) == ([], ["tense"])
    counts = {
        one.tag: (one.items, one.suggested) for one in failures.tag_counts(lab.lab, "spec.yaml", failures.Question())
    }
    assert counts == {"verb": (1, 0), "tense": (0, 2)}


class Tagger(Script):
    """A judge that finds fault with items 2 and 4, and babbles about the others."""

    def answer(self, model: str, prompt: str) -> str:
        if "item 2" in prompt or "item 4" in prompt:
            return json.dumps({"evidence": "the verb is missing", "tags": ["missing-verb"]})
        return "I would rather not say"


def test_a_judge_is_asked_about_every_failure(lab, serving):
    """Over HTTP: of 6 failures on dev (broke 2, 4, 8; failed 1, 5, 7) two get a tag and four a reply of no use."""
    lab.write("judges.yaml", f"careful:\n  base_url: {serving(Tagger())}\n  model: tiny\n")
    asked = ("errors", "suggest", "spec.yaml", "--judge", "careful", "--format", "json")
    assert json.loads(lab.ratchet(*asked).out) == {"tags": 2, "items": 6, "unread": 4}
    assert json.loads(lab.ratchet(*asked).out)["tags"] == 0, "again proposes nothing twice"
    items = {one["item_id"]: one for one in shown(lab)["items"]}
    assert (items["i2"]["tags"], items["i2"]["suggested"]) == ([], ["missing-verb"])
    assert "no judge" in lab.ratchet("errors", "suggest", "spec.yaml", "--judge", "carful").error


@pytest.mark.usefixtures("without_pauses")
def test_a_judge_that_is_down_is_one_line(lab):
    lab.write("judges.yaml", "careful:\n  base_url: http://127.0.0.1:9\n  model: tiny\n")
    ended = lab.ratchet("errors", "suggest", "spec.yaml", "--judge", "careful", "--format", "json")
    assert "judge careful did not answer" in ended.error


# --- failures on their way back ---


def tagged(desk, *names):
    for name in names:
        desk.ratchet("tag", "spec.yaml", name, "verb")


def export(desk, *arguments):
    return desk.ratchet("errors", "export", "spec.yaml", "--tag", "verb", "--to", *arguments)


def test_tagged_failures_become_an_evalset(lab):
    tagged(lab, "i1", "i2", "i4", "i5", "i7", "i8")
    ended = export(lab, "evalset", "verbs")
    assert ended.code == 0, ended.err
    made = load("verbs")
    assert len(made.items) == 6
    assert {item.prompt for item in made.items} == {f"item {n}" for n in (1, 2, 4, 5, 7, 8)}
    assert {item.split for item in made.items} == {"dev", "release"}
    assert sum(item.split == "dev" for item in made.items) == 2
    assert not {item.id for item in made.items} & {f"i{n}" for n in range(50)}
    lineage = made.items[0].other("lineage")
    assert (lineage["evalset"], lineage["tag"], lineage["sha256"]) == ("mini@1", "verb", load("mini").sha256)
    assert "exists" in export(lab, "evalset", "verbs").error
    lab.spec(evaluate__evalsets=["mini", "verbs"])
    assert not check(lab.lab, Path("spec.yaml")).errors


def test_tagged_failures_become_training_data_that_is_left_out_of_the_next_verdict(lab):
    tagged(lab, "i1", "i2")
    assert export(lab, "data", "verbs.jsonl").code == 0
    rows = [row for _, row in read_json_lines(Path("verbs.jsonl"))]
    assert [(row["prompt"], row["completion"], row["cluster"]) for row in rows] == [
        ("item 1", "answer 1", "i1"),
        ("item 2", "answer 2", "i2"),
    ]
    assert rows[0]["lineage"]["item_id"] == "i1"
    assert inspect(Path("verbs.jsonl")).format == "prompt_completion"
    assert "verbs.jsonl exists already" in export(lab, "data", "verbs.jsonl").error
    lab.spec(train__dataset=["train.jsonl", "verbs.jsonl"])
    assert contamination.excluded(lab.resolve()) == {"mini": {"i1", "i2"}}


def test_exports_that_cannot_be(lab):
    assert "no item of mini@1 is tagged 'verb'. its tags: none" in export(lab, "data", "x.jsonl").error
    tagged(lab, "i1")
    assert export(lab, "folder", "x").code == 2
    assert "x.csv is no .jsonl file" in export(lab, "data", "x.csv").error
    shown(lab, *RELEASE, "--burn", "looking")
    tagged(lab, "i12")
    for where in (("data", "x.jsonl"), ("evalset", "x")):
        refused = export(lab, *where).error
        assert "1 of the 2 items tagged 'verb' are of release (first 'i12'). release is never exported" in refused
    assert not Path("x.jsonl").exists()
    assert not Path("evalsets/x").exists()
