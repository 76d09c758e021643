"""Records: the same in JSON as in Python, strict about their keys, and named by content."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from harness.core.errors import LabError
from harness.core.records import DataRef, Prompting, Record, Score, Subject, now

BASE, ADAPTER = "b" * 64, "a" * 64


def test_a_record_comes_back_as_it_was(tmp_path: Path):
    ref = DataRef(path="/ä b.jsonl", sha256=BASE, rows=3, format="preference")
    ref.write(tmp_path / "ref.json")
    assert DataRef.read(tmp_path / "ref.json") == ref


def test_a_record_does_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        Score(value=1.0).value = 2.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "key"), [({"new_field": 1}, "new_field"), ({"rows": "many"}, "rows"), ({"sha256": None}, "sha256")]
)
def test_what_does_not_fit_is_named_with_its_file(tmp_path: Path, change, key):
    whole = DataRef(path="x", sha256=BASE, rows=3, format="preference").model_dump()
    (tmp_path / "ref.json").write_text(json.dumps(whole | change))
    with pytest.raises(LabError, match=rf"ref\.json: {key}: "):
        DataRef.read(tmp_path / "ref.json")


def test_a_list_is_no_record(tmp_path: Path):
    (tmp_path / "ref.json").write_text("[]")
    with pytest.raises(LabError, match=r"ref\.json"):
        DataRef.read(tmp_path / "ref.json")


def test_every_record_refuses_unknown_fields():
    def below(kind: type[Record]) -> set[type[Record]]:
        return {kind}.union(*(below(child) for child in kind.__subclasses__()))

    kinds = below(Record)
    assert len(kinds) > 15
    assert all(kind.model_config["extra"] == "forbid" and kind.model_config["frozen"] for kind in kinds)


def subject(**changes: object) -> Subject:
    given = {"kind": "adapter", "label": "r=8", "model": "r-1", "base_sha256": BASE, "adapter_sha256": ADAPTER}
    return Subject.model_validate(given | changes)


def test_a_subject_is_what_changes_its_answers():
    same = [subject(), subject(label="other"), subject(model="aac@v1"), subject(run_id="r-2")]
    assert len({one.identity for one in same}) == 1
    shots = Prompting(kind="few_shot", shots=4, examples_sha256="c" * 64)
    others = [
        subject(),
        subject(kind="endpoint"),
        subject(base_sha256="d" * 64),
        subject(adapter_sha256="d" * 64),
        subject(adapter_sha256=None),
        subject(prompting=shots),
        subject(prompting=shots.model_copy(update={"examples_sha256": "e" * 64})),
    ]
    assert len({one.identity for one in others}) == len(others)


def test_now_is_utc():
    assert now().endswith("+00:00")
