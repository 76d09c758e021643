"""What files of Label Studio and Argilla have in common: untrusted JSON, two answers under some key, words for a
preference, people who get pseudonyms. They become rows of Ratchet's table.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.core.errors import InputError
from harness.data import UTF_8, Row, readable
from harness.pipeline.forms.cells import Place, View

MAX_BYTES = 256 * 2**20  # JSON in one piece is in memory as a whole, several times
Keys = tuple[str, str, str]  # of the prompt, the left and the right answer
PROMPTS = ("prompt", "instruction", "question", "input", "chat", "messages", "conversation")
NAMES = ("answer", "response", "completion", "text")
ENDS = (("1", "2"), ("_1", "_2"), ("a", "b"), ("_a", "_b"))
ANSWERS = (*((name + one, name + two) for name in NAMES for one, two in ENDS), ("left", "right"), ("a", "b"))
# What is kept of a pair beside its texts, by Ratchet's own files. `first`: which answer stands first, or left.
FIRST = "first"
KEPT = ("pair_id", "item_id", "cluster", "a_subject", "b_subject", "role", "expected", "repeat_of", "explanation",
        "arm", "inclusion")  # fmt: skip
EXTRAS = ("reason", "tags", "better1", "better2")  # what a rater may write beside the preference
TOLD = ("rater", "left", "at", "shown_at")  # what is kept of a vote beside what these tools know of it
LEFT, RIGHT = {"left", "1", "a", "first", "one"}, {"right", "2", "b", "second", "two"}
TIE = {"tie", "tied", "equal", "same", "equally good", "both good", "both equally good", "no preference", "draw"}
BOTH_BAD = {"both bad", "equally bad", "both equally bad", "neither", "neither good", "none"}
FILLING = {"is", "are", "the", "better", "best", "preferred", "prefer", "i", "much", "slightly", "about", "answer",
           "answers", "response", "responses", "completion", "text", "option", "model"}  # fmt: skip
Said = Literal["left", "right", "tie", "both_bad", "skip"]


@dataclass(frozen=True)
class Hints:
    """What the person who imports knows of the file. `keys`: PROMPT,LEFT,RIGHT. `question`: the control, or question,
    that says the preference. `hashed`: a name as hex digits, the same for the same name in the same lab."""

    hashed: Callable[[str], str]
    keys: Keys | None = None
    question: str = ""


@dataclass(frozen=True)
class Known:
    """What is known of a file once its first record was read. `left_out` counts votes that are none, by reason."""

    keys: Keys
    hints: Hints
    left_out: Counter[str]


def read_records(path: Path) -> list[Row]:
    """The objects of a .json file, a list. InputError names what is none."""
    with readable(path):
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is larger than {MAX_BYTES // 2**20} MiB", "split it, or write .jsonl")
        text = path.read_text(encoding=UTF_8)
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        said = f"not JSON ({error.msg} at column {error.colno})"
        raise InputError(f"{path}:{error.lineno}: {said}", "export it again") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, a hundred thousand brackets
        raise InputError(f"{path}: holds something that is no text or number", "export it again") from None
    if not isinstance(found, list):
        raise InputError(f"{path} is a {type(found).__name__}, not a list of records", "export a list of all of them")
    for number, record in enumerate(found, 1):
        if not isinstance(record, dict):
            raise InputError(f"{path}: record {number} is a {type(record).__name__}, not an object", "export it again")
        try:
            json.dumps(record, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError):  # NaN, half a surrogate pair
            raise InputError(
                f"{path}: record {number} holds something that is no text or number", "correct it"
            ) from None
    return found


def mapping(place: Place, row: Row, key: str, inside: str = "") -> Row:
    """An object under a key, {} where there is none. `inside`: what stands before the key in errors."""
    value = row.get(key)
    if value is not None and not isinstance(value, dict):
        raise wrong(place, inside + key, f"is a {type(value).__name__}, not an object", "export it again")
    return value or {}


def listed(place: Place, row: Row, key: str, inside: str = "") -> list[Any]:
    """A list under a key, [] where there is none."""
    value = row.get(key)
    if value is not None and not isinstance(value, list):
        raise wrong(place, inside + key, f"is a {type(value).__name__}, not a list", "export it again")
    return value or []


def objects(place: Place, row: Row, key: str, inside: str = "") -> list[Row]:
    """A list of objects under a key, [] where there is none."""
    found = listed(place, row, key, inside)
    for number, one in enumerate(found):
        if not isinstance(one, dict):
            said = f"is a {type(one).__name__}, not an object"
            raise wrong(place, f"{inside}{key}[{number}]", said, "export it again")
    return found


def wrong(place: Place, key: str, said: str, fix: str) -> InputError:
    return InputError(f"{place}: key {key!r} {said}", fix)


# --- two answers --------------------------------------------------------------------------------------------------


def keys_of(place: Place, values: Row, inside: str, hints: Hints) -> Keys:
    """Under which keys prompt and answers stand: as asked for, else by the names that people commonly use."""
    if hints.keys:
        missing = next((key for key in hints.keys if values.get(key) is None), None)
        if missing is not None:
            raise wrong(place, inside + missing, "is missing", f"name others in --keys; {_there(values)}")
        return hints.keys
    prompt = next((key for key in PROMPTS if values.get(key) is not None), None)
    pair = next((keys for keys in ANSWERS if all(values.get(key) is not None for key in keys)), None)
    if prompt is None or pair is None:
        what, usual = ("prompt", PROMPTS[0]) if prompt is None else ("two answers", " and ".join(ANSWERS[0]))
        raise InputError(
            f"{place}: no key of {what} is known (usual: {usual})", f"say --keys PROMPT,LEFT,RIGHT; {_there(values)}"
        )
    return prompt, *pair


def _there(values: Row) -> str:
    return f"there are {', '.join(list(values)[:20]) or 'none'}"


def shown(place: Place, values: Row, kept: Row, inside: str, keys: Keys) -> tuple[Place, Row]:
    """A pair as a row of the table. `kept`: what stands beside it, all of it where Ratchet wrote that once."""
    first = kept.get(FIRST) if kept.get(FIRST) in ("a", "b") else None
    left: Literal["a", "b"] = "b" if first == "b" else "a"
    right = other_side(left)
    row = {"prompt": values.get(keys[0]), left: values.get(keys[1]), right: values.get(keys[2]), FIRST: left}
    names = dict(zip(("prompt", left, right), (inside + key for key in keys), strict=True))
    if first:
        row |= {key: kept[key] for key in KEPT if kept.get(key) is not None}
    else:
        named = {**kept, **values}
        row |= {key: named[key] for key in ("item_id", "cluster") if isinstance(named.get(key), str | int)}
    return place.calling(names), row


def shown_by(row: Row, left: Literal["a", "b"], keys: Keys) -> tuple[Row, Row]:
    """`shown` the other way round: (what stands under a tool's keys, what is kept beside it), of a row of the table."""
    texts = dict(zip(keys, (row["prompt"], row[left], row[other_side(left)]), strict=True))
    kept = {name: row[name] for name in ("campaign", *KEPT) if row[name] not in (None, "")}
    return texts, kept | {FIRST: left}


def other_side(side: Literal["a", "b"]) -> Literal["a", "b"]:
    return "b" if side == "a" else "a"


# --- preferences --------------------------------------------------------------------------------------------------


def said_by(text: str, keys: Keys) -> Said | None:
    """What a label means: a side by its key or by words such as 'Response 1 is better'; None for what is not known."""
    if text in keys[1:]:
        return "left" if text == keys[1] else "right"
    words = re.sub(r"([^\W\d_])(\d)", r"\1 \2", text.casefold())
    words = re.sub(r"[\W_]+", " ", words).strip()
    bare = " ".join(word for word in words.split() if word not in FILLING)
    for meaning, known in _MEANINGS:
        if words in known or bare in known:
            return meaning
    return None


_MEANINGS: tuple[tuple[Said, set[str]], ...] = (
    ("left", LEFT), ("right", RIGHT), ("tie", TIE), ("both_bad", BOTH_BAD), ("skip", {"skip", "skipped"}),
)  # fmt: skip


def view_of(said: Said, row: Row) -> View:
    """What was preferred, by answer and not by side."""
    left: Literal["a", "b"] = row[FIRST]
    if said == "left":
        return left
    return other_side(left) if said == "right" else said


def extras(written: Mapping[str, Sequence[str]], row: Row, view: View) -> Row:
    """What a rater wrote, as columns. Of two better answers that of the preferred one counts: a vote has one edit."""
    found: Row = {
        "reason": "\n".join(written.get("reason", ())),
        "tags": [tag for tag in written.get("tags", ()) if tag],
    }
    edits = {side: "\n".join(written.get(name, ())) for side, name in zip(
        (row[FIRST], other_side(row[FIRST])), ("better1", "better2"), strict=True
    )}  # fmt: skip
    side = next((side for side in (view, "a", "b") if edits.get(side)), None)
    return found | ({"edit_side": side, "edit_text": edits[side]} if side else {})


def written_by(row: Row, left: Literal["a", "b"]) -> dict[str, list[str]]:
    """`extras` the other way round: what a rater wrote, under the names of EXTRAS, where they wrote something."""
    found = {"reason": [row["reason"]], "tags": list(row["tags"])}
    if row["edit_side"]:
        found["better1" if row["edit_side"] == left else "better2"] = [row["edit_text"]]
    return {name: texts for name, texts in found.items() if any(texts)}


def pseudonym(prefix: str, name: str, hints: Hints) -> str:
    """Of somebody whom another tool knows by a number or an address, neither of which is written anywhere."""
    return f"{prefix}-{hints.hashed(f'{prefix}/{name.casefold()}')[:8]}"
