"""lm-eval in a process of its own: `python -m harness.evaluate.lm_eval_worker JOB.json`, or `--check JOB.json`.

lm-eval takes seconds to import and seeds random, numpy and torch for the whole process, so it never runs in ours.
One process scores all subjects of a plan through the served endpoint: lm-eval, its tasks and the tokenizer are loaded
once. Every document is scored, `dev` and `release`; the choice of a template sees `dev` only.

Events, one JSON object per line on stdout: `loading`; `done` per subject with `eval_id`, `items`, `seconds`, `metrics`
(name -> MetricInfo), `left_out` (metric -> why), `chat_template` ("chat" or "plain"), `chosen_on_dev` (the two means,
where there was a choice) and `cut` (texts that lost tokens on the left); `wrong` with `problem` and `fix`. With
`--check` nothing is scored: `task` per task with `task`, `documents`, `dev`, `metrics` and `left_out`, after the
documents themselves were written beside the job (JOB.documents.jsonl).
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from harness.core.errors import RatchetError
from harness.core.journal import Journal
from harness.core.paths import write_atomic
from harness.core.process import die_with_parent
from harness.evalset.content import of_document
from harness.evaluate import lm_eval_items, lm_eval_tasks
from harness.evaluate.lm_eval_tasks import Tasks

Tell = Callable[..., None]


def main(arguments: list[str]) -> int:
    die_with_parent()
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"  # the engine is here, whatever the proxy
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    job = json.loads(Path(arguments[-1]).read_text(encoding="utf-8"))
    # lm-eval logs and prints freely: stdout is for events only.
    events, sys.stdout = sys.stdout, sys.stderr
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    lm_eval_tasks.quiet()

    def tell(**event: Any) -> None:
        print(json.dumps(event), file=events, flush=True)

    try:
        if arguments[0] == "--check":
            _check(job, lm_eval_tasks.documents_file(Path(arguments[-1])), tell)
        else:
            _score_all(job, tell)
    except RatchetError as error:
        tell(event="wrong", problem=error.problem, fix=error.fix)
        return 1
    return 0


def _check(job: dict[str, Any], file: Path, tell: Tell) -> None:
    """Load the tasks, write down their documents, and say what they give."""
    tasks = lm_eval_tasks.load(job["tasks"], job["include_path"], job["num_fewshot"])
    own = set(job["own_tasks"])
    lines = [json.dumps(one) + "\n" for one in _documents(tasks, own, job["dev_share"], job["limit"])]
    write_atomic(file, "".join(lines).encode())
    dev = tasks.dev_documents(own, job["dev_share"], job["limit"])
    for name, task in tasks.found.items():
        metrics = {key: info.model_dump(mode="json") for key in task.aggregation() if (info := tasks.metric(name, key))}
        tell(
            event="task",
            task=name,
            documents=len(task.eval_docs),
            dev=len(dev.get(name, [])),
            metrics={f"{name}/{key}": info for key, info in metrics.items()},
            left_out={key: why for key, why in tasks.left_out.items() if key.startswith(f"{name}/")},
        )


def _documents(tasks: Tasks, own: set[str], dev_share: float, limit: int | None) -> Iterator[dict[str, Any]]:
    """Every document as lm-eval loads it: the ids, splits and clusters that its results have, and its content."""
    for name, task in tasks.found.items():
        for number, document in enumerate(islice(task.eval_docs, limit)):
            row = document if isinstance(document, dict) else {"document": document}
            doc_hash = lm_eval_tasks.document_hash(document)
            item_id = lm_eval_tasks.item_id(name, row, number, doc_hash, name in own)
            content = of_document(row)
            yield {
                "task": name,
                "item_id": item_id,
                "split": lm_eval_tasks.split_of(row, doc_hash, name in own, dev_share),
                "cluster": str(row.get("cluster", item_id)) if name in own else item_id,
                "prompt": lm_eval_tasks.asked(task, document),
                "golds": lm_eval_tasks.right_answers(task, document),
                "asked": content.asked,
                "whole": content.whole,
            }


def _score_all(job: dict[str, Any], tell: Tell) -> None:
    tell(event="loading")
    from harness.evaluate.lm_eval_model import RatchetCompletions  # while the parent is still busy with other things

    tasks = lm_eval_tasks.load(job["tasks"], job["include_path"], job["num_fewshot"])
    model = RatchetCompletions(job["url"], "", job["tokenizer"], job["max_model_len"])
    dev = tasks.dev_documents(set(job["own_tasks"]), job["dev_share"], job["limit"])
    line = sys.stdin.readline()
    if not line:  # the parent is gone
        return
    model.sign(line.strip())
    for subject in job["subjects"]:
        started = time.monotonic()
        scored = _score(job, tasks, dev, model.named(subject["model"]))
        with Journal(Path(subject["folder"]), "items", point="eval.item") as journal:
            for item in scored.pop("results"):
                journal.append(item.model_dump(mode="json"))
        tell(event="done", eval_id=subject["eval_id"], seconds=time.monotonic() - started, **scored)


def _score(job: dict[str, Any], tasks: Tasks, dev: dict[str, list[int]], model: Any) -> dict[str, Any]:
    """One subject on all documents, with the template chosen on dev where the job says `auto`."""
    own, chosen_on_dev = set(job["own_tasks"]), None
    chat = job["apply_chat_template"] is True and model.has_chat_template
    if job["apply_chat_template"] == "auto" and model.has_chat_template and dev:
        only = Tasks({name: tasks.found[name] for name in dev}, tasks.num_fewshot)
        means = {form: lm_eval_items.mean(only, _evaluate(model, only, form == "chat", samples=dev))
                 for form in ("chat", "plain")}  # fmt: skip
        chat, chosen_on_dev = means["chat"] > means["plain"], means  # a tie stays with lm-eval's default, plain
    samples = _evaluate(model, tasks, chat, limit=job["limit"])
    results = lm_eval_items.items(samples, own, job["dev_share"], tasks)
    return {
        "results": results,
        "items": len(results),
        "metrics": {name: info.model_dump(mode="json") for name, info in lm_eval_items.metrics(samples, tasks).items()},
        "left_out": tasks.left_out,
        "chat_template": "chat" if chat else "plain",
        "chosen_on_dev": chosen_on_dev,
        "cut": len(model.cut),
    }


def _evaluate(model: Any, tasks: Tasks, chat: bool, **documents: Any) -> dict[str, list[dict[str, Any]]]:
    """lm-eval's samples by task; `documents` is its `limit` or `samples`."""
    from lm_eval.evaluator import evaluate

    tasks.ready()
    results = evaluate(
        model,
        {"tasks": tasks.found},
        bootstrap_iters=0,
        log_samples=True,
        apply_chat_template=chat,
        fewshot_as_multiturn=True,  # simple_evaluate's default, and so the command line's
        **documents,
    )
    assert results is not None  # None only on ranks other than 0
    return dict(results["samples"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
