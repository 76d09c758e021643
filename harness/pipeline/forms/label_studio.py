"""Label Studio's JSON: tasks with what is shown in `data` and what people said in `annotations`.

As its server (1.x) and editor write and take it: a pairwise control names itself in `to_name`; a task's `meta` and the
objects in `result` are kept as they are; who annotated and when is not taken from an imported file. So what Ratchet
needs to know its own votes again stands in the `meta` of each vote's first result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from harness.core.rating import Side
from harness.data import Row
from harness.pipeline.forms.cells import Cells, Place
from harness.pipeline.forms.others import (
    EXTRAS,
    FIRST,
    TOLD,
    Hints,
    Keys,
    Known,
    Said,
    extras,
    keys_of,
    listed,
    mapping,
    objects,
    pseudonym,
    said_by,
    shown,
    shown_by,
    view_of,
    written_by,
    wrong,
)

PAIRWISE, CHOICES = "comparison", "verdict"  # names of our controls
SAID: tuple[Said, ...] = ("tie", "both_bad", "skip")  # what is a choice, as a pairwise control knows two sides only
OWN = "ratchet"  # our key in the `meta` of a result
SHOWN: Keys = ("prompt", "answer1", "answer2")  # as its own template for human preferences calls them

# --- reading ------------------------------------------------------------------------------------------------------


def cells_of(tasks: Iterable[tuple[Place, Row]], hints: Hints, left_out: Counter[str]) -> Iterator[Cells]:
    """Rows of the table: one for each annotation that is a vote, and one of every task without any.

    Drafts, and annotations that say nothing or two things, go to `left_out`. InputError names task and key.
    """
    known: Known | None = None
    for place, task in tasks:
        data = mapping(place, task, "data")
        known = known or Known(keys_of(place, data, "data.", hints), hints, left_out)
        placed, row = shown(place, data, mapping(place, task, "meta"), "data.", known.keys)
        left_out["drafts"] += len(listed(place, task, "drafts"))  # objects, or numbers in a snapshot
        votes = [
            vote
            for number, annotation in enumerate(objects(place, task, "annotations"))
            if (vote := _vote(placed, annotation, f"annotations[{number}].", row, known))
        ]
        yield from votes or [Cells(placed, row)]


def _vote(place: Place, annotation: Row, inside: str, row: Row, known: Known) -> Cells | None:
    results, key = objects(place, annotation, "result", inside), f"{inside}result"
    said: Said | None = "skip"
    if annotation.get("was_cancelled") is not True:
        said = _said(place, results, key, known)
    if said is None:
        return None
    view, told = view_of(said, row), _told(place, results, key)
    names = {"at": f"{inside}created_at", "seconds": f"{inside}lead_time"}
    if told:
        names |= {name: f"{key}[].meta.{OWN}.{name}" for name in told}
    else:
        told = {"rater": _who(place, annotation.get("completed_by"), f"{inside}completed_by", known.hints)}
    written = {name: _texts(place, results, name, key) for name in EXTRAS}
    here = {"at": annotation.get("created_at"), "seconds": annotation.get("lead_time"), "left": row[FIRST]}
    return Cells(place.calling(names), row | here | {"preferred": view} | extras(written, row, view) | told)


def _said(place: Place, results: Sequence[Row], inside: str, known: Known) -> Said | None:
    """What an annotation prefers; None, and counted, where it does not say, or says two things."""
    kinds = {"pairwise": "selected", "choices": "choices"}
    asked = [
        one for one in results if str(one.get("type")) in kinds and known.hints.question in ("", one.get("from_name"))
    ]
    if not asked:
        known.left_out["without an answer"] += 1
        return None
    found = [(one, _meant(place, one, kinds[str(one["type"])], inside, known.keys)) for one in asked]
    compared = {str(one.get("from_name")) for one, _ in found if one["type"] == "pairwise"}
    sure = [(one, meant) for one, meant in found if meant is not None]
    if not sure and not compared:
        value = asked[0].get("value")
        raise wrong(place, inside, f"has the choices {value!r:.80}, which say no preference that is known",
                    "name the control in --question, or call its choices left, right, tie, both bad")  # fmt: skip
    if len(compared) > 1 or (not compared and len({str(one.get("from_name")) for one, _ in sure}) > 1):
        names = ", ".join(sorted({str(one.get("from_name")) for one, _ in sure}))
        raise wrong(place, inside, f"has several controls that say a preference ({names})", "name one in --question")
    meanings = {meant for _, meant in sure}
    if len(meanings) != 1:
        known.left_out["contradicting themselves" if meanings else "without an answer"] += 1
        return None
    return meanings.pop()


def _meant(place: Place, result: Row, name: str, inside: str, keys: Keys) -> Said | None:
    value = mapping(place, result, "value", f"{inside}.").get(name)
    if name == "selected":
        return "left" if value == "left" else "right" if value == "right" else None
    labels = value if isinstance(value, list) else [value]
    texts = [label for label in labels if isinstance(label, str)]
    if len(texts) < len(labels):
        raise wrong(place, f"{inside}.value.{name}", f"is {value!r:.80}", "it should be text; export it again")
    return said_by(texts[0], keys) if len(texts) == 1 else None


def _told(place: Place, results: Sequence[Row], inside: str) -> Row:
    """What Ratchet kept with a vote of its own."""
    for one in results:
        meta = one.get("meta")
        if isinstance(meta, dict) and OWN in meta:
            kept = mapping(place, meta, OWN, f"{inside}.meta.")
            if kept.get("rater") is not None:
                return {name: kept[name] for name in TOLD if kept.get(name) is not None}
    return {}


def _who(place: Place, who: Any, key: str, hints: Hints) -> str | None:
    """Label Studio writes a number, or an object with one and an address."""
    if isinstance(who, dict):
        who = who.get("id") if who.get("id") is not None else who.get("email")
    if who is None:
        return None
    if isinstance(who, bool) or not isinstance(who, int | str):
        raise wrong(place, key, f"is a {type(who).__name__}", "it should be a number, or an object with id or email")
    return pseudonym("ls", str(who), hints)


def _texts(place: Place, results: Sequence[Row], name: str, inside: str) -> list[str]:
    found: list[str] = []
    for one in results:
        if one.get("type") == "textarea" and one.get("from_name") == name:
            value = mapping(place, one, "value", f"{inside}.").get("text")
            for text in value if isinstance(value, list) else [value]:
                if not isinstance(text, str):
                    raise wrong(place, f"{inside}.value.text", f"is {text!r:.80}", "it should be text; export it again")
                found.append(text)
    return found


# --- writing ------------------------------------------------------------------------------------------------------


def tasks(rows: Iterable[Row], firsts: Mapping[str, Side]) -> list[Row]:
    """Tasks of rows of the table: a task a pair, its votes as annotations. `firsts`: which answer is answer1."""
    made: dict[str, Row] = {}
    for row in rows:
        left = firsts[row["pair_id"]]
        if row["pair_id"] not in made:
            texts, kept = shown_by(row, left, SHOWN)
            made[row["pair_id"]] = {"data": texts, "meta": kept, "annotations": []}
        if row["rater"] is not None:
            made[row["pair_id"]]["annotations"].append(_annotation(row, left))
    return list(made.values())


def _annotation(row: Row, left: Side) -> Row:
    """`ground_truth` is said, as an import takes it for true where it is not."""
    view = row["preferred"]
    if view in SAID:
        result = [_result(CHOICES, SHOWN[0], "choices", {"choices": [view]})]
    else:
        result = [_result(PAIRWISE, PAIRWISE, "pairwise", {"selected": "left" if view == left else "right"})]
    result[0]["meta"] = {OWN: {name: row[name] for name in TOLD}}
    written = written_by(row, left)
    result += [_result(name, SHOWN[0], "textarea", {"text": texts}) for name, texts in written.items()]
    return {
        "result": result,
        "was_cancelled": view == "skip",
        "ground_truth": False,
        "created_at": row["at"],
        "lead_time": row["seconds"],
    }


def _result(name: str, to_name: str, kind: str, value: Row) -> Row:
    return {"id": name, "from_name": name, "to_name": to_name, "type": kind, "value": value}


def label_config() -> str:
    """The labelling interface that `tasks` are for: texts as they are, without Markdown or HTML."""
    prompt, one, two = SHOWN
    choices = "".join(f"\n    <Choice value={quoteattr(name)}/>" for name in SAID)
    asked = {"reason": "Why?", "tags": "Words for what is wrong", "better1": "A better answer, made from the left one",
             "better2": "A better answer, made from the right one"}  # fmt: skip
    areas = "".join(
        f'\n  <TextArea name="{name}" toName="{prompt}" placeholder={quoteattr(asked[name])} rows="2" editable="true"'
        f"{'' if name == 'tags' else ' maxSubmissions=' + quoteattr('1')}/>"
        for name in EXTRAS
    )
    return f"""<View>
  <Paragraphs name="{prompt}" value="${prompt}" layout="dialogue" nameKey="role" textKey="content"/>
  <Pairwise name="{PAIRWISE}" toName="{one},{two}"/>
  <View style="display: flex; gap: 1em">
    <View style="flex: 50%"><Text name="{one}" value="${one}"/></View>
    <View style="flex: 50%"><Text name="{two}" value="${two}"/></View>
  </View>
  <Choices name="{CHOICES}" toName="{prompt}" choice="single" showInline="true">{choices}
  </Choices>{areas}
</View>
"""
