"""Captured calls by command: what there is, files for the next round, retention. Forgetting a user is in erasing.py."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import captured, pii, store
from harness.captured import Form, Which
from harness.core.errors import InputError
from harness.core.journal import segments
from harness.core.paths import Lab, json_lines, write_atomic
from harness.core.records import now
from harness.core.traffic import CALLS, FEEDBACK, Audit, audit, keep_days, purge, set_keep_days

TEXTS = ("prompt", "completion", "chosen", "rejected", "reasons")


@dataclass(frozen=True)
class Stats:
    """What a lab has captured. `unmatched`: feedback on answers that no captured call made."""

    calls: int
    users: int
    erased: int
    days_kept: int
    bytes: int
    oldest: str | None
    versions: dict[str, dict[str, int]]
    keys: dict[str, int]
    feedback: dict[str, int]
    unmatched: int
    redacted: dict[str, int]


@dataclass(frozen=True)
class Exported:
    path: Path
    form: Form
    rows: int
    refused: dict[str, int]


def stats(lab: Lab) -> Stats:
    """Count what was captured. LabError for a damaged segment."""
    traffic = captured.load(lab.requests)
    calls = [one.call for one in traffic.exchanges.values()]
    redacted: Counter[str] = Counter()
    for call in calls:
        redacted.update(call.redacted)
    said = [*traffic.preferences, *traffic.unmatched]
    for one in traffic.exchanges.values():
        said += [*one.thumbs, *one.edits, *one.sent]
    files = [*segments(lab.requests, CALLS), *segments(lab.requests, FEEDBACK)]
    return Stats(
        calls=len(calls),
        users=len({call.user for call in calls if call.user}),
        erased=traffic.erased.total(),
        days_kept=keep_days(lab.requests),
        bytes=sum(path.stat().st_size for path in files),
        oldest=min((call.at for call in calls), default=None),
        versions={name: dict(counts) for name, counts in sorted(captured.per_version(traffic).items())},
        keys=dict(Counter(call.key_id for call in calls)),
        feedback=dict(Counter(one.thumb or one.about for one in said)),
        unmatched=len(traffic.unmatched),
        redacted=dict(redacted),
    )


def newest(lab: Lab, alias: str | None, limit: int) -> list[dict[str, Any]]:
    """The newest calls first, without their texts but for the start of the last turn."""
    traffic = captured.load(lab.requests).only(Which(alias))
    found = sorted(traffic.exchanges.items(), key=lambda entry: entry[1].call.at, reverse=True)[:limit]
    return [_listed(name, exchange) for name, exchange in found]


def _listed(name: str, exchange: captured.Exchange) -> dict[str, Any]:
    call = exchange.call
    try:
        asked = captured.prompt_of(call)[-1]["content"]
    except captured.Refused as reason:
        asked = f"({reason})"
    kept = ("at", "alias", "model", "key_id", "user", "prompt_tokens", "completion_tokens", "latency_s")
    row = {"id": name, **call.model_dump(include=set(kept))}
    return row | {**exchange.votes, "edits": len(exchange.edits), "asked": " ".join(asked.split())[:60]}


def export(lab: Lab, form: Form, out: Path, which: Which, who: str, allow_pii: bool = False) -> Exported:
    """Write the rows of one form to `out`. It is listed before it is written, so that `erase` always finds it.

    InputError where `out` exists, there is no row to write, or personal data stands in one, unless `allow_pii`.
    """
    if out.exists():
        raise InputError(f"{out} exists", "choose another file: what was trained on must not change")
    made = captured.rows(captured.load(lab.requests).only(which), form)
    if not made.rows:
        why = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in made.refused.items())
        raise InputError(f"nothing captured makes a row of {form} ({why or 'no feedback, or no calls'})",
                         "see `ratchet capture stats`")  # fmt: skip
    texts = [{key: row[key] for key in TEXTS if key in row} for row in made.rows]
    pii.refuse(pii.scan(texts), str(out), allow_pii)
    data = json_lines(made.rows)
    counts = {"rows": len(made.rows), **made.refused}
    audit(lab, Audit(at=now(), who=who, did="export", counts=counts, path=str(out.absolute()), what=form))
    write_atomic(out, data, mode=0o600)
    return Exported(out, form, len(made.rows), dict(made.refused))


# --- retention --------------------------------------------------------------------------------------------------


def keep(lab: Lab, days: int | None, who: str) -> int:
    """How many days calls and feedback are kept; set where `days` is given."""
    if days is not None:
        set_keep_days(lab.requests, days)
        audit(lab, Audit(at=now(), who=who, did="keep", counts={"days": days}))
    return keep_days(lab.requests)


def purge_old(lab: Lab, days: int | None, who: str) -> int:
    """Remove segments older than `days` (else what `keep` says) and their rows in the store; how many there were."""
    removed = purge(lab.requests, days if days is not None else keep_days(lab.requests))
    if removed:
        audit(lab, Audit(at=now(), who=who, did="purge", counts={"segments": removed}))
        store_anew(lab)
    return removed


def store_anew(lab: Lab) -> None:
    """Build the store from nothing: a row that is only deleted still stands in free blocks of the file."""
    if lab.database.exists() or (lab.store / "build.duckdb").exists():
        store.reindex(lab)
