"""Files of Label Studio and Argilla: read as they write them, refused where they do not fit, written as they take them.

That a campaign comes back as it went is in test_importing.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from harness import audit
from harness import campaign as campaigns
from harness.core.paths import Lab
from harness.core.rating import Steer, Vote
from harness.pipeline.forms import others
from tests.unit.harness.campaign.conftest import TRAINED, WHEN, import_file
from tests.unit.harness.campaign.test_exporting import export

DATA = {"prompt": "Say it", "answer1": "one thing", "answer2": "something else", "cluster": TRAINED[0]}
ADDRESS = "ada@example.com"


def write(path: Path, records: Any) -> Path:
    lines = [json.dumps(one) for one in records] if path.suffix == ".jsonl" else [json.dumps(records)]
    path.write_text("\n".join(lines))
    return path


def votes(lab: Lab, campaign: str = "copy") -> list[Vote]:
    return campaigns.read_votes(lab, campaign)


# --- Label Studio -------------------------------------------------------------------------------------------------


def compared(side: str) -> dict[str, Any]:
    return {"id": "x", "from_name": "cmp", "to_name": "cmp", "type": "pairwise", "value": {"selected": side}}


def chosen(label: str, name: str = "more") -> dict[str, Any]:
    return {"id": "y", "from_name": name, "to_name": "prompt", "type": "choices", "value": {"choices": [label]}}


def annotated(*results: dict[str, Any], by: Any = 1, **more: Any) -> dict[str, Any]:
    told = {"id": 7, "completed_by": by, "created_at": "2026-11-20T10:00:00.5Z", "lead_time": 12.5}
    return told | {"result": list(results), "was_cancelled": False} | more


def task(*annotations: dict[str, Any], **data: Any) -> dict[str, Any]:
    return {"id": 3, "data": DATA | data, "meta": {}, "annotations": list(annotations), "predictions": []}


def test_tasks_and_annotations_become_pairs_and_votes(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    why = {"from_name": "reason", "to_name": "prompt", "type": "textarea", "value": {"text": ["no idea"]}}
    path = write(tmp_path / "project.json", [
        task(annotated(compared("left")), annotated(compared("right"), by={"id": 2, "email": ADDRESS}),
             annotated(compared("left"), by={"email": ADDRESS}, created_at="2026-11-20T12:00:00+02:00")),
        task(annotated(chosen("Tie")), annotated(chosen("Both are bad"), by=2),
             annotated(chosen("Answer B is better"), by=3), annotated(why, by=4, was_cancelled=True),
             answer1="another thing"),
        task(annotated(), annotated(compared("left"), chosen("tie"), by=2), answer1="a third one") | {"drafts": [{}]},
        task(answer1="a fourth one") | {"drafts": [12]},
    ])  # fmt: skip
    assert import_file(lab, path) == 0
    said = capsys.readouterr().out
    assert "4 pairs, 7 votes" in said
    for reason in ("1 without an answer", "1 contradicting themselves", "2 drafts"):
        assert reason in said
    pairs = {one.pair_id: one for one in campaigns.read(lab, "copy")[1]}
    found = [(pairs[one.pair_id].a.text, one.view, one.reason) for one in votes(lab)]
    assert sorted(found) == [
        ("another thing", "b", ""), ("another thing", "both_bad", ""), ("another thing", "skip", "no idea"),
        ("another thing", "tie", ""), ("one thing", "a", ""), ("one thing", "a", ""), ("one thing", "b", ""),
    ]  # fmt: skip
    assert {one.left for one in votes(lab)} == {"a"}
    assert {one.at for one in votes(lab)} == {"2026-11-20T10:00:00.500000+00:00", "2026-11-20T10:00:00+00:00"}
    assert {one.seconds for one in votes(lab)} == {12.5}
    by_rater: dict[str, int] = {}
    for one in votes(lab):
        assert one.rater.startswith("ls-")
        by_rater[one.rater] = by_rater.get(one.rater, 0) + 1
    assert sorted(by_rater.values()) == [1, 1, 1, 2, 2]  # a number and an object with it are the same person
    assert not [file for file in lab.root.rglob("*") if file.is_file() and ADDRESS.encode() in file.read_bytes()]


def test_keys_and_the_control_may_be_named(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = {"said": "Why?", "x": "for a reason", "y": "there is none", "cluster": TRAINED[1]}
    results = [compared("left"), compared("right") | {"from_name": "safer"}, chosen("fluent")]
    path = write(tmp_path / "project.json", [{"data": data, "annotations": [annotated(*results)]}])
    assert import_file(lab, path) == 1
    assert "task 1: no key of prompt is known (usual: prompt). say --keys PROMPT,LEFT,RIGHT; there are said, x, y" in (
        capsys.readouterr().err.replace("\n", " ")
    )
    assert import_file(lab, path, "copy", "--keys", "said,x,y") == 1
    assert "several controls that say a preference (cmp, safer). name one in --question" in (
        capsys.readouterr().err.replace("\n", " ")
    )
    assert import_file(lab, path, "copy", "--keys", "said,x,y", "--question", "safer") == 0
    assert [one.view for one in votes(lab)] == ["b"]


def test_what_label_studio_adds_to_an_exported_campaign_joins_it(
    rated: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As its server keeps things: `completed_by` and `created_at` of what was imported become its own."""
    out = tmp_path / "style.json"
    assert export(rated, "label-studio", out) == 0
    tasks = json.loads(out.read_text())
    for one in tasks:
        for annotation in one["annotations"]:
            annotation |= {"completed_by": 1, "created_at": "2026-11-27T00:00:00Z"}
        one["annotations"].append(annotated(compared("left"), by=5))
    before = len(votes(rated, "style"))
    assert import_file(rated, write(tmp_path / "back.json", tasks), "style") == 0
    assert "7 votes imported, 7 were there before" in capsys.readouterr().out
    new = votes(rated, "style")[-5:]
    assert len(votes(rated, "style")) == before + 5
    firsts = {one["meta"]["pair_id"]: one["meta"]["first"] for one in tasks}
    assert {one.rater for one in new} == {new[0].rater}
    assert all(one.view == firsts[one.pair_id] == one.left for one in new)


