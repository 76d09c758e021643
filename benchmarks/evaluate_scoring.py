"""A child process of benchmarks.evaluate: scoring alone, without any start-up, one adapter, task by task.

`python -m benchmarks.evaluate_scoring URL TOKENIZER TASKS MODEL DOCUMENTS` prints {side: {task: seconds}} as JSON. The
tasks and the tokenizer are loaded before the clock runs; Ratchet goes first, with nothing in the prefix cache.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from lm_eval.evaluator import evaluate
from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.tasks import TaskManager

from harness.evaluate.lm_eval_model import RatchetCompletions


def main() -> None:
    url, tokenizer, folder, model, documents = sys.argv[1:]
    out, sys.stdout = sys.stdout, sys.stderr
    tasks = TaskManager(include_path=[folder], include_defaults=False)
    names = sorted(tasks.all_subtasks)
    found: dict[str, Any] = tasks.load(names)["tasks"]  # type: ignore[assignment]
    for task in found.values():
        task.set_config(key="num_fewshot", value=0)
    common = {"model": model, "tokenizer": tokenizer, "max_length": 512}
    stock = common | {"base_url": f"{url}/v1/completions", "tokenizer_backend": "huggingface"}
    sides = {
        "ratchet": RatchetCompletions(url=url, **common),
        "stock best": LocalCompletionsAPI(num_concurrent=64, **stock),
        "stock default": LocalCompletionsAPI(**stock),
    }
    spent: dict[str, dict[str, float]] = {}
    for side, lm in sides.items():
        for name in names:
            started = time.monotonic()
            evaluate(lm, {"tasks": {name: found[name]}}, limit=int(documents), bootstrap_iters=0)
            spent.setdefault(side, {})[name] = time.monotonic() - started
    print(json.dumps(spent), file=out)


if __name__ == "__main__":
    main()
