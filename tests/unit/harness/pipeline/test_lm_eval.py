"""What is known of lm-eval tasks before training, and what an evaluation's id has of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.core.errors import InputError
from harness.core.paths import Lab
from harness.core.records import MetricInfo
from harness.pipeline.lm_eval import content, facts
from harness.spec import LmEval

TASK = {
    "task": "houses",
    "dataset_path": "json",
    "output_type": "multiple_choice",
    "test_split": "test",
    "doc_to_text": "{{prompt}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "gold",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}, {"metric": "mcc"}],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "houses"
    found.mkdir()
    rows = [{"prompt": f"The {n}. house is", "choices": ["red", "green"], "gold": n % 2} for n in range(20)]
    (found / "houses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"dataset_kwargs": {"data_files": {"test": str(found / "houses.jsonl")}}}
    (found / "houses.yaml").write_text(json.dumps(TASK | data))
    return found


def test_facts_come_from_lm_eval_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    lab, settings = Lab(tmp_path / "lab"), LmEval(tasks=[str(folder)], dev_share=0.5)
    (found,) = facts(lab, settings, [])
    assert (found.task, found.documents) == ("houses", 20)
    assert 0 < found.dev < 20
    assert found.metrics == {"houses/acc": MetricInfo()}
    assert list(found.left_out) == ["houses/mcc"]
    (cached,) = (lab.cache / "lm_eval").glob("*.log")
    before = cached.stat().st_mtime_ns
    assert facts(lab, settings, []) == [found]
    assert cached.stat().st_mtime_ns == before, "no second child"


def test_a_folder_without_tasks_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty holds no lm-eval task. put its YAML files there"):
        facts(Lab(tmp_path / "lab"), LmEval(tasks=[str(tmp_path / "empty")]), [])


def test_content_follows_the_files_not_the_place(folder: Path, tmp_path: Path) -> None:
    before = content(LmEval(tasks=[str(folder)]), [])
    assert content(LmEval(tasks=[str(folder.rename(tmp_path / "moved"))]), []) == before
    (tmp_path / "moved" / "houses.jsonl").write_text("{}\n")
    assert content(LmEval(tasks=[str(tmp_path / "moved")]), []) != before
    assert content(LmEval(tasks=["arc_easy"]), []) == content(LmEval(tasks=["piqa"]), []), "names are in the settings"
