"""Captured calls and what apps said of them, put together: data for the next round. Pure but for reading segments.

    kto      {"prompt", "completion", "label"}      thumbs, by majority
    pairs    {"prompt", "chosen", "rejected"}       an edit over its answer; a chosen answer over a rejected one
    sft      {"prompt", "completion"}               edits, and answers with more thumbs up than down
    pool     {"id", "prompt", "cluster"}            prompts for a campaign, each once; see `cluster_of`

Every row carries its lineage (`completion_ids`, `version`, `alias`, `key_id`, `user`, `raters`, `at`), by which a user
is found again who wants to be forgotten. What makes no row is counted, by reason.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.core.fingerprint import sha256_of
from harness.core.traffic import CALLS, FEEDBACK, PORTAL, CapturedCall, Erased, Feedback, read
from harness.data import Turn, normalised, turns_of

Form = Literal["kto", "pairs", "sft", "pool"]
Row = dict[str, Any]
PLACEHOLDERS = ("[email]", "[phone]", "[card]", "[key]", "[data]")


@dataclass
class Exchange:
    """A call, and the feedback on it that counts."""

    call: CapturedCall
    thumbs: list[Feedback] = field(default_factory=list)
    edits: list[Feedback] = field(default_factory=list)
    sent: list[Feedback] = field(default_factory=list)  # by whom its prompt was sent to a campaign

    @property
    def votes(self) -> dict[str, int]:
        return {side: sum(one.thumb == side for one in self.thumbs) for side in ("up", "down")}


@dataclass(frozen=True)
class Which:
    """Calls of one alias, of one key's id, those sent to a campaign; any where it is not said."""

    alias: str | None = None
    key: str | None = None
    sent: bool = False

    def takes(self, exchange: Exchange) -> bool:
        call = exchange.call
        of_it = self.alias in (None, call.alias) and self.key in (None, call.key_id)
        return of_it and (bool(exchange.sent) or not self.sent)


@dataclass
class Traffic:
    """All of a lab: exchanges by completion id (calls without one by request id), preferences, what had no call."""

    exchanges: dict[str, Exchange]
    preferences: list[Feedback]
    unmatched: list[Feedback]
    erased: Counter[str]

    def only(self, which: Which) -> Traffic:
        """Only some of the calls. Feedback on others' is then nobody's."""
        if which == Which():
            return self
        kept = {name: one for name, one in self.exchanges.items() if which.takes(one)}
        both = [one for one in self.preferences if one.completion_id in kept and one.rejected_id in kept]
        return Traffic(kept, both, [], self.erased)


def load(folder: Path) -> Traffic:
    """Read `lab/requests`. Of several times the same user said something of an answer, the last counts."""
    traffic = Traffic({}, [], [], Counter())
    for record in read(folder, CALLS):
        if isinstance(record, CapturedCall):
            traffic.exchanges.setdefault(record.completion_id or record.request_id, Exchange(record))
        elif isinstance(record, Erased):
            traffic.erased[record.was] += 1
    last: dict[str, Feedback] = {}
    for record in read(folder, FEEDBACK):
        if isinstance(record, Erased):
            traffic.erased[record.was] += 1
        elif isinstance(record, Feedback):
            known = last.get(record.feedback_id)
            if known is None or record.at >= known.at:
                last[record.feedback_id] = record
    for entry in last.values():
        _place(traffic, entry)
    return traffic


def _place(traffic: Traffic, entry: Feedback) -> None:
    exchange = traffic.exchanges.get(entry.completion_id)
    if exchange is None or (entry.about == "preference" and entry.rejected_id not in traffic.exchanges):
        traffic.unmatched.append(entry)
    elif entry.about == "preference":
        traffic.preferences.append(entry)
    else:
        {"thumb": exchange.thumbs, "edit": exchange.edits, "campaign": exchange.sent}[entry.about].append(entry)


