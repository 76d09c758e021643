"""lm-eval in its child process, against the fake engine: tasks by name and folder, splits, templates, metrics.

That scores equal those of lm-eval's own `local-completions` is shown on a real engine in tests/integration.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from harness.core.journal import read_all
from harness.core.records import ItemResult, MetricInfo
from harness.evaluate.lm_eval_items import items, mean, metrics
from harness.evaluate.lm_eval_tasks import Tasks, chance, item_id, split_of
from serve.supervise import free_port

BASE = Path("experiments/bases/tiny").absolute()
WORKER = [sys.executable, "-P", "-m", "harness.evaluate.lm_eval_worker"]
COLOURS = ["red", "green", "blue", "grey"]
TASK = """task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{prompt}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: gold
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: mcc, higher_is_better: true}}
metadata: {{version: 1.0}}
"""


@pytest.fixture(scope="module")
def fake() -> Iterator[str]:
    port = free_port()
    server = subprocess.Popen([sys.executable, "-P", "-m", "serve.fake", "--port", str(port)])
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                httpx.get(f"{url}/health", trust_env=False)
                break
            except httpx.TransportError:
                assert server.poll() is None
                time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks: `colours` as anybody would write it, and `ours`, whose documents carry id, split and cluster."""
    found = tmp_path_factory.mktemp("tasks")
    rows = [{"prompt": f"The {n}. house is", "choices": COLOURS[: 2 + n % 3], "gold": n % 2} for n in range(30)]
    mine = [row | {"id": f"h{n}", "split": "dev" if n < 4 else "release", "cluster": f"c{n // 2}"}
            for n, row in enumerate(rows[:8])]  # fmt: skip
    for name, listed in (("colours", rows), ("ours", mine)):
        (found / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in listed))
        (found / f"{name}.yaml").write_text(TASK.format(name=name, data=found / f"{name}.jsonl"))
    (found / "houses.yaml").write_text("group: houses\ntask: [colours, ours]\n")
    return found


def run(job: dict[str, Any], folder: Path, *options: str) -> list[dict[str, Any]]:
    settings = {"include_path": [str(folder)], "own_tasks": ["ours"], "num_fewshot": None, "dev_share": 0.3}
    settings |= {"apply_chat_template": False, "limit": None}
    file = folder / "job.json"
    file.write_text(json.dumps(settings | job))
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache")}
    child = subprocess.run(
        [*WORKER, *options, str(file)], input="\n", capture_output=True, text=True, env=environment, check=False
    )
    told = [json.loads(line) for line in child.stdout.splitlines() if line.startswith('{"event"')]
    assert child.returncode == (1 if told and told[-1]["event"] == "wrong" else 0), child.stderr[-2000:]
    return told


def read(folder: Path) -> dict[str, ItemResult]:
    found = [ItemResult.model_validate(event) for event in read_all(folder, "items")]
    assert len({item.item_id for item in found}) == len(found)
    return {item.item_id: item for item in found}


@pytest.fixture(scope="module")
def scored(fake: str, folder: Path) -> dict[str, Any]:
    """One child scores a group for two subjects, the template chosen on dev; subject -> (event, items)."""
    names = ["base", "again"]
    subjects = [{"eval_id": name, "model": "tiny", "folder": str(folder / name)} for name in names]
    job = {"url": fake, "tokenizer": str(BASE), "max_model_len": 512, "tasks": ["houses"], "subjects": subjects}
    told = run(job | {"apply_chat_template": "auto"}, folder)
    assert [event["event"] for event in told] == ["loading", "done", "done"]
    return {event["eval_id"]: (event, read(folder / event["eval_id"])) for event in told[1:]}


def test_every_document_of_a_group_is_scored_once(scored: dict[str, Any]) -> None:
    event, found = scored["base"]
    assert event["items"] == len(found) == 38
    assert {name.split("/")[0] for name in found} == {"colours", "ours"}
    assert all(item.bucket == "scored" for item in found.values())
    assert {name for item in found.values() for name in item.scores} == {"colours/acc", "ours/acc"}


