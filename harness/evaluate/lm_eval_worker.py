"""lm-eval in a process of its own: `python -m harness.evaluate.lm_eval_worker JOB.json`.

lm-eval takes seconds to import and seeds random, numpy and torch for the whole process, so it never runs in ours.
One process scores all subjects of a plan through the served endpoint, and writes every sample to a journal.
"""

from __future__ import annotations

import json
import logging
import numbers
import os
import sys
import time
from pathlib import Path
from typing import Any

from harness.core.journal import Journal
from harness.core.process import die_with_parent
from harness.core.records import ItemResult, Score

# Requests in flight: the engine batches them; more only lengthens the queue.
BATCH_SIZE = 16
NUM_CONCURRENT = 4


def main(job_file: str) -> int:
    die_with_parent()
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"  # the engine is here, whatever the proxy
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    # lm-eval logs and prints freely: stdout is for events only.
    events, sys.stdout = sys.stdout, sys.stderr
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)

    def tell(**event: Any) -> None:
        print(json.dumps(event), file=events, flush=True)

    tell(event="loading")
    import lm_eval.models.openai_completions  # noqa: F401 - here, while the parent is still busy with other things
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=job["include_path"] or None)
    if not sys.stdin.readline():  # the parent is gone
        return 1
    for subject in job["subjects"]:
        started = time.monotonic()
        results = _evaluate(job, subject["model"], manager)
        with Journal(Path(subject["folder"]), "items", point="eval.item") as journal:
            count = 0
            for item in _items(results, set(job["own_tasks"])):
                journal.append(item.model_dump(mode="json"))
                count += 1
        tell(event="done", eval_id=subject["eval_id"], items=count, seconds=time.monotonic() - started)
    return 0


def _evaluate(job: dict[str, Any], model: str, manager: Any) -> dict[str, Any]:
    from lm_eval import simple_evaluate

    results = simple_evaluate(
        model="local-completions",
        model_args={
            "model": model,
            "base_url": f"{job['url']}/v1/completions",
            "tokenizer": job["tokenizer"],
            "tokenizer_backend": "huggingface",
            "max_length": job["max_model_len"],
            "num_concurrent": NUM_CONCURRENT,
            "max_retries": 3,
        },
        tasks=job["tasks"],
        num_fewshot=job["num_fewshot"],
        apply_chat_template=job["apply_chat_template"],
        limit=job["limit"],
        batch_size=BATCH_SIZE,
        task_manager=manager,
        bootstrap_iters=0,
        log_samples=True,
    )
    assert results is not None  # None only on ranks other than 0
    return dict(results)


def _items(results: dict[str, Any], own_tasks: set[str]) -> list[ItemResult]:
    """One ItemResult per document, paired across subjects by task and document; several filters are several scores."""
    found: dict[str, ItemResult] = {}
    for task, samples in results["samples"].items():
        for sample in samples:
            item = _item(task, sample, task in own_tasks)
            known = found.get(item.item_id)
            found[item.item_id] = (
                known.model_copy(update={"scores": known.scores | item.scores}) if known is not None else item
            )
    return list(found.values())


def _item(task: str, sample: dict[str, Any], own: bool) -> ItemResult:
    """Metrics are named `task/metric`, and `task/metric,filter` where the task names its filters.

    Only our `own` tasks' documents carry our id, split and cluster; elsewhere these columns mean other things. Metrics
    that are no number per document (perplexities, corpus scores) are left out.
    """
    document = sample["doc"] if own else {}
    item_id = f"{task}/{document.get('id', sample['doc_id'])}"
    responses = sample["filtered_resps"]
    filtered = "" if sample.get("filter", "none") == "none" else f",{sample['filter']}"
    return ItemResult(
        item_id=item_id,
        split=str(document.get("split", "release")),
        cluster=str(document.get("cluster", item_id)),
        bucket="scored",
        scores={
            f"{task}/{name}{filtered}": Score(value=float(sample[name]))
            for name in sample["metrics"]
            if isinstance(sample[name], numbers.Real)
        },
        prompt_sha256=str(sample["prompt_hash"]),
        prompt=str(_first_argument(sample["arguments"])),
        answer=json.dumps(responses, ensure_ascii=False, default=str),
    )


def _first_argument(arguments: Any) -> str:
    """The context of the first request: lm-eval keeps requests as tuples, or as a dict of them when logged."""
    first = next(iter(arguments.values())) if isinstance(arguments, dict) else arguments[0]
    return str(next(iter(first.values())) if isinstance(first, dict) else first[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