# --- rows -------------------------------------------------------------------------------------------------------


class Refused(Exception):
    """A call that makes no row; the one argument is the reason, as it is counted."""


@dataclass
class Rows:
    rows: list[Row]
    refused: Counter[str]


def rows(traffic: Traffic, form: Form) -> Rows:
    """The rows of one form, each text once, and what was refused by reason."""
    makers: dict[Form, Callable[[Traffic, Counter[str]], Iterator[Row]]] = {
        "kto": _kto, "pairs": _pairs, "sft": _sft, "pool": _pool,
    }  # fmt: skip
    refused: Counter[str] = Counter()
    if form != "pool":
        refused["unmatched"] = len(traffic.unmatched)
    kept: dict[str, Row] = {}
    for row in makers[form](traffic, refused):
        content = [row[column] for column in ("completion", "chosen", "rejected", "label") if column in row]
        key = sha256_of([normalised(turns_of(row["prompt"], "user")), content])
        if key in kept:
            refused["duplicate"] += 1
        else:
            kept[key] = row
    return Rows(list(kept.values()), +refused)


def _kto(traffic: Traffic, refused: Counter[str]) -> Iterator[Row]:
    for exchange in traffic.exchanges.values():
        votes = exchange.votes
        if not exchange.thumbs:
            continue
        try:
            if votes["up"] == votes["down"]:
                raise Refused("conflict")
            row = {"prompt": prompt_of(exchange.call), "completion": _said(answer_of(exchange.call))}
        except Refused as reason:
            refused[str(reason)] += 1
            continue
        yield row | {"label": votes["up"] > votes["down"], "votes": votes} | _lineage(exchange.thumbs, exchange.call)


def _pairs(traffic: Traffic, refused: Counter[str]) -> Iterator[Row]:
    for exchange in traffic.exchanges.values():
        for edit in exchange.edits:
            try:
                answer, edited = answer_of(exchange.call), _edited(edit)
                prompt = prompt_of(exchange.call)
                if answer.split() == edited.split():
                    raise Refused("identical")
            except Refused as reason:
                refused[str(reason)] += 1
                continue
            texts = {"prompt": prompt, "chosen": _said(edited), "rejected": _said(answer)}
            yield texts | {"source": "edit"} | _lineage([edit], exchange.call)
    for entry in traffic.preferences:
        chosen, rejected = (traffic.exchanges[str(name)].call for name in (entry.completion_id, entry.rejected_id))
        try:
            prompt, better, worse = prompt_of(chosen), answer_of(chosen), answer_of(rejected)
            if normalised(prompt) != normalised(prompt_of(rejected)):
                raise Refused("different_prompts")
            if better.split() == worse.split():
                raise Refused("identical")
        except Refused as reason:
            refused[str(reason)] += 1
            continue
        texts = {"prompt": prompt, "chosen": _said(better), "rejected": _said(worse)}
        yield texts | {"source": "preference"} | _lineage([entry], chosen, rejected)


def _sft(traffic: Traffic, refused: Counter[str]) -> Iterator[Row]:
    for exchange in traffic.exchanges.values():
        votes = exchange.votes
        if not exchange.edits and votes["up"] <= votes["down"]:
            continue
        edits: list[Feedback | None] = [*exchange.edits] or [None]
        for edit in edits:
            try:
                prompt = prompt_of(exchange.call)
                text = _edited(edit) if edit else answer_of(exchange.call)
            except Refused as reason:
                refused[str(reason)] += 1
                continue
            source = {"source": "edit" if edit else "thumb"}
            said_by = [edit] if edit else exchange.thumbs
            yield {"prompt": prompt, "completion": _said(text)} | source | _lineage(said_by, exchange.call)


