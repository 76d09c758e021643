"""Argilla 2's records: what is shown in `fields`, what people said in `responses`, a list for each question.

As its SDK (2.x) writes and takes them, nested or flat. Nested ones do not say whether a response was submitted; of a
record that is `completed` all are taken then, of any other none. Ratchet says it in its own. A user's id is all that is
known of who responded, and when is not known; so what Ratchet needs to know its own votes again stands in `metadata`.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness.core.errors import InputError
from harness.core.rating import Side
from harness.data import Row
from harness.pipeline.forms.cells import Cells, Place
from harness.pipeline.forms.others import (
    EXTRAS,
    FIRST,
    TOLD,
    Hints,
    Keys,
    Said,
    extras,
    keys_of,
    mapping,
    objects,
    other_side,
    pseudonym,
    said_by,
    shown,
    shown_by,
    view_of,
    written_by,
    wrong,
)

RESPONSES = ".responses"  # how keys of a flat record end
PREFERENCE, VOTES = "preference", "votes"  # our question, and our key in the metadata
MORE = (*TOLD, "seconds", "tags")  # what is kept of a vote
SHOWN: Keys = ("prompt", "response1", "response2")
PEOPLE = uuid.uuid5(uuid.NAMESPACE_URL, "ratchet/raters")  # Argilla knows people by UUIDs; a pseudonym's is always one

# --- reading ------------------------------------------------------------------------------------------------------


def cells_of(records: Iterable[tuple[Place, Row]], hints: Hints, left_out: Counter[str]) -> Iterator[Cells]:
    """Rows of the table: one for each submitted response to the question that says the preference, and one of every
    record without any.

    Drafts, discarded responses, and those of which the file does not say what they are go to `left_out`. InputError
    names record and key.
    """
    nested = [(place, *_nested(place, record)) for place, record in records]
    question = hints.question or _question(nested)
    keys: Keys | None = None
    for place, record, inside in nested:
        fields = mapping(place, record, "fields")
        keys = keys or keys_of(place, fields, inside, hints)
        metadata = mapping(place, record, "metadata")
        placed, row = shown(place, fields, metadata, inside, keys)
        told, votes = _told(place, metadata), 0
        for user, response, key in _submitted(place, record, question, told, left_out):
            votes += 1
            view = view_of(_said(place, response.get("value"), key, keys), row)
            who = told.get(user) or {"rater": pseudonym("ar", user, hints) if user else None}
            written = {name: _texts(place, record, name, user) for name in EXTRAS}
            yield Cells(placed, row | {"preferred": view, "left": row[FIRST]} | extras(written, row, view) | who)
        if not votes:
            yield Cells(placed, row)


def _nested(place: Place, record: Row) -> tuple[Row, str]:
    """(the record with `fields` and `responses`, what stands before the name of a field there)."""
    if "fields" in record:
        return record, "fields."
    responses: dict[str, list[Row]] = {}
    for key in record:
        if key.endswith(RESPONSES):
            columns = [record.get(name) or [] for name in (key, f"{key}.users", f"{key}.status")]
            if not all(isinstance(column, list) for column in columns) or len({len(one) for one in columns}) > 1:
                raise wrong(place, key, "has not as many entries as its .users and .status", "export it again")
            rows = zip(*columns, strict=True)
            responses[key.removesuffix(RESPONSES)] = [
                {"value": value, "user_id": user, "status": status} for value, user, status in rows
            ]
    return {"fields": record, "metadata": record, "responses": responses, "status": record.get("status")}, ""


def _question(records: Sequence[tuple[Place, Row, str]]) -> str:
    """Ours where there is one of that name, else the only one."""
    names = dict.fromkeys(name for place, record, _ in records for name in mapping(place, record, "responses"))
    others = [name for name in names if name not in EXTRAS]
    if PREFERENCE in names or len(others) < 2:
        return PREFERENCE if PREFERENCE in names or not others else others[0]
    raise InputError(
        f"{records[0][0].file}: there are responses to several questions ({', '.join(others)})",
        "name the one that says the preference in --question",
    )


def _submitted(
    place: Place, record: Row, question: str, ours: Container[str], left_out: Counter[str]
) -> Iterator[tuple[str, Row, str]]:
    """(user, response, key) of responses that count; the others go to `left_out`. `ours`: who voted in Ratchet."""
    responses = mapping(place, record, "responses")
    for number, response in enumerate(objects(place, responses, question, "responses.")):
        key = f"responses.{question}[{number}]"
        status, user = response.get("status"), response.get("user_id")
        if status not in (None, "draft", "submitted", "discarded"):
            raise wrong(place, f"{key}.status", f"is {status!r:.80}", "it should be draft, submitted or discarded")
        if user is not None and not isinstance(user, str):
            raise wrong(place, f"{key}.user_id", f"is a {type(user).__name__}", "it should be text; export it again")
        unsaid = status is None and (record.get("status") == "completed" or user in ours)
        if status == "submitted" or unsaid:
            yield user or "", response, f"{key}.value"
        else:
            left_out[{"draft": "drafts", "discarded": "discarded"}.get(str(status), "not said to be submitted")] += 1


def _said(place: Place, value: Any, key: str, keys: Keys) -> Said:
    """A label, or a ranking: names in order, or with their ranks, where two may share the first."""
    found: Said | None = None
    if isinstance(value, list) and value:
        found = said_by(_top(place, value, key), keys)
    elif isinstance(value, str):
        found = said_by(value, keys)
    if found is None:
        raise wrong(place, key, f"is {value!r:.80}, which says no preference that is known",
                    "name the question in --question; its labels may be left, right, tie, both bad")  # fmt: skip
    return found


def _top(place: Place, ranking: list[Any], key: str) -> str:
    if all(isinstance(one, str) for one in ranking):
        return str(ranking[0])
    if not all(isinstance(one, dict) and isinstance(one.get("value"), str) for one in ranking):
        raise wrong(place, key, "is a list of neither names nor ranks", "export it again")
    ranks = [one.get("rank") for one in ranking]
    if not all(isinstance(rank, int) for rank in ranks):
        return str(ranking[0]["value"])
    best = [one["value"] for one in ranking if one["rank"] == min(ranks)]
    return str(best[0]) if len(best) == 1 else "tie"


def _texts(place: Place, record: Row, name: str, user: str) -> list[str]:
    found = [
        one.get("value")
        for one in objects(place, mapping(place, record, "responses"), name, "responses.")
        if (one.get("user_id") or "") == user
    ]
    texts = [text for text in found if isinstance(text, str) and text]
    return [line for text in texts for line in text.split("\n")] if name == "tags" else texts


def _told(place: Place, metadata: Row) -> dict[str, Row]:
    """User -> what Ratchet kept with this person's vote, where the record was Ratchet's once."""
    if FIRST not in metadata or metadata.get(VOTES) is None:
        return {}
    try:
        found = json.loads(metadata[VOTES])
    except (TypeError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise wrong(place, f"metadata.{VOTES}", "is not what Ratchet wrote there", "take it out, or export it again")
    return {user: {key: one[key] for key in MORE if one.get(key) is not None}
            for user, one in found.items() if one.get("rater") is not None}  # fmt: skip


# --- writing ------------------------------------------------------------------------------------------------------


def user_of(rater: str) -> str:
    """The UUID that stands for a pseudonym, the same everywhere."""
    return str(uuid.uuid5(PEOPLE, rater))


def records(rows: Iterable[Row], firsts: Mapping[str, Side]) -> list[Row]:
    """Records of rows of the table: a record a pair, its votes as responses. `firsts`: which answer is response1."""
    made: dict[str, Row] = {}
    votes: dict[str, dict[str, Row]] = {}
    for row in rows:
        left = firsts[row["pair_id"]]
        if row["pair_id"] not in made:
            texts, kept = shown_by(row, left, SHOWN)
            made[row["pair_id"]] = {
                "id": row["pair_id"], "fields": texts, "metadata": kept, "suggestions": {},
                "responses": {}, "vectors": {}, "status": "pending",
            }  # fmt: skip
        if row["rater"] is not None:
            user = user_of(row["rater"])
            votes.setdefault(row["pair_id"], {})[user] = {name: row[name] for name in MORE}
            record = made[row["pair_id"]]
            record["status"] = "completed"
            for question, value in _responses(row, left):
                response = {"value": value, "user_id": user, "status": "submitted"}
                record["responses"].setdefault(question, []).append(response)
    for pair_id, told in votes.items():
        made[pair_id]["metadata"][VOTES] = json.dumps(told, ensure_ascii=False)
    return list(made.values())


def _responses(row: Row, left: Side) -> Iterator[tuple[str, str]]:
    sides: dict[str, str] = {left: SHOWN[1], other_side(left): SHOWN[2]}
    yield PREFERENCE, sides.get(row["preferred"]) or row["preferred"]
    yield from ((name, "\n".join(texts)) for name, texts in written_by(row, left).items())


def settings() -> Row:
    """The settings of a dataset that takes `records`: texts as they are, without Markdown."""
    texts = {name: {"name": name, "title": name, "required": True} for name in SHOWN}
    labels = {SHOWN[1]: "1 is better", SHOWN[2]: "2 is better", "tie": "Tie", "both_bad": "Both bad", "skip": "Skip"}
    asked = {"reason": "Why?", "tags": "Words for what is wrong, one a line", "better1": "A better answer, made from 1",
             "better2": "A better answer, made from 2"}  # fmt: skip
    options = [{"value": value, "text": text, "description": None} for value, text in labels.items()]
    preference = {"type": "label_selection", "options": options, "visible_options": len(options)}
    return {
        "guidelines": None,
        "fields": [
            texts[SHOWN[0]] | {"settings": {"type": "chat", "use_markdown": False}},
            *(texts[name] | {"settings": {"type": "text", "use_markdown": False}} for name in SHOWN[1:]),
        ],
        "questions": [
            {"name": PREFERENCE, "title": "Which is better?", "description": None, "required": True,
             "settings": preference},
            *({"name": name, "title": asked[name], "description": None, "required": False,
               "settings": {"type": "text", "use_markdown": False}} for name in EXTRAS),
        ],
        "vectors": [],
        "metadata": [],
        "allow_extra_metadata": True,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
        "mapping": None,
    }  # fmt: skip
