"""lm-eval's part of evaluation: a child process checks its tasks before training, and scores all subjects after it."""

from __future__ import annotations

import importlib.metadata
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import EvaluationError, InputError, RatchetError
from harness.core.fingerprint import file_sha256, sha256_of
from harness.core.journal import segments
from harness.core.paths import Lab, read_json, write_json
from harness.core.records import MetricInfo, Subject
from harness.data import read_json_lines
from harness.evalset import Evalset
from harness.evaluate.lm_eval_tasks import documents_file
from harness.executors.local import Child, last_line
from harness.pipeline.context import Context
from harness.progress import Progress
from harness.spec import LmEval
from serve.engine import Engine

RULES = 2  # raise it when the worker says something else of the same tasks
WORKER = [sys.executable, "-P", "-m", "harness.evaluate.lm_eval_worker"]
ASK_AGAIN_S = 60.0  # a check asks for the same tasks several times, and each child takes seconds to say no
# What lm-eval could not load here -> when it was asked, and why not.
_refused: dict[Path, tuple[float, RatchetError]] = {}


@dataclass(frozen=True)
class TaskFacts:
    """What lm-eval says of one task before anything is scored. Metrics are named `task/metric`."""

    task: str
    documents: int
    dev: int
    metrics: dict[str, MetricInfo]
    left_out: dict[str, str]


@dataclass(frozen=True)
class Document:
    """One document of a task: where it belongs by the ids that results have, what it asks, and what it is
    (harness.evalset.content)."""

    task: str
    item_id: str
    split: str
    cluster: str
    prompt: str
    golds: list[str]
    asked: str
    whole: str


@dataclass(frozen=True)
class Scored:
    """One subject, scored. `decoding` adds to the settings what was chosen and found on the way."""

    eval_id: str
    items: int
    seconds: float
    metrics: dict[str, MetricInfo]
    decoding: dict[str, Any]


def facts(lab: Lab, settings: LmEval, task_sets: list[Evalset]) -> list[TaskFacts]:
    """The tasks that `settings` name, with groups spread out. Takes seconds the first time, then comes from lab/cache.

    Raises InputError for an unknown task (with the nearest name) and for data that cannot be loaded.
    """
    cached = checked(lab, settings, task_sets).absolute()
    if not cached.is_file():
        _ask(cached, _job(settings, task_sets))
    return [
        TaskFacts(told["task"], told["documents"], told["dev"], _metrics(told), told["left_out"])
        for told in read_json(cached)
    ]


def _ask(cached: Path, job: dict[str, Any]) -> None:
    """Have a child load the tasks and keep what it says. What it refused a moment ago is raised as it was."""
    when, refused = _refused.get(cached, (0.0, None))
    if refused and time.monotonic() < when + ASK_AGAIN_S:
        raise refused
    job_file = cached.with_suffix(".job.json")
    write_json(job_file, job)
    log = job_file.with_suffix(".log")
    try:
        with Child([*WORKER, "--check", str(job_file)], log) as child:
            told = [event for event in _events(child, log, InputError) if event["event"] == "task"]
    except RatchetError as error:
        _refused[cached] = time.monotonic(), error
        raise
    write_json(cached, told)


def documents(lab: Lab, settings: LmEval, task_sets: list[Evalset]) -> Iterator[Document]:
    """Every document of the tasks as lm-eval loads them; raises as `facts` does, with which it is cached."""
    facts(lab, settings, task_sets)
    job_file = checked(lab, settings, task_sets).with_suffix(".job.json")
    for _, row in read_json_lines(documents_file(job_file)):
        yield Document(**row)


def checked(lab: Lab, settings: LmEval, task_sets: list[Evalset]) -> Path:
    """The file of what is known of the tasks; it is there once lm-eval has loaded them."""
    name = sha256_of([RULES, content(settings, task_sets), _job(settings, task_sets)])[:16]
    return lab.cache / "lm_eval" / f"{name}.json"


