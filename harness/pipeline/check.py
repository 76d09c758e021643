"""What can be known before any compute is spent: data, evalsets, contamination, refusals, memory."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness.base import chat_template, special_tokens
from harness.core import machine
from harness.core.errors import AdapterRefused, InputError
from harness.core.paths import Lab
from harness.data import load_rows
from harness.estimate import Setting, inference_bytes, training_dtype, training_memory
from harness.evaluate.scorers import self_check
from harness.pipeline import contamination, judging
from harness.pipeline.context import Context, resolve
from harness.pipeline.findings import Finding
from harness.pipeline.gate_check import gate_findings
from harness.pipeline.subjects import key_headers
from harness.spec import Train
from harness.train.arguments import check_job
from harness.train.methods import METHODS
from serve.adapters import check_adapter

GIB = 2**30
CUDA_BYTES = 0.6 * GIB  # what CUDA and its libraries take on the GPU besides torch's own
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
    """The estimate of the largest run, on rows that fill max_length, beside what training has here: the GPU's memory
    where there is a GPU, else this machine's."""
    base, gpu, main = context.base, machine.gpu_bytes(), psutil.virtual_memory().total
    try:
        settings = [_setting(context, point.train, gpu is not None) for point in context.points]
        runs = [training_memory(base.parameters, base.config, setting) for setting in settings]
        serving = inference_bytes(base.parameters, base.dtype)
    except KeyError:
        return [Finding("warning", "memory", f"no estimate: not Llama-shaped, or of unknown dtype ({base.dtype})")]
    training = max((run.total for run in runs), default=0.0)
    told = f"training up to {_size(training)}, serving {_size(serving)}"
    if gpu is None:
        largest = max(training, serving)
        return [_fits(largest, main, f"{told}; this machine has", "use a GPU, a smaller batch or quantization: nf4")]
    largest = max(training + CUDA_BYTES, serving)
    found = [_fits(largest, gpu, f"{told}; the GPU has", "use a smaller batch, quantization: nf4 or a larger GPU")]
    reference = max((run.reference for run in runs), default=0.0)
    if reference > main:
        told = f"an adapter's reference needs the base in fp32, {_size(reference)}; this machine has"
        found.append(_fits(reference, main, told, "train where there is more main memory"))
    return found


def _fits(needed: float, there: int, told: str, fix: str) -> Finding:
    text = f"{told} {_size(there)}"
    return Finding("ok", "memory", text) if needed <= there else Finding("warning", "memory", text, fix)


def _setting(context: Context, train: Train, gpu: bool) -> Setting:
    """A run as it will be on this machine: what it trains in, and whether activations are computed again."""
    return Setting(
        dtype=training_dtype(context.base.dtype, gpu, machine.cpu_computes_bf16()),
        quantization=train.quantization,
        rank=train.adapter.r,
        rows=train.per_device_train_batch_size * METHODS[train.method.type].sequences,
        length=min(train.max_length, context.base.max_model_len),
        gpu=gpu,
        checkpointing=bool(train.trainer_extra.get("gradient_checkpointing", gpu)),  # harness.train.settings' default
    )


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