# --- Argilla ------------------------------------------------------------------------------------------------------

ANN, BO = "6c7cb2f1-0000-4000-8000-000000000001", "6c7cb2f1-0000-4000-8000-000000000002"


def record(*values: Any, status: str | None = "submitted", **more: Any) -> dict[str, Any]:
    fields = {"instruction": "Say it", "response1": "one thing", "response2": "something else"}
    said = [{"value": value, "user_id": user, **({"status": status} if status else {})}
            for value, user in zip(values, (ANN, BO), strict=False)]  # fmt: skip
    found = {"id": "r", "fields": fields, "metadata": {}, "suggestions": {}, "responses": {"which": said}}
    return found | {"vectors": {}, "status": "completed", "_server_id": None} | more


def flat(nested: dict[str, Any]) -> dict[str, Any]:
    """The same as `to_list(flatten=True)` writes it."""
    found = {key: nested[key] for key in ("id", "status")} | nested["fields"] | nested["metadata"]
    for name, said in nested["responses"].items():
        found |= {f"{name}.responses": [one["value"] for one in said]}
        found |= {f"{name}.responses.users": [one["user_id"] for one in said]}
        found |= {f"{name}.responses.status": [one.get("status") for one in said]}
    return found


@pytest.mark.parametrize(("shape", "ending"), [(dict, "json"), (flat, "json"), (flat, "jsonl")])
def test_records_and_submitted_responses_become_pairs_and_votes(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], shape: Any, ending: str
) -> None:
    ranks = [{"value": "response1", "rank": 2}, {"value": "response2", "rank": 1}]
    shared = [{"value": "response1", "rank": 1}, {"value": "response2", "rank": 1}]
    chat = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Say it"}]
    records = [
        record("response1", "Response 2 is better"), record("tie", "both_bad"), record(ranks, shared),
        record(["response2", "response1"], status=None), record("response1", status="draft"),
        record("response1", None, status="discarded"), record("response1", status=None) | {"status": "pending"},
    ]  # fmt: skip
    for number, one in enumerate(records):  # each another pair, for training
        one["fields"] |= {"response1": f"{number} things"}
        one["metadata"] = {"cluster": TRAINED[number]}
    records[1]["fields"]["instruction"] = chat
    assert import_file(lab, write(tmp_path / f"records.{ending}", [shape(one) for one in records])) == 0
    said = capsys.readouterr().out
    assert "7 pairs, 7 votes" in said
    for reason in ("1 drafts", "2 discarded", "1 not said to be submitted"):
        assert reason in said
    assert sorted(one.view for one in votes(lab)) == ["a", "b", "b", "b", "both_bad", "tie", "tie"]
    assert len({one.rater for one in votes(lab)}) == 2
    assert all(one.rater.startswith("ar-") and one.left == "a" for one in votes(lab))
    assert campaigns.read(lab, "copy")[1][1].prompt == chat