def content(settings: LmEval, task_sets: list[Evalset]) -> str:
    """Hash of what the tasks are: lm-eval's version, and the files of tasks that lie here."""
    folders = [path if path.is_dir() else path.parent for path in map(Path, settings.tasks) if path.exists()]
    files = [
        {str(path.relative_to(folder)): file_sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
        for folder in folders
    ]
    return sha256_of([version(), *(task_set.sha256 for task_set in task_sets), *files])


def version() -> str:
    return f"lm-eval {importlib.metadata.version('lm-eval')}"


def start(context: Context, server: Engine, subjects: dict[str, Subject]) -> Child | None:
    """One child for all subjects, by eval id. It is started early: lm-eval takes seconds to import, then waits."""
    settings = context.spec.evaluate.lm_eval
    if not subjects or settings is None:
        return None
    for eval_id in subjects:
        _put_aside(context.lab, eval_id)
    job = {
        **_job(settings, context.task_sets),
        "url": server.url,
        "tokenizer": context.base.ref.path,
        "max_model_len": context.engine_facts["max_model_len"],
        "subjects": [
            {"eval_id": eval_id, "model": subject.model, "folder": str(context.lab.evals / eval_id)}
            for eval_id, subject in subjects.items()
        ],
    }
    job_file = _log(context.lab, subjects).with_suffix(".json")
    write_json(job_file, job)
    return Child([*WORKER, str(job_file)], _log(context.lab, subjects), secret=server.admin_token)


def finish(
    context: Context, child: Child, subjects: dict[str, Subject], store: Callable[[Scored], None], progress: Progress
) -> None:
    """Let it score, and store each subject as it is done. Raises EvaluationError when it ends otherwise."""
    log, done, left_out = _log(context.lab, subjects), 0, dict[str, str]()
    with progress.bar("lm-eval", len(subjects)) as advance:
        for event in _events(child, log, EvaluationError):
            if event["event"] == "done":
                done += 1
                left_out |= event["left_out"]
                store(_scored(event))
                advance(done, subjects[event["eval_id"]].label)
    tasks = context.spec.evaluate.lm_eval.tasks if context.spec.evaluate.lm_eval else []
    progress.say(f"evaluate: lm-eval {', '.join(tasks)} for {done} subject{'s' * (done != 1)}")
    for metric, why in sorted(left_out.items()):
        progress.say(f"evaluate: lm_eval/{metric} is left out: {why}")


def _job(settings: LmEval, task_sets: list[Evalset]) -> dict[str, Any]:
    return {
        **settings.model_dump(mode="json"),
        "include_path": [str(task_set.folder.absolute()) for task_set in task_sets],
        "own_tasks": [task for task_set in task_sets for task in task_set.definition.tasks],
    }


def _events(child: Child, log: Path, kind: type[InputError | EvaluationError]) -> Iterable[dict[str, Any]]:
    """The child's events; what it calls wrong, and an end before its time, are raised."""
    for event in child.events():
        if event["event"] == "wrong":
            raise kind(event["problem"], event["fix"])
        if event["event"] == "exit" and event["code"] != 0:
            raise EvaluationError(f"lm-eval ended with code {event['code']}: {last_line(log)}", f"see {log}")
        yield event


def _scored(event: dict[str, Any]) -> Scored:
    found = {key: event[key] for key in ("chat_template", "chosen_on_dev", "left_out", "cut")}
    return Scored(event["eval_id"], event["items"], event["seconds"], _metrics(event), found)


def _metrics(event: dict[str, Any]) -> dict[str, MetricInfo]:
    return {name: MetricInfo.model_validate(info) for name, info in event["metrics"].items()}


def _log(lab: Lab, subjects: dict[str, Subject]) -> Path:
    return lab.evals / "jobs" / f"{next(iter(subjects))}.log"


def _put_aside(lab: Lab, eval_id: str) -> None:
    """lm-eval scores a task as a whole: half of one from a killed command is put aside, not mixed in."""
    for path in segments(lab.evals / eval_id, "items"):
        path.rename(path.with_suffix(".abandoned"))
