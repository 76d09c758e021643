"""lm-eval's sample logs as 0.4.13 writes them, and as earlier versions did."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import InputError
from harness.outside import read

EARLY, LATE = "2026-11-19T09-00-00.000001", "2026-11-20T09-00-00.000001"


def sample(number: int, acc: Any, filter: str = "none", **changes: Any) -> dict[str, Any]:
    doc = {"question": f"q{number}", "topic": f"t{number // 2}"}
    text = json.dumps(doc, indent=2, ensure_ascii=False)
    return {
        "doc_id": number, "doc": doc, "target": "1", "filtered_resps": ["1"], "filter": filter, "metrics": ["acc"],
        "doc_hash": hashlib.sha256(text.encode()).hexdigest(), "target_hash": hashlib.sha256(b"1").hexdigest(),
        "prompt_hash": f"p{number}", "acc": acc,
    } | changes  # fmt: skip


def log(folder: Path, *samples: dict[str, Any] | str, task: str = "arc", time: str = LATE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [line if isinstance(line, str) else json.dumps(line) for line in samples]
    (folder / f"samples_{task}_{time}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def test_the_newest_log_of_each_task_counts(tmp_path):
    log(tmp_path, sample(0, 0.0), time=EARLY)
    log(tmp_path, sample(0, 1.0))
    log(tmp_path, sample(0, 0.5), task="arc_easy_2", time=EARLY)
    results = read(tmp_path)
    found = {metric: [seen.value for seen in items.values()] for metric, items in results.scores.items()}
    assert found == {"lm_eval/arc/acc": [1.0], "lm_eval/arc_easy_2/acc": [0.5]}
    assert results.notes == [f"arc: of 2 logs in {tmp_path.name} the newest counts, of {LATE}"]


def test_one_model_below_the_folder_is_found_and_several_must_be_told_apart(tmp_path):
    log(tmp_path / "org__one", sample(0, 1.0))
    assert list(read(tmp_path).scores) == ["lm_eval/arc/acc"]
    log(tmp_path / "org__two", sample(0, 1.0))
    with pytest.raises(InputError, match=r"holds samples of 2 models: org__one, org__two. name the folder of one"):
        read(tmp_path)


def test_several_filters_are_several_metrics(tmp_path):
    log(tmp_path, sample(0, 1.0, "strict-match"), sample(0, 0.0, "flexible-extract"), sample(1, 1.0, "strict-match"))
    found = read(tmp_path).scores
    assert {metric: len(items) for metric, items in found.items()} == {
        "lm_eval/arc/acc,strict-match": 2,
        "lm_eval/arc/acc,flexible-extract": 1,
    }


def test_the_results_file_says_where_lower_is_better(tmp_path):
    (log(tmp_path, sample(0, 1.0)) / f"results_{LATE}.json").write_text('{"higher_is_better": {"arc": {"acc": false}}}')
    assert read(tmp_path).directions == {"lm_eval/arc/acc": "down"}


def test_logs_without_hashes_and_lists_of_metrics_pair_with_those_that_have_them(tmp_path):
    old = {key: value for key, value in sample(0, 1.0).items() if not key.endswith("_hash") and key != "metrics"}
    old.pop("filter")
    before = read(log(tmp_path / "old", old)).scores["lm_eval/arc/acc"]["arc/0"]
    now = read(log(tmp_path / "new", sample(0, 1.0))).scores["lm_eval/arc/acc"]["arc/0"]
    assert (before.content, before.value) == (now.content, now.value)


def test_nan_could_not_be_scored_and_lists_are_no_scores_per_document(tmp_path):
    both = {"metrics": ["acc", "word_perplexity"], "word_perplexity": [-1.0, 3]}
    line = json.dumps(sample(1, 0.0, **both)).replace('"acc": 0.0', '"acc": NaN')
    results = read(log(tmp_path, sample(0, 1.0, **both), line))
    assert [seen.value for seen in results.scores["lm_eval/arc/acc"].values()] == [1.0, None]
    assert results.unusable == {"lm_eval/arc/word_perplexity": "holds a list instead of a number per document"}


def test_a_field_of_the_documents_clusters_them(tmp_path):
    items = read(log(tmp_path, *(sample(n, 1.0) for n in range(4))), cluster="topic").scores["lm_eval/arc/acc"]
    assert [seen.cluster for seen in items.values()] == ["t0", "t0", "t1", "t1"]
    with pytest.raises(InputError, match=r":1: no field 'subject' to cluster by. name one .* of: question, topic"):
        read(tmp_path, cluster="subject")


def test_a_single_file_and_a_renamed_one_are_read(tmp_path):
    path = next(log(tmp_path, sample(0, 1.0)).iterdir())
    assert list(read(path).scores) == ["lm_eval/arc/acc"]
    assert list(read(path.rename(tmp_path / "mine.jsonl")).scores) == ["lm_eval/mine/acc"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([sample(0, 1.0), sample(0, 0.0)], ":2: document 0 is there twice"),
        ([sample(0, 1.0), '{"doc_id"'], ":2: not JSON"),
        ([sample(0, 1.0), {"doc_id": 1, "acc": 1}], ":2: no sample of lm-eval"),
        ([sample(0, [1, 2])], "holds no number per document"),
    ],
)
def test_a_mistake_is_said_with_its_line(tmp_path, lines, said):
    with pytest.raises(InputError) as error:
        read(log(tmp_path, *lines))
    assert said in error.value.one_line()