def test_several_questions_need_a_name(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = record("response2", metadata={"cluster": TRAINED[0]})
    one["responses"]["quality"] = [{"value": 4, "user_id": ANN, "status": "submitted"}]
    path = write(tmp_path / "records.json", [one])
    assert import_file(lab, path) == 1
    assert "responses to several questions (which, quality)" in capsys.readouterr().err.replace("\n", " ")
    assert import_file(lab, path, "copy", "--question", "quality") == 1
    assert "key 'responses.quality[0].value' is 4" in capsys.readouterr().err
    assert import_file(lab, path, "copy", "--question", "which") == 0
    assert [one.view for one in votes(lab)] == ["b"]


# --- what does not fit --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("records", "said"), [
    ({"data": DATA}, "is a dict, not a list of records"),
    ([], "has no rows"),
    ([task(), "x"], "record 2 is a str, not an object"),
    ([{"id": 1, "prompt": "x", "comparison": "left"}], "neither Label Studio's tasks"),
    ([task(), task(annotated(compared("left")), answer2=7)], "task 2: key 'data.answer2' must be text"),
    ([task(), {"data": {"prompt": "x"}}], "task 2: key 'data.answer1' is missing or empty"),
    ([task() | {"annotations": {}}], "task 1: key 'annotations' is a dict, not a list"),
    ([task(annotated(), 3)], "task 1: key 'annotations[1]' is a int, not an object"),  # type: ignore[arg-type]
    ([task(annotated() | {"result": "left"})], "task 1: key 'annotations[0].result' is a str, not a list"),
    ([task(annotated(compared("left"), created_at="today"))], "key 'annotations[0].created_at' is 'today'"),
    ([task(annotated(compared("left"), created_at="2026-11-20T10:00:00"))], "created_at' is '2026-11-20T10:00:00', "
     "without a zone"),
    ([task(annotated(compared("left"), lead_time=-1))], "key 'annotations[0].lead_time' is -1"),
    ([task(annotated(compared("left"), by=[1]))], "key 'annotations[0].completed_by' is a list"),
    ([task(annotated(chosen("A is worse")))], "task 1: key 'annotations[0].result' has the choices"),
    ([task(annotated(compared("left") | {"meta": {"ratchet": {"rater": ADDRESS}}}))], "which is no pseudonym"),
    ([record("response1"), record("response3")], "record 2: key 'responses.which[0].value' is 'response3'"),
    ([record("response1", status="sent")], "record 1: key 'responses.which[0].status' is 'sent'"),
    ([record("response1", responses=[])], "record 1: key 'responses' is a list, not an object"),
    ([record("response1") | {"metadata": {"first": "a", "votes": "{"}}], "key 'metadata.votes' is not what Ratchet"),
    ([flat(record("response1")) | {"which.responses.users": []}], "key 'which.responses' has not as many entries"),
])  # fmt: skip
def test_errors_name_record_and_key_and_leave_nothing(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], records: Any, said: str
) -> None:
    assert import_file(lab, write(tmp_path / "theirs.json", records)) == 1
    error = capsys.readouterr().err.replace("\n", " ")
    assert f"{said}" in error
    assert "theirs.json" in error
    assert not (lab.campaigns / "copy").exists()