def test_our_documents_say_their_split_others_go_by_hash(scored: dict[str, Any], folder: Path) -> None:
    found = scored["base"][1]
    ours = {name: item for name, item in found.items() if name.startswith("ours/")}
    assert {name: item.split for name, item in ours.items()} == {
        f"ours/h{n}": "dev" if n < 4 else "release" for n in range(8)
    }
    assert ours["ours/h5"].cluster == "c2"
    splits = [item.split for name, item in found.items() if name.startswith("colours/")]
    assert {"dev", "release"} == set(splits)
    assert 0 < splits.count("dev") < 20


def test_the_same_subject_scores_the_same(scored: dict[str, Any]) -> None:
    assert scored["base"][1] == scored["again"][1]


def test_the_template_is_chosen_on_dev_and_recorded(scored: dict[str, Any]) -> None:
    event, found = scored["base"]
    means = event["chosen_on_dev"]
    best = "chat" if means["chat"] > means["plain"] else "plain"
    assert event["chat_template"] == best
    assert all(("assistant" in item.prompt) == (best == "chat") for item in found.values())
    dev = {
        task: [i.scores[f"{task}/acc"].value for i in found.values() if i.split == "dev" and f"{task}/acc" in i.scores]
        for task in ("colours", "ours")
    }
    assert means[best] == pytest.approx(sum(sum(values) / len(values) for values in dev.values()) / 2)


def test_metrics_know_direction_and_chance(scored: dict[str, Any]) -> None:
    """Colours: ten documents each of 2, 3 and 4 choices: (1/2 + 1/3 + 1/4) / 3 = 0.3611."""
    event = scored["base"][0]
    assert event["metrics"]["colours/acc"] == {
        "direction": "up", "unit": "share", "aggregate": "mean", "chance": pytest.approx(0.36111, abs=1e-4)
    }  # fmt: skip
    assert event["left_out"]["colours/mcc"].startswith("a corpus statistic (matthews_corrcoef)")
    assert event["cut"] == 0


def test_tasks_are_checked_before_training(folder: Path) -> None:
    told = run({"tasks": [str(folder)], "include_path": []}, folder, "--check")
    assert {event["task"]: event["documents"] for event in told} == {"colours": 30, "ours": 8}
    assert {event["task"]: event["dev"] for event in told}["ours"] == 4
    assert all(list(event["metrics"]) == [f"{event['task']}/acc"] for event in told)
    assert all(list(event["left_out"]) == [f"{event['task']}/mcc"] for event in told)


def test_documents_are_known_before_by_the_ids_that_their_results_have(scored: dict[str, Any], folder: Path) -> None:
    run({"tasks": ["houses"]}, folder, "--check")
    known = [json.loads(line) for line in (folder / "job.documents.jsonl").read_text().splitlines()]
    places = {one["item_id"]: (one["split"], one["cluster"]) for one in known}
    assert places == {name: (item.split, item.cluster) for name, item in scored["base"][1].items()}
    (seventh,) = [one for one in known if one["item_id"].startswith("colours/7-")]
    assert (seventh["prompt"], seventh["golds"]) == ("The 7. house is", ["green"])
    assert len({one["whole"] for one in known if one["task"] == "colours"}) == 30


def test_a_document_has_its_own_id_only_where_it_is_ours() -> None:
    document, doc_hash = {"id": 0}, "0123456789"
    assert item_id("t", document, 7, doc_hash, own=True) == "t/0"
    assert item_id("t", document, 7, doc_hash, own=False) == "t/7-01234567"
    assert item_id("t", {"id": None}, 7, doc_hash, own=True) == "t/7-01234567"


def test_an_unknown_task_is_named_with_the_nearest(folder: Path) -> None:
    told = run({"tasks": ["colour"]}, folder, "--check")
    assert told == [
        {
            "event": "wrong",
            "problem": "evaluate.lm_eval: lm-eval knows no task 'colour'",
            "fix": "did you mean 'colours'?",
        }
    ]


