"""What can be known before any compute is spent: data, evalsets, contamination, refusals, memory."""

from __future__ import annotations

import json
import math
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from harness.base import chat_template, special_tokens
from harness.core.errors import AdapterRefused, InputError
from harness.core.paths import Lab
from harness.data import load_rows, normalised, prompts_of
from harness.estimate import inference_bytes, training_memory
from harness.evalset import Evalset
from harness.evaluate.scorers import self_check
from harness.pipeline.context import Context, resolve
from harness.spec import Gate, Guardrail, Primary, Train
from harness.train.arguments import check_job
from serve.adapters import check_adapter

GIB = 2**30
# Spread of a paired difference, where no stored results tell it: 10 % of items flipping for a share, and what
# sentence chrF differences showed on the quickstart's own dev items, in points.
ASSUMED_SD = {"share": math.sqrt(0.10), "points": 25.0}
# transformers' own tag around trained text; to show a row, the text inside is what counts
GENERATION_TAG = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")
POWER_Z = 1.96 + 0.84  # two-sided 95 % interval, 80 % power


@dataclass(frozen=True)
class Finding:
    level: Literal["error", "warning", "ok"]
    topic: str
    text: str
    fix: str = ""


@dataclass(frozen=True)
class Checked:
    context: Context
    findings: list[Finding]
    rendered: list[tuple[str, bool]]  # (text, carries loss) of the first training row

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "error"]


def check(lab: Lab, spec_path: Path) -> Checked:
    """Read everything the spec names; raise InputError for what cannot be read, list the rest as findings."""
    context = resolve(lab, spec_path)
    findings = [
        *_refusals(context),
        *_arguments(context),
        *_evalsets(context),
        *_contamination(context),
        *_gate(context),
        *_memory(context),
    ]
    return Checked(context, findings, _rendered(context))


def require_clean(checked: Checked) -> None:
    """Raise InputError with the first error, and say how many more there are."""
    if checked.errors:
        first = checked.errors[0]
        more = f" (and {len(checked.errors) - 1} more: see `ratchet check`)" if len(checked.errors) > 1 else ""
        raise InputError(f"{first.topic}: {first.text}{more}", first.fix)


def _refusals(context: Context) -> list[Finding]:
    """Adapters that vLLM would refuse to serve, said before they are trained."""
    found = []
    for point in context.points:
        settings = {**point.train.adapter.model_dump(mode="json"), "peft_type": point.train.adapter.type.upper()}
        try:
            check_adapter(settings)
        except AdapterRefused as error:
            found.append(Finding("error", f"run {point.label}", error.problem, error.fix))
    count = len(context.plan.runs)
    return found or [Finding("ok", "grid", f"{count} run{'s' * (count != 1)}, all servable by vLLM")]


def _arguments(context: Context) -> list[Finding]:
    """TRL argument names, and settings that the chosen loss would silently ignore."""
    found = []
    for job in context.plan.runs:
        try:
            check_job(job)
        except InputError as error:
            found.append(Finding("error", f"run {job.label}", error.problem, error.fix))
    return found


def _evalsets(context: Context) -> list[Finding]:
    found = []
    for evalset in context.evalsets:
        self_check(evalset)
        splits = [item.split for item in evalset.items]
        counts = ", ".join(f"{splits.count(split)} {split}" for split in ("tune", "dev", "release") if split in splits)
        found.append(
            Finding("ok", f"evalset {evalset.name}@{evalset.version}", f"{counts}; gold answers score full marks")
        )
        if "release" not in splits:
            found.append(
                Finding("error", f"evalset {evalset.name}", "has no release items", "a verdict needs split: release")
            )
    return found


def _contamination(context: Context) -> list[Finding]:
    """Evaluation items whose prompt stands in the training data, word for word."""
    refs = {ref.sha256: ref for job in context.plan.runs for ref in job.data}
    trained = set().union(*(prompts_of(ref) for ref in refs.values())) if refs else set()
    found = []
    for evalset in context.evalsets:
        inside = [item.id for item in evalset.items if normalised(item.turns) in trained]
        if inside:
            found.append(
                Finding(
                    "error",
                    f"evalset {evalset.name}",
                    f"{len(inside)} of {len(evalset.items)} items stand in the training data (first: {inside[0]!r})",
                    "remove those rows from training",
                )
            )
    if refs and not found:
        found.append(Finding("ok", "contamination", f"no evaluation prompt among {len(trained)} training prompts"))
    return found


def _gate(context: Context) -> list[Finding]:
    """Metrics the gate names must be measured, and the release items should be able to show its margins."""
    gate = context.spec.gate
    if gate is None:
        return [Finding("warning", "gate", "none: the report will compare but give no verdict", "add a gate")]
    found = []
    rows: list[Primary | Guardrail] = [gate.primary, *gate.guardrails]
    for row in rows:
        try:
            unit, items = _measured(context, row.metric)
        except InputError as error:
            found.append(Finding("error", "gate", error.problem, error.fix))
            continue
        if items:
            found.append(_power(row, unit, items))
    return [*found, *_comparators(context, gate)]


