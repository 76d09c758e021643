"""One row of somebody's file, asked value by value, and what a whole file comes to: pairs and votes.

Every error names the file, the row and the column or key, and what to write there. Nothing here touches a campaign.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from harness.core.errors import InputError
from harness.core.fingerprint import short_id
from harness.core.paths import NAME
from harness.core.rating import Answer, Edit, Pair, PairRole, Side
from harness.data import Turn, normalised, turns_of
from harness.pipeline.forms.csv_text import from_cell

View = Literal["a", "b", "tie", "both_bad", "skip"]
Form = Literal["table", "trl-preference", "label-studio", "argilla"]
VIEWS: tuple[View, ...] = get_args(View)
ROLES: tuple[PairRole, ...] = get_args(PairRole)
UNNAMED = ("answer 1", "answer 2")  # what answers are called whose author no column says


@dataclass(frozen=True)
class Given:
    """A vote as a file has it; None: the file does not say."""

    pair_id: str
    rater: str | None
    view: View
    left: Side | None = None
    at: str | None = None
    shown_at: str | None = None
    seconds: float | None = None
    reason: str = ""
    tags: tuple[str, ...] = ()
    edit: Edit | None = None


@dataclass(frozen=True)
class Place:
    """Where a row stands. `keys`: what its file calls our columns, where it has other names for them."""

    file: str
    number: int
    noun: str = "line"
    keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def said(self) -> str:
        return f"{self.noun} {self.number}"

    def __str__(self) -> str:
        return f"{self.file}:{self.number}" if self.noun == "line" else f"{self.file}: {self.said}"

    def calling(self, keys: Mapping[str, str]) -> Place:
        """The same place, where columns have further names."""
        return dataclasses.replace(self, keys={**self.keys, **keys})

    def wrong(self, column: str, said: str, fix: str) -> InputError:
        name = f"key {self.keys[column]!r}" if column in self.keys else f"column {column!r}"
        return InputError(f"{self}: {name} {said}", fix)


@dataclass(frozen=True)
class Rows:
    """A whole file. `pairs` in the order in which they first occur, each with where. `left_out`: votes that are none,
    by reason."""

    form: Form
    count: int
    pairs: dict[str, tuple[Place, Pair]]
    votes: list[Given]
    left_out: dict[str, int]


class Cells:
    """One row, asked column by column."""

    def __init__(self, place: Place, row: Mapping[str, Any]) -> None:
        self.place = place
        self._row, self._is_csv = row, place.file.endswith(".csv")

    def get(self, column: str) -> Any:
        """The value; None where the column is absent or empty."""
        value = self._row.get(column)
        if self._is_csv and isinstance(value, str):
            value = from_cell(value)
        return None if value is None or value == "" else value

    def wrong(self, column: str, said: str, fix: str) -> InputError:
        return self.place.wrong(column, said, fix)

    def need(self, column: str, fix: str) -> Any:
        value = self.get(column)
        if value is None:
            raise self.wrong(column, "is missing or empty", fix)
        return value

    def text(self, column: str, default: str = "") -> str:
        value = self.get(column)
        if value is None:
            return default
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)  # ids are often numbers
        if not isinstance(value, str):
            raise self.wrong(column, f"is a {type(value).__name__}", "write text")
        return value

    def one_of(self, column: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        value = self.text(column) or default
        if value is None:
            raise self.wrong(column, "is missing or empty", f"write one of {', '.join(allowed)}")
        if value not in allowed:
            raise self.wrong(column, f"is {value!r}", f"write one of {', '.join(allowed)}")
        return value

    def number(self, column: str) -> float | None:
        value = self.get(column)
        try:
            found = None if value is None else float(value)
        except (TypeError, ValueError):
            raise self.wrong(column, f"is {value!r}", "write a number, or leave it empty") from None
        if found is not None and not 0 <= found < float("inf"):
            raise self.wrong(column, f"is {value!r}", "write a number from 0 up")
        return found

    def time(self, column: str) -> str | None:
        """A time as it stands there, in UTC where it has a zone of its own."""
        value = self.text(column)
        if not value:
            return None
        try:
            found = datetime.datetime.fromisoformat(value)
        except ValueError:
            raise self.wrong(column, f"is {value!r}", "write a time such as 2026-11-20T09:00:00+00:00") from None
        if found.tzinfo is None:
            raise self.wrong(column, f"is {value!r}, without a zone", "write a time such as 2026-11-20T09:00:00+00:00")
        return value if value.endswith("+00:00") else found.astimezone(datetime.UTC).isoformat()

    def listed(self, column: str) -> list[Any]:
        """A list, of JSON where it stands in a CSV cell; [] for none."""
        value = self.get(column)
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                raise self.wrong(column, "is no list", 'write a JSON list, e.g. ["too long"]') from None
        if value is not None and not isinstance(value, list):
            raise self.wrong(column, "is no list", 'write a JSON list, e.g. ["too long"]')
        return value or []

    def turns(self, column: str, role: str) -> list[Turn]:
        value = self.need(column, "write text, or a list of turns")
        if self._is_csv and value.startswith("["):
            try:
                return turns_of(json.loads(value), role)
            except ValueError:
                pass  # text that begins so
        try:
            return turns_of(value, role)
        except ValueError as error:
            raise self.wrong(column, str(error), "write text, or a list of turns") from None

    def prompt(self) -> list[Turn]:
        found = self.turns("prompt", "user")
        if found[-1]["role"] != "user":
            raise self.wrong("prompt", f"ends with the {found[-1]['role']}", "end it with what the user says")
        return found

    def answer(self, column: str) -> str:
        found = self.turns(column, "assistant")
        if len(found) > 1 or found[0]["role"] != "assistant":
            raise self.wrong(column, "is more than one answer", "a pair compares one answer of the assistant each")
        return found[0]["content"]


def rater_of(cells: Cells, column: str, name: Any) -> str | None:
    """`name` if it is a pseudonym, or nobody's."""
    if name is None:
        return None
    if not isinstance(name, str) or not NAME.fullmatch(name) or ".." in name:
        raise cells.wrong(
            column, f"has {name!r}, which is no pseudonym", "use a-z, 0-9, '.', '_', '-'; no addresses, no full names"
        )
    return name


def ids_of(cells: Cells, prompt: list[Turn], a: str, b: str, own_id: bool = True) -> tuple[str, str, str]:
    """(pair, item, cluster): the file's own where they may stand in an assignment's name, else of the content."""
    given = cells.text("pair_id")
    pair_id = given if own_id and NAME.fullmatch(given) else short_id("pair", [prompt, a, b])
    same = short_id("prompt", normalised(prompt))  # the same prompt has the same purpose in every file
    item = cells.text("item_id") or cells.text("id") or same
    return pair_id, item, cells.text("cluster") or same


def answer_by(subject: str, text: str) -> Answer:
    return Answer(subject=subject, model=subject, text=text)
