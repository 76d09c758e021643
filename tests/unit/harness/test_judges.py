"""judges.yaml, and who must not judge what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import InputError
from harness.core.records import BaseRef, DataRef, Endpoint, RunJob, Subject
from harness.judges import Judge, conflicts, load_judge, load_judges

JUDGE = Judge(name="careful", base_url="http://127.0.0.1:9000/v1", model="org/large", weights_sha256="a" * 64)


def job(method: dict[str, Any] | None = None, data: list[Path] | None = None, **arguments: Any) -> RunJob:
    return RunJob(
        run_id="r-000000000001", label="r=8", base=BaseRef(source="base", path="/base", sha256="0" * 64),
        method=method or {"type": "sft"}, adapter={}, quantization="none", arguments=arguments, seed=0,
        data=[DataRef(path=str(path), sha256="0" * 64, rows=1, format="preference") for path in data or []],
    )  # fmt: skip


def test_judges_are_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "judges.yaml"
    path.write_text("careful:\n  base_url: http://127.0.0.1:9000/v1\n  model: large\n  temperature: 0.5\n")
    assert load_judges(path)["careful"].sampling == {"temperature": 0.5, "max_tokens": 512}
    with pytest.raises(InputError, match=r"no judge 'carful'\. it has careful"):
        load_judge("carful", path)
    path.write_text("careful:\n  base_url: http://127.0.0.1:9000/v1\n  modle: large\n")
    with pytest.raises(InputError, match=r"judges.yaml:\d: .*model"):
        load_judges(path)
    with pytest.raises(InputError, match="does not exist"):
        load_judges(tmp_path / "other.yaml")


def test_a_judges_key_does_not_stand_in_its_url(tmp_path: Path) -> None:
    path = tmp_path / "judges.yaml"
    path.write_text("careful: {base_url: 'http://ann:s3cret@host/v1', model: m}\n")
    with pytest.raises(InputError, match="api_key_env") as refused:
        load_judges(path)
    assert "s3cret" not in refused.value.one_line()


@pytest.mark.parametrize(
    "method",
    [
        {"type": "grpo", "reward_model": "org/large"},
        {"type": "grpo", "reward_model": "/models/large/"},
        {"type": "grpo", "reward_funcs": [{"endpoint": "http://127.0.0.1:9000"}]},
        {"type": "grpo", "reward_sha256": "a" * 64},
        {"type": "dpo", "labels": "judge:careful"},
    ],
)
def test_what_scored_a_reward_never_judges(method: dict[str, Any]) -> None:
    assert conflicts(JUDGE, [job(method)]) == ["run r-000000000001 was trained with org/large as its reward"]


def test_others_may_judge() -> None:
    others = {"type": "grpo", "reward_model": "org/small", "beta": 0.1, "reward_sha256": "b" * 64}
    assert conflicts(JUDGE, [job(others, learning_rate=1e-5), job()]) == []


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"judge": JUDGE.lineage}, True),
        ({"judge": "careful"}, True),
        ({"raters": ["ann", "judge:careful"]}, True),
        ({"judge": {"name": "other", "model": "org/small", "base_url": "http://127.0.0.1:1"}}, False),
        ({"raters": ["ann"]}, False),
    ],
)
def test_who_labelled_the_data_never_judges(tmp_path: Path, row: dict[str, Any], found: bool) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"prompt": "p", "chosen": "c", "rejected": "r"} | row) + "\n")
    said = conflicts(JUDGE, [job(data=[path])])
    assert said == (["run r-000000000001 was trained on pairs.jsonl, which judge careful labelled"] if found else [])


def test_nobody_judges_themselves() -> None:
    endpoint = Endpoint(base_url="http://127.0.0.1:9000", model="org/large")
    subject = Subject(kind="endpoint", label="endpoint large", model="org/large", base_sha256="0", endpoint=endpoint)
    assert conflicts(JUDGE, [], [subject]) == ["endpoint large is the judge itself"]