def _comparators(context: Context, gate: Gate) -> list[Finding]:
    known = ["incumbent", "best_baseline", "base", *(subject.label for subject in context.baseline_subjects())]
    named = {*gate.primary.better_than, *(name for guardrail in gate.guardrails for name in guardrail.against)}
    return [
        Finding("error", "gate", f"comparator {name!r} is not in this spec", f"use one of {', '.join(known)}")
        for name in sorted(named - set(known))
    ]


def _measured(context: Context, metric: str) -> tuple[str, int]:
    """(unit, release items) of a gate's metric; items is 0 where only lm-eval knows them."""
    names: list[str] = []
    for evalset in context.evalsets:
        for name, info in evalset.definition.metrics.items():
            names.append(f"{evalset.name}/{name}")
            if names[-1] == metric:
                return info.unit, sum(item.split == "release" for item in evalset.items)
    tasks = context.spec.evaluate.lm_eval.tasks if context.spec.evaluate.lm_eval else []
    parts = metric.split("/")
    if len(parts) == 3 and parts[0] == "lm_eval" and parts[1] in tasks:
        return "share", _task_items(context.task_sets, parts[1])
    known = ", ".join([*names, *(f"lm_eval/{task}/acc" for task in tasks)])
    raise InputError(f"metric {metric!r} is not measured by this spec", f"use one of {known}")


def _task_items(task_sets: list[Evalset], task: str) -> int:
    for evalset in task_sets:
        if task in evalset.definition.tasks:
            if not (evalset.folder / evalset.definition.items).is_file():
                return 0
            lines = (evalset.folder / evalset.definition.items).read_text(encoding="utf-8").splitlines()
            return sum(bool(line.strip()) for line in lines)
    return 0


def _power(row: Primary | Guardrail, unit: str, items: int) -> Finding:
    visible = POWER_Z * ASSUMED_SD[unit] / math.sqrt(items)
    text = f"{row.metric}: {items} release items show a difference of about {visible:.2g} {unit} (80 % power)"
    if isinstance(row, Guardrail) and visible > row.max_loss:
        fix = (
            f"expect INCONCLUSIVE unless answers hardly change; about {items * (visible / row.max_loss) ** 2:.0f} items"
        )
        return Finding("warning", "power", f"{text}, but max_loss is {row.max_loss:g}", fix + " would do")
    return Finding("ok", "power", text)


def _memory(context: Context) -> list[Finding]:
    """The estimate of the largest run beside what this machine has (GPU memory is checked when the worker starts)."""
    base, available = context.base, psutil.virtual_memory().total
    try:
        needs = [_run_bytes(context, point.train) for point in context.points]
        serving = inference_bytes(base.parameters, base.dtype)
    except KeyError:
        return [Finding("warning", "memory", f"no estimate: not Llama-shaped, or of unknown dtype ({base.dtype})")]
    largest = max([serving, *needs])
    text = (
        f"training up to {_size(max(needs, default=0))}, serving {_size(serving)}; this machine has {_size(available)}"
    )
    if largest > available:
        return [Finding("warning", "memory", text, "use a GPU, a smaller batch or quantization: nf4")]
    return [Finding("ok", "memory", text)]


def _run_bytes(context: Context, train: Train) -> float:
    base = context.base
    batch, length = train.per_device_train_batch_size, min(train.max_length, base.max_model_len)
    memory = training_memory(
        base.parameters, base.dtype, train.quantization, base.config, train.adapter.r, batch, length
    )
    return memory.total


def _size(count: float) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / 2**20:.0f} MiB"


def _rendered(context: Context) -> list[tuple[str, bool]]:
    """The first training row as the model will see it, in parts that carry loss and parts that do not."""
    if not context.plan.runs:
        return []
    row = load_rows(context.plan.runs[0].data[0])[0]
    answer = row.get("completion") or row["chosen"]
    template = chat_template(Path(context.base.ref.path))
    if template is None:
        return [(row["prompt"][-1]["content"], False), (answer[-1]["content"], True)]
    special = special_tokens(Path(context.base.ref.path))
    head = _render(template, row["prompt"], special, generation=True)
    whole = _render(template, [*row["prompt"], *answer], special, generation=False)
    return [(head, False), (whole.removeprefix(head), True)]


def _render(template: str, turns: list[dict[str, str]], special: dict[str, str], generation: bool) -> str:
    """What transformers' apply_chat_template gives, without importing it (9 s)."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)  # jinja's escapes HTML
    environment.globals |= {"raise_exception": raise_exception, "strftime_now": time.strftime}
    try:
        return environment.from_string(GENERATION_TAG.sub("", template)).render(
            messages=turns, add_generation_prompt=generation, tools=None, **special
        )
    except TemplateError as error:
        raise InputError(
            f"the base's chat template refuses the first training row ({error})", "change its turns or the template"
        ) from None
