"""lm-eval through our scoring path says what its own `local-completions` says: same engine, same adapter, fp32."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from stories import World as Stories

from harness.core.journal import read_all
from serve import adapters
from serve.engine import Engine

DOCUMENTS = 24
PARITY = 1e-3  # nats, fp32 (issue 3)
SHORT = 800  # characters: what is longer would be cut at 512 tokens
NAME = "r-seven"
STOCK = """
import json, sys
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
url, tokenizer, folder, model = sys.argv[1:]
manager = TaskManager(include_path=[folder], include_defaults=False)
options = {"model": model, "base_url": f"{url}/v1/completions", "tokenizer": tokenizer,
           "tokenizer_backend": "huggingface", "max_length": 512, "num_concurrent": 8}
out, sys.stdout = sys.stdout, sys.stderr
found = simple_evaluate("local-completions", options, manager.all_subtasks, task_manager=manager, bootstrap_iters=0)
samples = {task: {s["doc_id"]: [s["filtered_resps"], s.get("acc")] for s in listed}
           for task, listed in found["samples"].items()}
print(json.dumps(samples), file=out)
"""
CHOICES = "doc_to_text: {text}\ndoc_to_choice: {choices}\ndoc_to_target: gold\noutput_type: multiple_choice\n"
TASKS = {
    "arc": ("arc_easy", CHOICES.format(text='"{{query}}\\nAnswer:"', choices='"{{choices}}"')),
    "letters": (
        "arc_easy",
        CHOICES.format(text='"{{query}}\\nAnswer: ("', choices="\"{{['A', 'B', 'C', 'D', 'E'][:choices|length]}}\"")
        + 'target_delimiter: ""\n',
    ),
    "lambada": (
        "lambada_openai",
        'doc_to_text: "{{context}}"\ndoc_to_target: " {{continuation}}"\noutput_type: loglikelihood\n',
    ),
    "story": (
        "lambada_openai",
        'doc_to_text: "{{context}}"\ndoc_to_target: " {{continuation}}"\noutput_type: generate_until\n'
        'generation_kwargs: {until: ["."], max_gen_toks: 8}\n',
    ),
}


class World(NamedTuple):
    engine: Engine
    base: Path
    tasks: Path


@pytest.fixture(scope="module")
def world(stories: Stories, stories260k: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("lm_eval")
    tasks = folder / "tasks"
    tasks.mkdir()
    for name, (file, text) in TASKS.items():
        lines = (shared / "data" / "general" / f"{file}.jsonl").read_text(encoding="utf-8").splitlines()
        # twice the same choice: the second is in the prefix cache while its log-probs are asked for
        kept = [json.loads(line) for line in lines if len(line) < SHORT][: DOCUMENTS - 1]
        kept.append(kept[0] | ({"choices": [kept[0]["choices"][0]] * 2} if "choices" in kept[0] else {}))
        (tasks / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        metric = "exact_match" if name == "story" else "acc"
        (tasks / f"{name}.yaml").write_text(
            f"task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {tasks / name}.jsonl}}}}\n"
            f"test_split: test\nmetric_list: [{{metric: {metric}, aggregation: mean, higher_is_better: true}}]\n"
            f"metadata: {{version: 1.0}}\n{text}"
        )
    adapters.load(stories.engine, NAME, stories.folder / NAME)
    return World(stories.engine, stories260k, tasks)


def run(command: list[str], world: World, told: str = "") -> str:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(world.tasks.parent / "datasets")}
    child = subprocess.run(command, input=told, capture_output=True, text=True, env=environment, check=False)
    assert child.returncode == 0, child.stderr[-3000:]
    return child.stdout


def ours(world: World, models: list[str], folder: Path) -> dict[str, dict[str, dict[int, Any]]]:
    """model -> task -> document -> [answers per choice, acc], from the worker that `ratchet run` starts."""
    subjects = [{"eval_id": model, "model": model, "folder": str(folder / model)} for model in models]
    job = {"url": world.engine.url, "tokenizer": str(world.base), "max_model_len": 512, "subjects": subjects}
    job |= {"include_path": [], "own_tasks": [], "tasks": [str(world.tasks)], "num_fewshot": None, "limit": None}
    (folder / "job.json").write_text(json.dumps(job | {"apply_chat_template": False, "dev_share": 0.2}))
    run([sys.executable, "-P", "-m", "harness.evaluate.lm_eval_worker", str(folder / "job.json")], world, "\n")
    found: dict[str, dict[str, dict[int, Any]]] = {}
    for model in models:
        for event in read_all(folder / model, "items"):
            task, document = event["item_id"].split("/")
            score = event["scores"].get(f"{task}/acc", {}).get("value")
            by_task = found.setdefault(model, {}).setdefault(task, {})
            by_task[int(document.split("-")[0])] = [json.loads(event["answer"]), score]
    return found


def test_scores_equal_those_of_local_completions(world: World, tmp_path: Path) -> None:
    found = ours(world, [NAME, "tiny"], tmp_path)[NAME]
    command = [sys.executable, "-P", "-c", STOCK, world.engine.url, str(world.base), str(world.tasks), NAME]
    stock = json.loads(run(command, world).splitlines()[-1])
    assert stock.keys() == found.keys() == TASKS.keys()
    for task, documents in stock.items():
        assert {int(number) for number in documents} == found[task].keys() == set(range(DOCUMENTS))
        for number, (expected, acc) in documents.items():
            answers, score = found[task][int(number)]
            if task == "story":
                assert answers == expected
                continue
            assert [value for value, _ in answers] == pytest.approx([value for value, _ in expected], abs=PARITY)
            assert [greedy for _, greedy in answers] == [greedy for _, greedy in expected]
            assert score == acc


def test_the_adapter_is_what_was_scored(world: World, tmp_path: Path) -> None:
    """Else equal scores would show nothing; and the same choice twice scores the same twice."""
    found = ours(world, [NAME, "tiny"], tmp_path)
    assert found[NAME]["arc"][0][0][0][0] != pytest.approx(found["tiny"]["arc"][0][0][0][0], abs=0.1)
    (first, second), _ = found[NAME]["arc"][DOCUMENTS - 1]
    assert first == pytest.approx(second, abs=PARITY)
