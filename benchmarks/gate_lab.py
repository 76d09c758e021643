"""The lab of benchmarks.gate: trains what is planted, asks the product for its verdict, and asks the simple rule."""

from __future__ import annotations

import functools
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from benchmarks import gate_plants as plants
from harness.base import BaseInfo, describe
from harness.core.errors import RatchetError, TrainError
from harness.core.paths import Lab, write_atomic
from harness.core.records import EvalRecord, Subject
from harness.evalset import load
from harness.evaluate import business
from harness.pipeline.context import adapter_subject, find_adapter, resolve
from harness.pipeline.evaluation import start_engine
from harness.pipeline.promotion import promote
from harness.pipeline.run import Result, run
from harness.pipeline.subjects import BASE_NAME
from harness.pipeline.training import train_missing
from harness.plan import base_subject
from harness.progress import Progress, Silent
from harness.report.build import CandidateReport
from serve import adapters
from serve.engine import running, stop

BASE = plants.ROOT / "experiments" / "bases" / "tiny"
GENERAL = "lm_eval/tiny_general/acc"
PRIMARY, LENGTH = "aac/chrf", "aac/length"
Truth = Literal["defect", "equal", "better"]


@dataclass(frozen=True)
class Case:
    """One candidate before the gate. `truth`: what we know of it, having made it."""

    kind: str
    truth: Truth
    name: str
    run_id: str
    incumbent: str
    evalset: Path
    primary: str = PRIMARY
    length_rail: bool = True
    counted: bool = True


@dataclass(frozen=True)
class Outcome:
    """What became of a case: Ratchet's verdict and what decided it, and what "ship the higher mean" does.

    `fresh`: the means on rows that nobody saw, where something shipped that was not made to be better.
    """

    case: Case
    verdict: str
    by: str
    reason: str
    mean: float | None
    mean_against: dict[str, float | None]
    fresh: dict[str, float | None] | None = None

    @property
    def shipped(self) -> bool:
        return self.verdict == "SHIP"

    @property
    def mean_ships(self) -> bool:
        """The simple rule: the candidate's mean is higher than each of the others'. A subject without one loses."""
        others = [-math.inf if other is None else other for other in self.mean_against.values()]
        return self.mean is not None and all(self.mean > other for other in others)


