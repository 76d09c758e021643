"""Forgetting a user: out of captured calls, feedback, exported files and the store; with a line that says so."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from harness import campaign as campaigns
from harness import captured
from harness.captured import Traffic
from harness.core.errors import InputError
from harness.core.fingerprint import file_sha256
from harness.core.journal import segments
from harness.core.paths import Lab, write_atomic
from harness.core.records import AdapterRecord, Record, now
from harness.core.traffic import (
    CALLS,
    FEEDBACK,
    SHADOW,
    Audit,
    CapturedCall,
    Erased,
    Feedback,
    audit,
    exports,
    hashed_user,
    rewrite,
    salt,
)
from harness.evalset import EVALSETS
from harness.pipeline.capture import store_anew


@dataclass
class Forgotten:
    """What `erase` took away, and where something of the user may still stand: for people to act on."""

    user: str
    calls: int = 0
    feedback: int = 0
    exported_rows: int = 0
    remains: list[str] = field(default_factory=list)


def erase(lab: Lab, user: str, who: str) -> Forgotten:
    """Take a user's calls and feedback out of segments, listed exports and the store.

    Counts stay: a line without content stands in place of each. `user` is the name as the app sends it, or the 'u-…'
    that stands in exports. Safe to repeat. What cannot be taken back is named in `remains`: trained adapters,
    campaigns, evalsets, exports that are gone.
    """
    if not lab.requests.is_dir():
        raise InputError(f"nothing was captured in {lab.root}", "name another lab with --lab")
    names = {user, hashed_user(user, salt(lab.requests))}
    told = user if user.startswith("u-") else hashed_user(user, salt(lab.requests))
    forgotten = Forgotten(told)
    answers = _answers_of(captured.load(lab.requests), names)
    # The segments go last: while they stand, a repeated command knows what to look for.
    for export_ in exports(lab.requests):
        _from_export(lab, export_, names, answers, forgotten)
    forgotten.remains += _elsewhere(lab, answers)

    def change(record: Record) -> Record:
        return _without(record, names, answers, forgotten)

    for path in (segment for stem in (FEEDBACK, SHADOW, CALLS) for segment in segments(lab.requests, stem)):
        rewrite(path, change)
    store_anew(lab)
    counts = {name: getattr(forgotten, name) for name in ("calls", "feedback", "exported_rows")}
    audit(lab, Audit(at=now(), who=who, did="erase", counts=counts, user=told, remains=forgotten.remains))
    return forgotten


def _answers_of(traffic: Traffic, names: set[str]) -> set[str]:
    return {name for name, exchange in traffic.exchanges.items() if exchange.call.user in names}


def _without(record: Record, names: set[str], answers: set[str], forgotten: Forgotten) -> Record:
    if isinstance(record, CapturedCall) and record.user in names:
        forgotten.calls += 1
        return Erased(was="call", day=record.at[:10], key_id=record.key_id, model=record.model)
    if isinstance(record, Feedback) and (record.user in names or {record.completion_id, record.rejected_id} & answers):
        forgotten.feedback += 1
        return Erased(was="feedback", day=record.at[:10], key_id=record.key_id)
    return record


def _from_export(lab: Lab, listed: Audit, names: set[str], answers: set[str], forgotten: Forgotten) -> None:
    """Take the user's rows out of one exported file, and say which adapters learned from it."""
    path = Path(str(listed.path))
    if not path.is_file():
        forgotten.remains.append(f"{path} was exported ({listed.what}) and is gone from there: look for copies")
        return
    sha256 = file_sha256(path)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not _is_of(line, names, answers)]
    if len(kept) == len(lines):
        return
    forgotten.exported_rows += len(lines) - len(kept)
    forgotten.remains += [
        f"run {record.run_id} ({record.job.label}) learned from {path}: retire its versions, or train it again"
        for record in (AdapterRecord.read(found) for found in sorted(lab.runs.glob("*/adapter.json")))
        if any(data.sha256 == sha256 or data.path == str(path) for data in record.job.data)
    ]
    write_atomic(path, "".join(kept).encode(), mode=0o600)


def _is_of(line: str, names: set[str], answers: set[str]) -> bool:
    try:
        row = json.loads(line)
    except ValueError:
        return False  # a person changed the file: nothing of ours can be told from this line
    if not isinstance(row, dict):
        return False
    people = {row.get("user"), *row.get("users", ()), *row.get("raters", ())}
    return bool(people & names) or bool(answers & set(row.get("completion_ids", ())))


def _elsewhere(lab: Lab, answers: set[str]) -> list[str]:
    """Campaigns and evalsets that hold prompts of these calls: they never change, so a person decides."""
    found = []
    for record in campaigns.list_all(lab):
        count = sum(pair.item_id in answers for pair in campaigns.read(lab, record.campaign)[1])
        if count:
            found.append(f"campaign {record.campaign} shows {count} pairs with the user's prompts: remove its folder")
    for path in sorted(EVALSETS.glob("*/items.jsonl")):
        count = sum(_item_id(line) in answers for line in path.read_text(encoding="utf-8").splitlines())
        if count:
            found.append(f"evalset {path.parent.name} holds {count} items of the user: remove them, raise its version")
    return found


def _item_id(line: str) -> str | None:
    try:
        item = json.loads(line)
    except ValueError:
        return None
    return str(item.get("id")) if isinstance(item, dict) else None
