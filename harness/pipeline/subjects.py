"""From what a spec names to subjects, and what stands before an item's own prompt for each of them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from harness.base import BaseInfo
from harness.core.errors import InputError
from harness.core.fingerprint import file_sha256, sha256_of
from harness.core.records import BaseRef, Endpoint, Subject
from harness.data import Turn, read_json_lines
from harness.evalset import EVALSETS
from harness.plan import base_subject, endpoint_subject, examples_for, few_shot_subject, prompted_subject
from harness.spec import Baseline, EndpointSpec, Guardrail, Spec

BASE_NAME = "base"  # what the engine calls the base model when it is asked by its role


@dataclass(frozen=True)
class Preface:
    """`turns` go before every item's prompt; `contexts` replace an item's own, by item id."""

    turns: list[Turn] = field(default_factory=list)
    contexts: dict[str, list[str]] = field(default_factory=dict)


NOTHING = Preface()
GENERAL = "general"
GENERAL_MAX_LOSS = 0.05


def with_forgetting(spec: Spec) -> Spec:
    """The spec with the guardrail on the shipped general set, where the gate has none that notices forgetting.

    Only where that evalset is at hand. The loss allowed is what its 316 release items can show (about 5 points when one
    item in ten flips).
    """
    gate = spec.gate
    if gate is None or spec.evaluate.forgetting == "off" or not (EVALSETS / GENERAL / "evalset.yaml").is_file():
        return spec
    if any(rail.metric.startswith(("lm_eval/", f"{GENERAL}/")) for rail in gate.guardrails):
        return spec
    rail = Guardrail(metric=f"{GENERAL}/accuracy", against=["base"], max_loss=GENERAL_MAX_LOSS)
    evaluate = spec.evaluate.model_copy(
        update={"evalsets": list(dict.fromkeys([*spec.evaluate.evalsets, GENERAL]))}
    )  # fmt: skip
    return spec.model_copy(
        update={"gate": gate.model_copy(update={"guardrails": [*gate.guardrails, rail]}), "evaluate": evaluate}
    )


def baselines(spec: Spec, base: BaseInfo) -> list[tuple[Subject, Preface]]:
    """The base as it is, then the spec's own rows in order; adapters are not among them. Raises InputError."""
    endpoints = [baseline for baseline in spec.baselines if baseline.endpoint]
    first = base_subject(base, BASE_NAME) if spec.base_model else _endpoint(endpoints[0])
    found = [(first, NOTHING)]
    for baseline in spec.baselines:
        if baseline.endpoint:
            found.append((_endpoint(baseline), NOTHING))
        elif not spec.base_model:
            continue  # prompts and examples are for a base of ours
        elif baseline.kind == "few_shot":
            turns = examples_for(baseline, spec)
            found.append((few_shot_subject(base, BASE_NAME, baseline, turns), Preface(turns=turns)))
        elif baseline.prompt:
            text = system_text(Path(baseline.prompt))
            turns = [{"role": "system", "content": text}]
            found.append((prompted_subject(base, BASE_NAME, baseline, sha256_of(text)), Preface(turns=turns)))
        elif baseline.retrieved:
            path = Path(baseline.retrieved)
            contexts = _contexts(path)
            found.append(
                (prompted_subject(base, BASE_NAME, baseline, file_sha256(path)), Preface(contexts=contexts))
            )  # fmt: skip
    return found


def named_endpoints(spec: Spec) -> list[Subject]:
    """Endpoints that the spec wants evaluated as candidates."""
    return [endpoint_subject(one.endpoint, one.label) for one in spec.subjects if not isinstance(one, str)]


def key_headers(endpoint: Endpoint) -> dict[str, str]:
    """The Authorization header for an endpoint; InputError when its environment variable is not set."""
    if endpoint.api_key_env is None:
        return {}
    key = os.environ.get(endpoint.api_key_env)
    if not key:
        raise InputError(
            f"endpoint {endpoint.base_url}: environment variable {endpoint.api_key_env} is not set", "set it to the key"
        )
    return {"Authorization": f"Bearer {key}"}


def endpoint_base(endpoint: EndpointSpec) -> BaseInfo:
    """What plays the base where every subject is somebody's server: nothing of it is ours to load."""
    ref = BaseRef(
        source=endpoint.base_url,
        path=endpoint.base_url,
        sha256=endpoint_subject(endpoint, "").base_sha256,
        has_chat_template=True,
    )
    return BaseInfo(ref=ref, parameters=0, weight_bytes=0, dtype="unknown", max_model_len=0, config={})


def _endpoint(baseline: Baseline) -> Subject:
    assert baseline.endpoint is not None
    return endpoint_subject(baseline.endpoint, baseline.label)


def system_text(path: Path) -> str:
    """A file's text as a system prompt; InputError where it cannot be read or is empty."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})", "prompt names a text file") from None
    if not text:
        raise InputError(f"{path} is empty", "write the system prompt there")
    return text


def _contexts(path: Path) -> dict[str, list[str]]:
    """Item id -> contexts, as some retriever found them once: frozen, so that every subject sees the same."""
    found: dict[str, list[str]] = {}
    for number, row in read_json_lines(path):
        contexts = row.get("contexts")
        if "id" not in row or not isinstance(contexts, list) or not all(isinstance(one, str) for one in contexts):
            raise InputError(f"{path}:{number}: not {{id, contexts: [text]}}", "one item of the evalset a line")
        if str(row["id"]) in found:
            raise InputError(f"{path}:{number}: id {row['id']!r} stands twice", "one line an item")
        found[str(row["id"])] = contexts
    if not found:
        raise InputError(f"{path} has no contexts", "add some")
    return found