@dataclass
class Bench:
    """One lab with one engine; every case is a look of its own at a release split that nobody looked at before."""

    lab: Lab
    work: Path
    progress: Progress = field(default_factory=Silent)

    def train(self, name: str, recipes: dict[str, dict[str, Any]]) -> dict[str, str]:
        """Train one adapter per recipe ({'train.seed': 1, …}), in one child process; recipe name -> run id."""
        spec = {
            "name": "gate-bench",
            "base_model": str(BASE),
            "train": {
                "dataset": next(iter(recipes.values()))["train.dataset"],
                "adapter": {"type": "lora", "r": 16},
                "learning_rate": 3.0e-3,
                "per_device_train_batch_size": 8,
                "warmup_steps": 10,
                "max_length": 256,
            },
            "grid": {"_": list(recipes.values())},
            "evaluate": {"evalsets": ["general"]},
        }
        context = resolve(self.lab, self._write(name, spec))
        failed = train_missing(self.lab, context.plan.runs, self.progress)
        if failed:
            raise TrainError(f"the benchmark's own training failed: {next(iter(failed.values()))}")
        return {recipe: job.run_id for recipe, job in zip(recipes, context.plan.runs, strict=True)}

    def put_in_place(self, run_id: str, name: str) -> str:
        """Serve a run under `name@prod`, as the incumbent of cases; the alias."""
        promote(self.lab, run_id, f"{name}@prod", "the benchmark's incumbent", force=True, who="benchmarks.gate")
        return f"{name}@prod"

    def score(self, run_ids: Sequence[str]) -> None:
        """lm-eval scores of all these, in one child process: importing lm-eval takes longer than a verdict."""
        spec = {**_spec(list(run_ids), []), "baselines": ["zero_shot"]}
        run(self.lab, self._write("general", spec), self.progress)

    def outcome(self, case: Case) -> Outcome:
        """One case through check, parity, evaluation, contamination and gate."""
        path = self._write(case.name, _spec([case.run_id], [str(case.evalset)]) | {"gate": _gate(case)})
        shutil.rmtree(self.lab.registry / "looks", ignore_errors=True)
        try:
            verdict, by, reason = _told(run(self.lab, path, self.progress), case)
        except RatchetError as error:
            verdict, by, reason = "REFUSED", "check", error.one_line()
        means = self._means(case)
        doubtful = verdict == "SHIP" and case.truth != "better"
        fresh = self._means(replace(case, evalset=self._fresh)) if doubtful else None
        reason = reason.replace(f"{self.work}/", "")  # results are kept, folders are not
        return Outcome(case, verdict, by, reason, means.pop(case.run_id), means, fresh)

    def stop(self) -> None:
        for lease in running(self.lab):
            stop(self.lab, lease.engine_id)

    # --- the simple rule ----------------------------------------------------------------------------------------

    def _means(self, case: Case) -> dict[str, float | None]:
        return {name: self._mean(case, name) for name in (case.run_id, case.incumbent, BASE_NAME)}

    def _mean(self, case: Case, name: str) -> float | None:
        """The mean of every value there is on release: what a script that knows of no defect would compute."""
        evalset, metric = load(str(case.evalset)), case.primary.split("/")[1]
        adapter = None if name == BASE_NAME else find_adapter(self.lab, name)
        subject = adapter_subject(adapter) if adapter else base_subject(self._base, BASE_NAME)
        folder = (
            self._stored(subject, evalset.sha256) or self.work / "scores" / f"{subject.model}-{evalset.sha256[:12]}"
        )
        if not folder.is_dir():
            with start_engine(self.lab, self._base, [adapter] if adapter else [], self.progress) as engine:
                if adapter:
                    adapters.load(engine, adapter.run_id, adapter.folder)
                door = business.Door(engine.url, chat=True)
                business.evaluate(evalset, subject, door, folder, [], lambda: None)
        found = [one.scores[metric].value for one in business.results(folder).values() if one.split == "release"]
        values = [value for value in found if value is not None]
        return math.fsum(values) / len(values) if values else None

    def _stored(self, subject: Subject, evalset_sha256: str) -> Path | None:
        """Where the product's own scores lie; None for what it refused to score."""
        for path in self.lab.evals.glob("*/eval.json"):
            record = EvalRecord.read(path)
            if (record.subject.identity, record.evalset_sha256) == (subject.identity, evalset_sha256):
                return path.parent
        return None

    @functools.cached_property
    def _fresh(self) -> Path:
        return plants.fresh(self.work / "evalsets" / "fresh")

    @functools.cached_property
    def _base(self) -> BaseInfo:
        return describe(str(BASE), self.lab)

    def _write(self, name: str, spec: dict[str, Any]) -> Path:
        path = self.work / "specs" / f"{name.replace(' ', '-')}.yaml"
        write_atomic(path, yaml.safe_dump(spec, sort_keys=False).encode())
        return path


def _spec(run_ids: list[str], evalsets: list[str]) -> dict[str, Any]:
    return {
        "name": "gate-bench",
        "base_model": str(BASE),
        "subjects": run_ids,
        "baselines": ["zero_shot"],
        "evaluate": {
            "evalsets": evalsets,
            "repeat": False,
            "lm_eval": {"tasks": ["tiny_general"], "apply_chat_template": False},
        },
    }


def _gate(case: Case) -> dict[str, Any]:
    rails = [{"metric": GENERAL, "against": ["base"], "max_loss": 0.10}]
    if case.length_rail:
        rails.append({"metric": LENGTH, "against": ["incumbent"], "max_loss": 3})
    primary = {"metric": case.primary, "better_than": ["incumbent", "best_baseline"], "min_gain": 0}
    return {"incumbent": case.incumbent, "primary": primary, "guardrails": rails}


def _told(result: Result, case: Case) -> tuple[str, str, str]:
    """(verdict, what decided it, the reason in words) of a report."""
    (candidate,) = result.report.candidates
    verdict = str(candidate.verdict)
    if case.run_id in result.failures:
        return verdict, "parity", result.failures[case.run_id]
    if verdict == "SHIP":
        return verdict, "", candidate.reason
    return verdict, _decider(candidate), candidate.reason


def _decider(candidate: CandidateReport) -> str:
    """'contamination' where the leaked items alone would have shipped it, else the first row that stood against it."""
    primary = [row for row in candidate.rows if row.role == "primary" and row.comparison]
    whole = [row.comparison.with_excluded for row in primary if row.comparison]
    if whole and all(one and one.low is not None and one.low > 0 for one in whole):
        return "contamination"
    row = next(row for row in candidate.rows if row.verdict == candidate.verdict)
    return f"{row.verdict} {row.role} {row.metric.rpartition('/')[0] if 'lm_eval' in row.metric else row.metric}"