def test_data_that_cannot_be_loaded_is_said(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text(TASK.format(name="broken", data=tmp_path / "nothing.jsonl"))
    told = run({"tasks": ["broken"], "include_path": [str(tmp_path)]}, folder, "--check")
    assert told[0]["problem"].startswith("evaluate.lm_eval: task 'broken' cannot be loaded (FileNotFoundError")


def test_splits_stay_where_the_hash_puts_them() -> None:
    """ffffffff is the largest share, 00000000 the smallest; 33333333 is just below 0.2."""
    assert [split_of({}, f"{head}00", False, 0.2) for head in ("00000000", "33333333", "33333334", "ffffffff")] == [
        "dev", "dev", "release", "release"
    ]  # fmt: skip
    assert split_of({"split": "dev"}, "ffffffff", False, 0.2) == "release", "elsewhere `split` means other things"
    assert split_of({"split": "tune"}, "ffffffff", True, 0.2) == "tune"
    assert split_of({}, "00000000", True, 0.2) == "release"


def sample(number: int, metrics: dict[str, Any], choices: int = 2, target: Any = 0, **more: Any) -> dict[str, Any]:
    return {
        "doc_id": number, "doc": {}, "doc_hash": f"{number:064x}", "prompt_hash": "p", "target": target,
        "arguments": [("context", f"c{n}") for n in range(choices)], "filtered_resps": [[-1.0, False]] * choices,
        "metrics": list(metrics), "filter": "none", **metrics, **more,
    }  # fmt: skip


def test_chance() -> None:
    """(1/2 + 1/4) / 2; two right answers of four count twice; mutual information asks each choice twice."""
    assert chance([sample(0, {"acc": 1}, 2), sample(1, {"acc": 0}, 4)]) == 0.375
    assert chance([sample(0, {"acc": 1}, 4, target=[0, 2])]) == 0.5
    assert chance([sample(0, {"acc": 1, "acc_mutual_info": 1}, 4)]) == 0.5
    assert chance([sample(0, {"acc": 1}, 1)]) is None, "of a single continuation nobody guesses"


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("acc", "share"),
        ("acc_norm", "share"),
        ("prompt_level_strict_acc", "share"),
        ("exact_match", "share"),
        ("pass@1", "share"),
        ("f1", "share"),
        ("likelihood", "value"),
        ("rouge1", "value"),
        ("accent", "value"),
        ("bleu_max", "points"),
    ],
)
def test_a_unit_is_a_fact_of_the_metric_whatever_a_subject_scores(name: str, unit: str) -> None:
    """A subject whose values all lie within 0 and 1 would else not pair with one whose values do not."""
    tasks = Tasks({"t": Task(metadata={"units": {"bleu_max": "points"}}, **{name: "mean"})}, None)
    for value in (0.5, 40.0):
        found = metrics({"t": [sample(0, {name: value}, 1)]}, tasks)
        assert found[f"t/{name}"].unit == unit
    checked = tasks.metric("t", name)
    assert checked is not None
    assert checked.unit == unit


class Task:
    def __init__(self, up: bool = True, metadata: dict[str, Any] | None = None, **aggregations: str) -> None:
        self._aggregations = {name: SimpleNamespace(__name__=called) for name, called in aggregations.items()}
        self._up, self._config = up, {"metadata": metadata}

    def get_config(self, key: str) -> Any:
        return self._config.get(key)

    def aggregation(self) -> dict[str, Any]:
        return self._aggregations

    def higher_is_better(self) -> dict[str, bool]:
        return dict.fromkeys(self._aggregations, self._up)


def test_several_filters_are_several_scores_and_corpus_scores_are_left_out() -> None:
    tasks = Tasks({"gsm": Task(exact_match="mean", bleu="bleu", perplexity="perplexity")}, None)
    listed = [
        sample(0, {"exact_match": 1.0, "bleu": ("a", "b"), "perplexity": -2.0}, filter="strict"),
        sample(0, {"exact_match": 0.0}, filter="loose"),
    ]
    (item,) = items({"gsm": listed}, set(), 0.2, tasks)
    assert {name: score.value for name, score in item.scores.items()} == {
        "gsm/exact_match,strict": 1.0,
        "gsm/exact_match,loose": 0.0,
    }
    assert item.item_id == "gsm/0-00000000"
    assert metrics({"gsm": listed}, tasks) == {name: MetricInfo() for name in item.scores}
    assert set(tasks.left_out) == {"gsm/perplexity", "gsm/bleu"}


def test_the_mean_that_chooses_is_larger_for_better() -> None:
    tasks = Tasks({"down": Task(up=False, ter="mean"), "up": Task(mcc="mcc", acc="mean")}, None)
    found = {"down": [sample(0, {"ter": 4.0})], "up": [sample(0, {"mcc": (0, 1), "acc": 1.0})]}
    assert mean(tasks, found) == (-4.0 + 1.0) / 2
    assert mean(tasks, {"up": [sample(0, {"mcc": (0, 1)})]}) == 0.0
