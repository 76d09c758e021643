"""The prompt contract of a version: what its adapter was trained and evaluated with, gathered when it is promoted."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from harness.base import chat_template, special_tokens
from harness.core.errors import RatchetError
from harness.core.paths import Lab
from harness.core.records import AdapterRecord, EvalRecord, PromptContract
from harness.evalset import load

NOT_SAMPLING = (
    "api",
    "samples",
    "judged_by",
    "template",
)  # of an evaluation's decoding: how it was asked, not sampling


def contract_of(lab: Lab, record: AdapterRecord) -> PromptContract:
    """Read from the run's job, its base and its stored evaluations. What cannot be read any more is left empty.

    A system prompt counts where the evalset is still the one that was evaluated: another text would mislead.
    """
    base = Path(record.job.base.path)
    template = chat_template(base) if base.is_dir() else None
    evals = _evals(lab, record.sha256)
    stop = [word for one in evals for word in _stops(one.decoding)]
    stop += [special_tokens(base)["eos_token"]] if base.is_dir() else []
    longest = record.job.arguments.get("max_length")
    return PromptContract(
        system_prompts={one.evalset: text for one in evals if (text := _system(one))},
        chat_template=template,
        chat_template_sha256=_sha256(template),
        template=_template(evals),
        trained_tokens=longest if isinstance(longest, int) else None,
        context_tokens=max((int(one.engine.get("max_model_len") or 0) for one in evals), default=0) or None,
        stop=list(dict.fromkeys(filter(None, stop))),
        sampling={one.evalset: _sampling(one.decoding) for one in evals},
    )


def contract_of_model(folder: Path) -> PromptContract:
    """Of a full fine-tune trained elsewhere: what its own files say. Nothing here evaluated it."""
    template, stop = chat_template(folder), special_tokens(folder)["eos_token"]
    return PromptContract(chat_template=template, chat_template_sha256=_sha256(template), stop=[stop] if stop else [])


def _sha256(template: str | None) -> str | None:
    return hashlib.sha256(template.encode()).hexdigest() if template else None


def _evals(lab: Lab, adapter_sha256: str) -> list[EvalRecord]:
    """Business evaluations of the adapter as it is, newest last. A damaged one tells nothing."""
    found = []
    for path in sorted(lab.evals.glob("*/eval.json")):
        try:
            record = EvalRecord.read(path)
        except RatchetError:
            continue
        own = record.subject.adapter_sha256 == adapter_sha256 and record.subject.prompting.kind == "zero_shot"
        if record.kind == "business" and own and not record.subject.repeat:
            found.append(record)
    return sorted(found, key=lambda record: record.created)


def _system(one: EvalRecord) -> str:
    try:
        evalset = load(one.evalset)
    except RatchetError:
        return ""
    return evalset.definition.system if evalset.sha256 == one.evalset_sha256 else ""


def _stops(decoding: dict[str, Any]) -> list[str]:
    stop = decoding.get("stop") or []
    return [stop] if isinstance(stop, str) else [str(word) for word in stop]


def _sampling(decoding: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in decoding.items() if key not in NOT_SAMPLING}


def _template(evals: list[EvalRecord]) -> Any:
    """'chat' or 'plain', where all evaluations say the same."""
    asked = {one.decoding.get("api") for one in evals}
    return {"chat": "chat", "completions": "plain"}.get(str(asked.pop())) if len(asked) == 1 else None
