"""What can be known before any compute is spent: data, evalsets, contamination, refusals, memory."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness.base import chat_template, special_tokens
from harness.core.errors import AdapterRefused, InputError
from harness.core.paths import Lab
from harness.data import load_rows
from harness.estimate import inference_bytes, training_memory
from harness.evaluate.scorers import self_check
from harness.pipeline import contamination, judging
from harness.pipeline.context import Context, resolve
from harness.pipeline.findings import Finding
from harness.pipeline.gate_check import gate_findings
from harness.pipeline.subjects import key_headers
from harness.spec import Train
from harness.train.arguments import check_job
from serve.adapters import check_adapter

GIB = 2**30
# transformers' own tag around trained text; to show a row, the text inside is what counts
GENERATION_TAG = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")


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
        *_endpoints(context),
        *contamination.findings(context),
        *gate_findings(context),
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
        judging.facts_of(evalset)
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


def _endpoints(context: Context) -> list[Finding]:
    """Keys of the endpoints that will be asked, before anything is spent."""
    found = []
    for subject in [*context.baseline_subjects(), *context.named_subjects()]:
        if subject.endpoint:
            try:
                key_headers(subject.endpoint)
            except InputError as error:
                found.append(Finding("error", subject.label, error.problem, error.fix))
    return found


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