def _pool(traffic: Traffic, refused: Counter[str]) -> Iterator[Row]:
    for name, exchange in traffic.exchanges.items():
        try:
            prompt = prompt_of(exchange.call)
        except Refused as reason:
            refused[str(reason)] += 1
            continue
        yield {"id": name, "prompt": prompt, "cluster": cluster_of(name, exchange.call)} | _lineage([], exchange.call)


def cluster_of(name: str, call: CapturedCall) -> str:
    """What must not stand on both sides of a split: all that a user of an app asks, who comes back with one concern.

    A person of the portal tries many things, so there it is the conversation: calls that open alike, whoever asked.
    """
    if call.key_id != PORTAL:
        return call.user or name
    opening = next((turn for turn in prompt_of(call) if turn["role"] == "user"), {"role": "user", "content": name})
    return f"talk-{sha256_of(normalised([opening]))[:12]}"


def corrected(traffic: Traffic) -> Iterator[Row]:
    """Rows for an evalset, as `ratchet evalset import captured` reads them: the latest edit is the corrected answer."""
    for name, exchange in traffic.exchanges.items():
        try:
            row: Row = {"id": name, "messages": prompt_of(exchange.call)}
        except Refused:
            continue
        edits = sorted(exchange.edits, key=lambda edit: edit.at)
        row["corrected"] = edits[-1].edited if edits else None
        row["answer"] = exchange.call.answers[0] if len(exchange.call.answers) == 1 else None
        yield row | {"user": exchange.call.user or name, "alias": exchange.call.alias, "version": exchange.call.model}


def prompt_of(call: CapturedCall) -> list[Turn]:
    """The prompt as chat turns of text. Refused for token ids, pictures, and turns of tools."""
    if isinstance(call.prompt, str):
        turns: Any = call.prompt
    elif call.endpoint == "chat" and isinstance(call.prompt, list):
        turns = [_turn(turn) for turn in call.prompt]
    else:
        raise Refused("token_ids")
    try:
        return turns_of(turns, "user")
    except ValueError:
        raise Refused("not_text") from None


def _turn(turn: Any) -> Any:
    """A turn whose content came in parts of text, as one text."""
    content = turn.get("content") if isinstance(turn, dict) else None
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        return {"role": turn.get("role"), "content": "\n".join(str(part.get("text", "")) for part in content)}
    return turn


def answer_of(call: CapturedCall) -> str:
    """The one whole answer in text. Refused for anything that should not be learned from as it is."""
    if len(call.answers) != 1:
        raise Refused("several_answers" if call.answers else "empty")
    if call.left:
        raise Refused("left")
    if call.tool_calls:
        raise Refused("tool_calls")
    if "length" in call.finish_reasons:
        raise Refused("truncated")
    return _clean(call.answers[0])


def _edited(edit: Feedback) -> str:
    return _clean(edit.edited or "")


def _clean(text: str) -> str:
    """A text to learn from: a model must not learn to write '[email]'."""
    if not text.strip():
        raise Refused("empty")
    if any(placeholder in text for placeholder in PLACEHOLDERS):
        raise Refused("redacted")
    return text


def _said(text: str) -> list[Turn]:
    return [{"role": "assistant", "content": text}]


def _lineage(said: list[Feedback], *calls: CapturedCall) -> Row:
    return {
        "completion_ids": [call.completion_id or call.request_id for call in calls],
        "version": calls[0].model,
        "alias": calls[0].alias,
        "key_id": calls[0].key_id,
        "user": calls[0].user,
        "users": sorted({call.user for call in calls}),
        "raters": sorted({one.user for one in said if one.user}),
        "feedback_ids": [one.feedback_id for one in said],
        "reasons": [one.reason for one in said if one.reason],
        "at": calls[0].at,
    }


def per_version(traffic: Traffic) -> dict[str, Counter[str]]:
    """Version -> calls, thumbs up and down, edits."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for exchange in traffic.exchanges.values():
        found[exchange.call.model].update(calls=1, edits=len(exchange.edits), **exchange.votes)
    return dict(found)
