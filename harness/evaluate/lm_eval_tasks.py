"""lm-eval's tasks: found by name or folder, made ready, and what their metrics mean. Used in the lm-eval child only."""

from __future__ import annotations

import difflib
import json
import logging
import random
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core.errors import InputError
from harness.core.records import MetricInfo

# lm-eval's own (lm_eval.defaults), so that few-shot examples are those of its command line.
RANDOM_SEED, OTHER_SEED = 0, 1234
# Metrics that guessing among n choices gets right once in n.
CHOOSING = frozenset({"acc", "acc_norm", "acc_bytes", "acc_mutual_info"})
MEANS = frozenset({"mean", "nanmean"})
# Metrics that are a share of 1 per document, by what lm-eval and its tasks call them; '_' parts a name.
# Others (rouge, score, …) are 0 to 1 in one task and 0 to 100 in the next, so a task's YAML says: metadata.units.
SHARE = re.compile(r"(^|_)(acc|accuracy|em|exact_match|match|f1|precision|recall|pass@\d+)($|_|:)")


@dataclass
class Tasks:
    """Leaf tasks by name, in the order asked for; groups and tags are spread out."""

    found: dict[str, Any]
    num_fewshot: int | None
    left_out: dict[str, str] = field(default_factory=dict)

    def ready(self) -> None:
        """Set shots and seeds as lm-eval's command line does; before each pass, which then draws the same examples."""
        import numpy as np
        from lm_eval.utils import set_torch_seed

        random.seed(RANDOM_SEED)
        np.random.seed(OTHER_SEED)
        set_torch_seed(OTHER_SEED)
        for task in self.found.values():
            own = task.get_config("num_fewshot")
            if self.num_fewshot is not None and own != 0:  # a task that says 0 means it
                task.set_config(key="num_fewshot", value=self.num_fewshot)
            elif own is None:
                task.set_config(key="num_fewshot", value=0)
            task.set_fewshot_seed(seed=OTHER_SEED)

    def dev_documents(self, own: set[str], dev_share: float, limit: int | None) -> dict[str, list[int]]:
        """Numbers of the documents in `dev`, by task; tasks without any are left out."""
        found = {}
        for name, task in self.found.items():
            documents = list(task.eval_docs)[:limit]
            numbers = [
                number
                for number, document in enumerate(documents)
                if split_of(document, document_hash(document), name in own, dev_share) == "dev"
            ]
            if numbers:
                found[name] = numbers
        return found

    def metric(self, task: str, name: str) -> MetricInfo | None:
        """How to read a metric that lm-eval averages over documents; None, with the reason kept, for any other."""
        aggregation = self.found[task].aggregation().get(name)
        called = getattr(aggregation, "__name__", str(aggregation))
        if called not in MEANS:
            self.left_out[f"{task}/{name}"] = f"a corpus statistic ({called}), no number per document"
            return None
        up = self.found[task].higher_is_better().get(name, True)
        return MetricInfo(direction="up" if up else "down", unit=self._unit(task, name))

    def _unit(self, task: str, name: str) -> str:
        """A fact of the task, never of the values that one subject happens to have: two subjects must agree on it.

        What `metadata: {units: {rouge1: points}}` in the task's YAML says, else by name.
        """
        metadata = self.found[task].get_config("metadata")
        told = metadata.get("units") if isinstance(metadata, dict) else None
        if isinstance(told, dict) and name in told:
            return str(told[name])
        return "share" if SHARE.search(name) else "value"


