"""A spec and what it names, expanded into runs and subjects with content-addressed ids. Pure: nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from harness.base import BaseInfo
from harness.core.errors import InputError
from harness.core.fingerprint import sha256_of, short_id
from harness.core.records import DataRef, Endpoint, PlanRecord, Prompting, RunJob, Subject, now
from harness.data import Turn, few_shot_turns
from harness.spec import Baseline, EndpointSpec, GridPoint, Spec

# What of the engine changes text; part of every eval_id.
ENGINE_TEXT_KEYS = ("vllm", "dtype", "max_model_len")


def run_job(point: GridPoint, base: BaseInfo, data: list[DataRef], parent: tuple[Path, str] | None) -> RunJob:
    """One run, resolved. `parent` is (folder, sha256) of the adapter it continues."""
    train = point.train
    content = {
        "base": base.ref.sha256,
        "method": train.method.model_dump(mode="json"),
        "adapter": train.adapter.model_dump(mode="json"),
        "quantization": train.quantization,
        "data": [[ref.sha256, ref.format, ref.split] for ref in data],
        "arguments": train.arguments(),
        "seed": train.seed,
        "init_adapter": parent[1] if parent else None,
    }
    return RunJob(
        run_id=short_id("r", content),
        label=point.label,
        base=base.ref,
        method=train.method.model_dump(mode="json"),
        adapter=train.adapter.model_dump(mode="json"),
        quantization=train.quantization,
        data=data,
        arguments=train.arguments(),
        seed=train.seed,
        init_adapter=str(parent[0]) if parent else None,
        init_adapter_sha256=parent[1] if parent else None,
    )


def plan_record(spec: Spec, spec_path: Path, runs: list[RunJob], evalset_hashes: dict[str, str]) -> PlanRecord:
    """The plan: hashed over runs, evaluation and gate, before training. A changed gate is a new plan."""
    unique = list({job.run_id: job for job in runs}.values())
    content = {
        "name": spec.name,  # the alias that the gate's incumbent stands for hangs on it
        "runs": [job.run_id for job in unique],
        "subjects": [one if isinstance(one, str) else one.model_dump(mode="json") for one in spec.subjects],
        "baselines": [baseline.model_dump(mode="json") for baseline in spec.baselines],
        "evaluate": spec.evaluate.model_dump(mode="json", exclude={"concurrency", "timeout_s"}),
        "evalsets": evalset_hashes,
        "gate": spec.gate.model_dump(mode="json") if spec.gate else None,
    }
    return PlanRecord(
        plan_id=short_id("p", content),
        name=spec.name,
        spec_path=str(spec_path),
        spec=spec.model_dump(mode="json"),
        runs=unique,
        gate=content["gate"],
        created=now(),
    )


def base_subject(base: BaseInfo, model: str) -> Subject:
    return Subject(kind="base", label="zero-shot", model=model, base_sha256=base.ref.sha256)


def few_shot_subject(base: BaseInfo, model: str, baseline: Baseline, turns: list[Turn]) -> Subject:
    prompting = Prompting(kind="few_shot", shots=baseline.shots, examples_sha256=sha256_of(turns))
    return Subject(kind="base", label=baseline.label, model=model, base_sha256=base.ref.sha256, prompting=prompting)


def prompted_subject(base: BaseInfo, model: str, baseline: Baseline, text_sha256: str) -> Subject:
    """A base with a system prompt, or with contexts retrieved ahead of time; the hash is of what stands in front."""
    kind: Literal["prompt", "retrieved"] = "prompt" if baseline.kind == "prompt" else "retrieved"
    prompting = Prompting(kind=kind, text_sha256=text_sha256)
    return Subject(kind="base", label=baseline.label, model=model, base_sha256=base.ref.sha256, prompting=prompting)


def endpoint_subject(endpoint: EndpointSpec, label: str) -> Subject:
    """Somebody's server. What it runs may change under its name: the evaluation's date is all that is known."""
    found = Endpoint(**endpoint.model_dump())
    sha256 = sha256_of([found.base_url, found.model])
    return Subject(kind="endpoint", label=label, model=found.model, base_sha256=sha256, endpoint=found)


def again(subject: Subject) -> Subject:
    """The same subject for an A/A row: asked a second time, to show what the engine alone changes."""
    return subject.model_copy(update={"label": f"{subject.label} (again)", "repeat": 1})


def examples_for(baseline: Baseline, spec: Spec) -> list[Turn]:
    """The example turns of a few-shot baseline: from its own file, else from the spec's first training file."""
    path = baseline.examples or (spec.train.dataset[0].path if spec.train else None)
    if path is None:
        raise InputError("baselines: few_shot has no examples", "add examples: FILE")
    return few_shot_turns(Path(path), baseline.shots)


def eval_id(subject: Subject, evalset_sha256: str, decoding: dict[str, Any], engine: dict[str, Any]) -> str:
    """Subject × evalset × decoding × what of the engine changes text (design §3, Ids)."""
    text = {key: engine.get(key) for key in ENGINE_TEXT_KEYS}
    return short_id("e", [subject.identity, evalset_sha256, decoding, text])
