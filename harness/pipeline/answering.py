"""Who answers a campaign's prompts: adapters, a base with or without a system prompt, endpoints; and their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from harness import campaign as campaigns
from harness.base import BaseInfo, describe
from harness.core.errors import EvaluationError, InputError
from harness.core.fingerprint import sha256_of
from harness.core.paths import Lab
from harness.core.rating import Answer
from harness.core.records import AdapterRecord, Subject
from harness.data import Turn
from harness.pipeline.context import Adapter, adapter_subject, find_adapter
from harness.pipeline.evaluation import start_engine
from harness.pipeline.subjects import BASE_NAME, key_headers, system_text
from harness.plan import base_subject, endpoint_subject, prompted_subject
from harness.progress import Progress
from harness.spec import Baseline
from serve import adapters, registry
from serve.client import Ask, Reply, ask_many

CONCURRENCY = 32
MAX_FAILED_SHARE = 0.1  # more means a broken server, not hard prompts
FORMS = "a run id, NAME@ALIAS, NAME@vN, base, '{prompt: FILE}' or '{endpoint: {base_url: URL, model: NAME}}'"


@dataclass(frozen=True)
class Answerer:
    """A subject, what stands before its prompts, and its adapter if it has one."""

    subject: Subject
    preface: list[Turn] = field(default_factory=list)
    adapter: Adapter | None = None


@dataclass(frozen=True)
class Answerers:
    """All subjects of a campaign; `base` is None where every one is somebody else's server."""

    each: list[Answerer]
    base: BaseInfo | None

    @property
    def subjects(self) -> list[Subject]:
        return [one.subject for one in self.each]


def find(lab: Lab, names: Sequence[str], base: str = "") -> Answerers:
    """The subjects of these names (FORMS). `base` is a folder or hub id, needed where no adapter says which base.

    Raises InputError for a name that is none of these, and for subjects on different bases.
    """
    rows = [_row(name) for name in names]
    used = {
        place: find_adapter(lab, row if isinstance(row, str) else str(row.adapter))
        for place, row in enumerate(rows)
        if (isinstance(row, str) and row != BASE_NAME) or (isinstance(row, Baseline) and row.adapter)
    }
    ours = any(not isinstance(row, Baseline) or not row.endpoint for row in rows)
    if ours and not used and not base:
        raise InputError("no adapter among the subjects says which base is meant", "give --base FOLDER_OR_HUB_ID")
    described = describe(base or base_path(lab, next(iter(used.values()))), lab) if ours else None
    found = [_answerer(row, used.get(place), described) for place, row in enumerate(rows)]
    for one in found:
        if one.subject.kind != "endpoint" and described and one.subject.base_sha256 != described.ref.sha256:
            raise InputError(f"{one.subject.label} stands on another base", "compare adapters of one base")
    return Answerers(found, described)


def _row(name: str) -> str | Baseline:
    if not name.lstrip().startswith("{"):
        return name
    try:
        row = Baseline.model_validate(yaml.safe_load(name))
    except (yaml.YAMLError, ValidationError) as error:
        problem = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "not YAML"
        raise InputError(f"subject {name}: {problem}", f"write {FORMS}") from None
    if row.kind not in ("prompt", "endpoint", "adapter"):
        raise InputError(f"subject {name}: a campaign does not take {row.kind}", f"write {FORMS}")
    return row


def _answerer(row: str | Baseline, adapter: Adapter | None, base: BaseInfo | None) -> Answerer:
    if adapter:
        return Answerer(adapter_subject(adapter), adapter=adapter)
    if isinstance(row, Baseline) and row.endpoint:
        return Answerer(endpoint_subject(row.endpoint, row.label))
    assert base is not None
    if isinstance(row, Baseline):
        text = system_text(Path(str(row.prompt)))
        return Answerer(
            prompted_subject(base, BASE_NAME, row, sha256_of(text)), [{"role": "system", "content": text}]
        )  # fmt: skip
    return Answerer(base_subject(base, BASE_NAME))


def base_path(lab: Lab, adapter: Adapter) -> str:
    """The folder of the base an adapter was trained on, as its run or its registry version recorded it."""
    record = lab.adapter_record(adapter.run_id)
    if record.is_file():
        return AdapterRecord.read(record).job.base.path
    return registry.resolve(lab, adapter.label).base_path


@dataclass(frozen=True)
class Door:
    """Where one subject is asked, and whether in chat form."""

    url: str
    headers: dict[str, str]
    chat: bool


def doors(lab: Lab, answerers: Answerers, progress: Progress) -> list[Door]:
    """A door for each subject: an engine of ours, started where one is needed, or its own endpoint."""
    server = None
    if answerers.base is not None:
        used = [one.adapter for one in answerers.each if one.adapter]
        server = start_engine(lab, answerers.base, used, progress)
        for adapter in used:
            adapters.load(server, adapter.run_id, adapter.folder)
    found = []
    for one in answerers.each:
        endpoint = one.subject.endpoint
        if endpoint is not None:
            found.append(Door(endpoint.base_url, key_headers(endpoint), chat=True))
        else:
            assert server is not None
            assert answerers.base is not None
            found.append(Door(server.url, dict(server.headers), answerers.base.ref.has_chat_template))
    return found


def answers(
    door: Door, one: Answerer, items: Sequence[campaigns.PoolItem], decoding: dict[str, Any], progress: Progress
) -> dict[str, Answer | None]:
    """Item id -> the subject's answer; None for one that failed. `decoding.seed` plus its place seeds each.

    Raises EvaluationError when more than a tenth failed: that is a server, not prompts.
    """
    asks = [
        ask(door, one, item.prompt, {**decoding, "seed": decoding["seed"] + place}) for place, item in enumerate(items)
    ]
    found: dict[str, Answer | None] = {}
    with progress.bar(f"answers of {one.subject.label}", len(asks)) as advance:

        def keep(index: int, reply: Reply) -> None:
            found[items[index].item_id] = None if reply.error else _answer(one.subject, reply)
            advance(len(found), "")

        replies = ask_many(door.url, asks, concurrency=CONCURRENCY, headers=door.headers, on_reply=keep)
    failed = [reply.error for reply in replies if reply.error]
    if len(failed) > MAX_FAILED_SHARE * len(asks):
        raise EvaluationError(
            f"{one.subject.label}: {len(failed)} of {len(asks)} answers failed ({failed[0]})", "try again"
        )
    return found


def ask(door: Door, one: Answerer, prompt: list[Turn], sampling: dict[str, Any]) -> Ask:
    """One request to a subject; a base without a chat template gets the preface and the prompt's last turn."""
    if door.chat:
        return Ask(model=one.subject.model, messages=[*one.preface, *prompt], sampling=sampling)
    turns = [*one.preface, prompt[-1]]
    return Ask(model=one.subject.model, prompt="\n\n".join(turn["content"] for turn in turns), sampling=sampling)


def _answer(subject: Subject, reply: Reply) -> Answer:
    return Answer(subject=subject.label, model=subject.model, text=reply.text, finish_reason=reply.finish_reason)