def load(tasks: list[str], include_path: list[str], num_fewshot: int | None) -> Tasks:
    """Tasks, groups and tags by name, or all tasks of a folder or a YAML file.

    Raises InputError for a name nobody knows, with the nearest, and for a data set that cannot be loaded.
    """
    from lm_eval.tasks import TaskManager

    folders = [task for task in tasks if Path(task).is_dir()]
    manager = TaskManager(include_path=[*include_path, *folders] or None, include_defaults=False)
    names = [name for task in tasks for name in (_of_folder(task) if task in folders else [task])]
    if not all(name in manager.task_index or Path(name).is_file() for name in names):
        # Only now: reading lm-eval's own 13,000 files takes 5 s, 25 s from a cold disk.
        manager = TaskManager(include_path=[*include_path, *folders] or None)
    for name in names:
        if name not in manager.task_index and not Path(name).is_file():
            near = difflib.get_close_matches(name, manager.all_tasks, 1)
            raise InputError(
                f"evaluate.lm_eval: lm-eval knows no task {name!r}",
                f"did you mean {near[0]!r}?" if near else "see `lm_eval ls tasks`, or name a folder with your own",
            )
    found: dict[str, Any] = {}
    for name in names:
        try:
            found |= manager.load([name])["tasks"]
        except Exception as error:  # a task is foreign code, and so is what loads its data
            raise InputError(
                f"evaluate.lm_eval: task {name!r} cannot be loaded ({type(error).__name__}: {error})",
                "check its data files; from a hub it needs the network once",
            ) from error
    return Tasks(found, num_fewshot)


def _of_folder(folder: str) -> list[str]:
    from lm_eval.tasks import TaskManager

    names = list(TaskManager(include_path=[folder], include_defaults=False).all_subtasks)
    if not names:
        raise InputError(f"evaluate.lm_eval: {folder} holds no lm-eval task", "put its YAML files there")
    return names


def documents_file(job_file: Path) -> Path:
    """Where the worker's `--check` writes what the documents of all tasks are, one JSON object a line."""
    return job_file.with_suffix(".documents.jsonl")


def item_id(task: str, document: Any, number: int, doc_hash: str, own: bool) -> str:
    """What a document is called in results, in the register of burnt items and in what is excluded.

    Only our `own` tasks' documents may carry an id of ours. Any other is known by its number and its hash: a data set
    that changed does not pair with what it was.
    """
    given = document.get("id") if own else None
    return f"{task}/{number}-{doc_hash[:8]}" if given in (None, "") else f"{task}/{given}"


def document_hash(document: Any) -> str:
    """lm-eval's own `doc_hash` of a document: SHA-256 of its JSON."""
    from lm_eval.utils import handle_non_serializable, hash_string

    text = json.dumps(document, indent=2, default=handle_non_serializable, ensure_ascii=False)
    return str(hash_string(text))


def split_of(document: Any, doc_hash: str, own: bool, dev_share: float) -> str:
    """`dev` or `release`. A task of ours says so itself; elsewhere the document's hash decides, so that it stays where
    it is whatever the number and order of the others."""
    if own and "split" in document:
        return str(document["split"])
    if own:
        return "release"
    return "dev" if int(doc_hash[:8], 16) < dev_share * 2**32 else "release"


def chance(samples: list[dict[str, Any]]) -> float | None:
    """What guessing scores over these documents: the mean of (right choices) / (choices); None for a single choice."""
    shares = []
    for sample in samples:
        choices = len(sample["arguments"]) // (2 if "acc_mutual_info" in sample["metrics"] else 1)
        right = len(set(sample["target"])) if isinstance(sample["target"], list) else 1
        shares.append(right / choices if choices > 1 else None)
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known and len(known) == len(shares) else None


def asked(task: Any, document: Any) -> str:
    """What a document asks, as the task words it; all its text where that is no text (a number of a choice)."""
    text = task.doc_to_text(document)
    if isinstance(text, str) and text.strip():
        return text
    return "\n".join(value for value in document.values() if isinstance(value, str))


def right_answers(task: Any, document: Any) -> list[str]:
    """The right answers as text; none where the task has another form for them."""
    target = task.doc_to_target(document)
    targets = target if isinstance(target, list) else [target]
    if any(isinstance(one, int) for one in targets) and task.get_config("doc_to_choice") is not None:
        choices = task.doc_to_choice(document)
        targets = [choices[one] if isinstance(one, int) and 0 <= one < len(choices) else one for one in targets]
    return [one for one in targets if isinstance(one, str) and one.strip()]


def quiet() -> None:
    """lm-eval logs and warns freely; what matters of it is said by us."""
    for name in ("lm_eval", "datasets", "transformers", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)
