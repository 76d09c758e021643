"""Rating and the next round: answers for a campaign through the engine, votes into a DPO spec."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import campaign as campaigns
from harness import preferences
from harness.base import BaseInfo, describe
from harness.core.errors import EvaluationError, InputError
from harness.core.fingerprint import file_sha256
from harness.core.paths import Lab, check_name
from harness.core.rating import Answer, CampaignRecord
from harness.core.records import AdapterRecord, DataRef, PlanRecord, Subject, now
from harness.data import raw_rows, turns_of
from harness.pipeline.context import Adapter, adapter_subject, find_adapter
from harness.pipeline.evaluation import start_engine
from harness.pipeline.subjects import BASE_NAME
from harness.plan import base_subject
from harness.progress import Progress
from serve import adapters, registry
from serve.client import Ask, Reply, ask_many
from serve.engine import Engine

CONCURRENCY = 32
MAX_FAILED_SHARE = 0.1  # more means a broken server, not hard prompts


def create_campaign(
    lab: Lab,
    campaign: str,
    name: str,
    subjects: tuple[str, str],
    pool: Path,
    limit: int | None,
    decoding: dict[str, Any],
    seed: int,
    progress: Progress,
) -> CampaignRecord:
    """Answer `pool`'s prompts with two subjects and store the pairs worth rating.

    A subject is a run id, `name@alias`, `name@vN` or `base`. `decoding` are sampling settings; each prompt is asked
    with `seed` plus its place, so that two samples of one adapter differ and a repeated command does not.
    """
    check_name(campaign, "campaign")
    check_name(name, "name")
    if (campaigns.folder(lab, campaign) / "campaign.json").exists():
        raise InputError(f"campaign {campaign!r} exists already", "choose another name; campaigns never change")
    items = _pool_items(pool, limit)
    used = [find_adapter(lab, subject) for subject in subjects if subject != BASE_NAME]
    if not used:
        raise InputError("a campaign compares at least one adapter", "give a run id or NAME@ALIAS")
    base = describe(_base_path(lab, used[0]), lab)
    rated = _subjects(subjects, used, base)
    server = start_engine(lab, base, used, progress)
    for adapter in used:
        adapters.load(server, adapter.run_id, adapter.folder)
    chat = base.ref.has_chat_template
    answers = [
        _answers(server, subject, items, chat, {**decoding, "seed": seed + place * len(items)}, progress)
        for place, subject in enumerate(rated)
    ]
    pairs, refused = campaigns.make_pairs(items, answers[0], answers[1], (rated[0], rated[1]), seed)
    record = CampaignRecord(
        campaign=campaign,
        name=name,
        subjects=rated,
        pool=DataRef(path=str(pool.absolute()), sha256=file_sha256(pool), rows=len(items), format="pool", split="pool"),
        decoding=decoding,
        pairs=len(pairs),
        refused=refused,
        seed=seed,
        created=now(),
    )
    campaigns.write(lab, record, pairs)
    return record


def _subjects(names: tuple[str, str], used: list[Adapter], base: BaseInfo) -> list[Subject]:
    waiting = iter(used)
    found = [base_subject(base, BASE_NAME) if name == BASE_NAME else adapter_subject(next(waiting)) for name in names]
    if any(subject.base_sha256 != base.ref.sha256 for subject in found):
        raise InputError("the two subjects stand on different bases", "compare adapters of one base")
    return found


def _pool_items(pool: Path, limit: int | None) -> list[campaigns.PoolItem]:
    """Prompts of a .jsonl or .csv file: columns prompt, and id and cluster where there are any."""
    items = []
    for number, row in raw_rows(pool):
        if "prompt" not in row:
            raise InputError(f"{pool}:{number}: column 'prompt' is missing", "a pool needs one prompt a line")
        try:
            turns = turns_of(row["prompt"], "user")
        except ValueError as error:
            raise InputError(f"{pool}:{number}: prompt {error}", "correct the line") from None
        name = str(row.get("id") or number)
        items.append(campaigns.PoolItem(name, str(row.get("cluster") or name), turns))
        if limit and len(items) == limit:
            break
    if not items:
        raise InputError(f"{pool} has no prompts", "add some")
    return items


def _answers(
    server: Engine,
    subject: Subject,
    items: list[campaigns.PoolItem],
    chat: bool,
    decoding: dict[str, Any],
    progress: Progress,
) -> dict[str, Answer | None]:
    found: dict[str, Answer | None] = {}
    asks = []
    for place, item in enumerate(items):
        sampling = {**decoding, "seed": decoding["seed"] + place}
        if chat:
            asks.append(Ask(model=subject.model, messages=item.prompt, sampling=sampling))
        else:
            asks.append(Ask(model=subject.model, prompt=item.prompt[-1]["content"], sampling=sampling))
    with progress.bar(f"answers of {subject.label}", len(asks)) as advance:

        def keep(index: int, reply: Reply) -> None:
            answer = Answer(
                subject=subject.label, model=subject.model, text=reply.text, finish_reason=reply.finish_reason
            )
            found[items[index].item_id] = None if reply.error else answer
            advance(len(found), "")

        replies = ask_many(server.url, asks, concurrency=CONCURRENCY, headers=server.headers, on_reply=keep)
    failed = [reply.error for reply in replies if reply.error]
    if len(failed) > MAX_FAILED_SHARE * len(asks):
        raise EvaluationError(
            f"{subject.label}: {len(failed)} of {len(asks)} answers failed ({failed[0]})", "try again"
        )
    return found


def _base_path(lab: Lab, adapter: Adapter) -> str:
    """The folder of the base an adapter was trained on, as its run or its registry version recorded it."""
    record = lab.adapter_record(adapter.run_id)
    if record.is_file():
        return AdapterRecord.read(record).job.base.path
    return registry.resolve(lab, adapter.label).base_path


def next_round(
    lab: Lab, name: str, alias: str, primary: str, folder: Path, beta: float, epochs: float
) -> tuple[Path, preferences.Preferences]:
    """Turn every vote of `name`'s campaigns into preference rows and the YAML of the DPO round after `name@alias`.

    Returns the spec's path. Rounds never change: the folder is `<folder>/<name>-round-N`, N counting from 1.
    """
    rated = {
        record.campaign: (campaigns.read(lab, record.campaign)[1], campaigns.read_votes(lab, record.campaign))
        for record in campaigns.list_all(lab)
        if record.name == name
    }
    if not rated:
        raise InputError(f"no campaign of {name!r} in {lab.root}", "make one with `ratchet campaign create`")
    version = registry.resolve(lab, f"{name}@{alias}")
    found = preferences.from_votes(rated)
    made = AdapterRecord.read(lab.adapter_record(version.run_id)).job
    was_dpo = made.method["type"] == "dpo"
    # an adopted adapter's own rate is not known
    rate = float(made.arguments.get("learning_rate", preferences.SFT_LEARNING_RATE))
    previous = _spec_of(lab, version.plan_id, name)
    # what the grid chose for this run, not what the spec had before the grid
    chosen = {key: made.arguments[key] for key in preferences.TAKEN_OVER if key in made.arguments}
    previous["train"] = {**(previous.get("train") or {}), **chosen, "quantization": made.quantization}

    def text(place: Path) -> str:
        return preferences.next_spec(
            previous,
            init_adapter=f"{name}@v{version.version}",
            dataset=str(place / "pairs.jsonl"),
            primary=primary,
            preferences=found,
            adapter=made.adapter,
            sft_learning_rate=rate * (preferences.SFT_TO_DPO if was_dpo else 1),
            beta=beta,
            epochs=epochs,
        )

    place = _place(folder, name, text, found.rows)
    _, spec_path = preferences.write_round(place, found.rows, text(place))
    return spec_path, found


def _place(folder: Path, name: str, text: Callable[[Path], str], rows: list[dict[str, Any]]) -> Path:
    """The first free round; the same votes and settings give the same round again."""
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    for number in itertools.count(1):
        place = folder / f"{name}-round-{number}"
        pairs, spec = place / "pairs.jsonl", place / f"{place.name}.yaml"
        same_pairs = not pairs.is_file() or pairs.read_text(encoding="utf-8") == data
        if same_pairs and (not spec.is_file() or spec.read_text(encoding="utf-8") == text(place)):
            return place
    raise AssertionError("unreachable: count never ends")


def _spec_of(lab: Lab, plan_id: str | None, name: str) -> dict[str, Any]:
    if plan_id is None:
        raise InputError(
            f"{name}: the promoted version has no plan to start the next round from", "write the spec by hand"
        )
    return PlanRecord.read(lab.plans / plan_id / "plan.json").spec