@pytest.mark.parametrize(("text", "said"), [
    ("[" * 200_000, "no text or number"), ('[{"data": {"prompt": NaN}}]', "record 1 holds something"),
    ('[{"data": {"prompt": "\\ud800"}}]', "record 1 holds something"), ("[1,\n2", "theirs.json:2: not JSON"),
    (f"[{'9' * 5000}]", "no text or number"),
])  # fmt: skip
def test_json_that_nobody_wrote_in_earnest(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    path = tmp_path / "theirs.json"
    path.write_text(text)
    assert import_file(lab, path) == 1
    assert said in capsys.readouterr().err.replace("\n", " ")


def test_a_file_too_large_for_memory_is_refused(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(others, "MAX_BYTES", 2**20)
    path = tmp_path / "theirs.json"
    path.write_text(" " * (2**20 + 1))
    assert import_file(lab, path) == 1
    assert "is larger than 1 MiB" in capsys.readouterr().err


def test_hints_are_for_other_tools_alone(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "table.jsonl"
    path.write_text(json.dumps({"prompt": "x", "a": "y", "b": "z"}))
    assert import_file(lab, path, "copy", "--question", "which") == 1
    assert "--question is for files of Label Studio and Argilla" in capsys.readouterr().err
    assert import_file(lab, path, "copy", "--keys", "prompt,a") == 1
    assert "name three keys" in capsys.readouterr().err


# --- what goes out ------------------------------------------------------------------------------------------------


def test_what_goes_out_is_blind_on_record_and_has_its_settings_beside_it(rated: Lab, tmp_path: Path) -> None:
    assert export(rated, "label-studio", tmp_path / "ls.json") == 0
    assert export(rated, "argilla", tmp_path / "ar.json") == 0
    tasks, records = (json.loads((tmp_path / name).read_text()) for name in ("ls.json", "ar.json"))
    for kept in ([one["meta"] for one in tasks], [one["metadata"] for one in records]):
        assert {one[key] for one in kept for key in ("a_subject", "b_subject")} == {"subject 1", "subject 2"}
        firsts = {one["pair_id"]: one["first"] for one in kept}
        assert set(firsts.values()) == {"a", "b"}
        assert firsts["p0"] != firsts["p0-again"]
    config = ElementTree.parse(tmp_path / "ls.config.xml")
    controls = {one.get("name"): one.tag for one in config.iter() if one.get("toName")}
    said = {(one["from_name"], one["type"]) for t in tasks for a in t["annotations"] for one in a["result"]}
    assert {(name, str(tag).lower()) for name, tag in controls.items()} >= said
    assert {one.get("value") for one in config.iter() if (one.get("value") or "").startswith("$")} == {
        f"${key}" for key in tasks[0]["data"]
    }
    settings = json.loads((tmp_path / "ar.settings.json").read_text())
    assert [one["name"] for one in settings["fields"]] == list(records[0]["fields"])
    assert {one["name"] for one in settings["questions"]} >= {name for one in records for name in one["responses"]}
    assert {f"exported {tmp_path / name}" for name in ("ls.json", "ar.json")} == {
        f"{one.did} {one.what}" for one in audit.entries(rated)
    }
    acts = campaigns.ActLog(campaigns.folder(rated, "style"))
    acts.add(Steer(event_id="s", campaign="style", who="lead", at=WHEN, what="close"))
    acts.close()
    assert export(rated, "label-studio", tmp_path / "named.json") == 0
    assert json.loads((tmp_path / "named.json").read_text())[0]["meta"]["a_subject"] == "aac@v1"


def test_nothing_is_written_over_and_the_file_is_json(
    rated: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(rated, "argilla", tmp_path / "ar.jsonl") == 1
    assert "name the file .json" in capsys.readouterr().err
    (tmp_path / "ar.settings.json").write_text("mine")
    assert export(rated, "argilla", tmp_path / "ar.json") == 1
    assert (tmp_path / "ar.settings.json").read_text() == "mine"
    assert not (tmp_path / "ar.json").exists()
