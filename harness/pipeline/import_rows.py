"""Rows of somebody's file as pairs and votes: Ratchet's own table (CSV, JSONL) and TRL's preference rows.

Every error names file, line and column, and what to write there. Nothing here touches a campaign.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from harness.campaign.pairs import draw
from harness.core.errors import InputError
from harness.core.fingerprint import short_id
from harness.core.paths import NAME
from harness.core.rating import Answer, Edit, Pair, PairRole, Side
from harness.data import Turn, normalised, raw_rows, turns_of
from harness.pipeline.exporting import from_cell
from harness.preferences import EDITED

View = Literal["a", "b", "tie", "both_bad", "skip"]
Form = Literal["table", "trl-preference"]
VIEWS: tuple[View, ...] = get_args(View)
ROLES: tuple[PairRole, ...] = get_args(PairRole)
UNNAMED = ("answer 1", "answer 2")  # what answers are called whose author no column says


@dataclass(frozen=True)
class Given:
    """A vote as a file has it; None: the file does not say. `line`: where."""

    line: int
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
class Rows:
    """A whole file. `pairs` in the order in which they first occur, each with its first line."""

    form: Form
    count: int
    pairs: dict[str, tuple[int, Pair]]
    votes: list[Given]


class Cells:
    """One row, asked column by column."""

    def __init__(self, path: Path, line: int, row: Mapping[str, Any]) -> None:
        self.line = line
        self._path, self._row, self._is_csv = path, row, path.suffix == ".csv"

    def get(self, column: str) -> Any:
        """The value; None where the column is absent or empty."""
        value = self._row.get(column)
        if self._is_csv and isinstance(value, str):
            value = from_cell(value)
        return None if value is None or value == "" else value

    def wrong(self, column: str, said: str, fix: str) -> InputError:
        return InputError(f"{self._path}:{self.line}: column {column!r} {said}", fix)

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
        return value if found.utcoffset() == datetime.timedelta() else found.astimezone(datetime.UTC).isoformat()

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


def read(path: Path) -> Rows:
    """The whole file, or InputError. Its columns say the form: prompt, a, b: a table; chosen, rejected: TRL's."""
    rows = [Cells(path, line, row) for line, row in raw_rows(path)]
    if not rows:
        raise InputError(f"{path} has no rows", "add some")
    form = _form(path, rows[0])
    pairs: dict[str, tuple[int, Pair]] = {}
    votes: list[Given] = []
    for cells in rows:
        pair, given = _table(cells) if form == "table" else _preference(cells)
        line, known = pairs.setdefault(pair.pair_id, (cells.line, pair))
        if known != pair:
            column = next(name for name in Pair.model_fields if getattr(known, name) != getattr(pair, name))
            raise cells.wrong(
                column, f"is not what line {line} has for the same pair ({pair.pair_id})",
                "write the same in both, or give different pairs different ids",
            )  # fmt: skip
        votes += given
    _check_repeats(path, pairs)
    return Rows(form, len(rows), pairs, votes)


def _form(path: Path, first: Cells) -> Form:
    if first.get("chosen") is not None and first.get("rejected") is not None:
        return "trl-preference"
    if all(first.get(column) is not None for column in ("prompt", "a", "b")):
        return "table"
    if first.get("completion") is not None:
        said = "has single answers (column 'completion'); a campaign compares two"
        raise InputError(f"{path}:{first.line}: {said}", "use rows with prompt, chosen, rejected, or prompt, a, b")
    raise InputError(
        f"{path}:{first.line}: these columns are no pairs of answers",
        "use prompt, a, b (with rater, preferred where there are votes), or TRL's prompt, chosen, rejected",
    )


# --- Ratchet's table ----------------------------------------------------------------------------------------------


def _table(cells: Cells) -> tuple[Pair, list[Given]]:
    prompt, a, b = cells.prompt(), cells.answer("a"), cells.answer("b")
    role = cast("PairRole", cells.one_of("role", ROLES, "main"))
    expected = None
    if role in ("gold", "calibration"):
        expected = cells.one_of("expected", ("a", "b", "tie"))
    inclusion = cells.number("inclusion")
    if inclusion is not None and not 0 < inclusion <= 1:
        raise cells.wrong("inclusion", f"is {inclusion:g}", "write a probability above 0, up to 1")
    pair_id, item_id, cluster = _ids(cells, prompt, a, b)
    pair = Pair(
        pair_id=pair_id,
        item_id=item_id,
        cluster=cluster,
        prompt=prompt,
        a=_by(cells.text("a_subject", UNNAMED[0]), a),
        b=_by(cells.text("b_subject", UNNAMED[1]), b),
        role=role,
        repeat_of=str(cells.need("repeat_of", "write the pair_id that it repeats")) if role == "repeat" else None,
        expected=cast("Literal['a', 'b', 'tie'] | None", expected),
        explanation=str(cells.need("explanation", "write why, in a sentence")) if role == "calibration" else "",
        arm=cast("Literal['uniform', 'informative']", cells.one_of("arm", ("uniform", "informative"), "uniform")),
        inclusion=1.0 if inclusion is None else inclusion,
    )
    if cells.get("rater") is None and cells.get("preferred") is None:
        return pair, []
    side = cells.get("edit_side")
    return pair, [
        Given(
            line=cells.line,
            pair_id=pair.pair_id,
            rater=_rater(cells, "rater", cells.get("rater")),
            view=cast("View", cells.one_of("preferred", VIEWS)),
            left=cast("Side", cells.one_of("left", ("a", "b"))) if cells.get("left") is not None else None,
            at=cells.time("at"),
            shown_at=cells.time("shown_at"),
            seconds=cells.number("seconds"),
            reason=cells.text("reason"),
            tags=tuple(_tag(cells, tag) for tag in cells.listed("tags")),
            edit=None
            if side is None
            else Edit(
                side=cast("Side", cells.one_of("edit_side", ("a", "b"))),
                text=str(cells.need("edit_text", "write the better answer, or empty edit_side")),
            ),
        )
    ]


def _tag(cells: Cells, tag: Any) -> str:
    if not isinstance(tag, str) or not tag:
        raise cells.wrong("tags", f"holds {tag!r}", "write a list of words")
    return tag


def _rater(cells: Cells, column: str, name: Any) -> str | None:
    if name is None:
        return None
    if not isinstance(name, str) or not NAME.fullmatch(name) or ".." in name:
        raise cells.wrong(
            column, f"has {name!r}, which is no pseudonym", "use a-z, 0-9, '.', '_', '-'; no addresses, no full names"
        )
    return name


def _ids(cells: Cells, prompt: list[Turn], a: str, b: str, own_id: bool = True) -> tuple[str, str, str]:
    """(pair, item, cluster): the file's own where they may stand in an assignment's name, else of the content."""
    given = cells.text("pair_id")
    pair_id = given if own_id and NAME.fullmatch(given) else short_id("pair", [prompt, a, b])
    same = short_id("prompt", normalised(prompt))  # the same prompt has the same purpose in every file
    item = cells.text("item_id") or cells.text("id") or same
    return pair_id, item, cells.text("cluster") or same


def _by(subject: str, text: str) -> Answer:
    return Answer(subject=subject, model=subject, text=text)


def _check_repeats(path: Path, pairs: Mapping[str, tuple[int, Pair]]) -> None:
    for line, pair in pairs.values():
        if pair.repeat_of is not None and pair.repeat_of not in pairs:
            raise InputError(
                f"{path}:{line}: column 'repeat_of' is {pair.repeat_of!r}, which the file does not have",
                "add that pair, or take the repeat out",
            )


# --- TRL's preference rows ----------------------------------------------------------------------------------------


def _preference(cells: Cells) -> tuple[Pair, list[Given]]:
    """Chosen and rejected stand in an order drawn from their texts, so that neither a nor b says which was chosen; and
    the same two answers are the same pair whichever was chosen."""
    prompt, chosen, rejected = _texts(cells)
    first, second = sorted((chosen, rejected), key=lambda text: draw("import", text))
    turned = first != chosen
    names = [cells.text("chosen_subject", UNNAMED[turned]), cells.text("rejected_subject", UNNAMED[not turned])]
    a_subject, b_subject = reversed(names) if turned else names
    own = cells.get("label_rule") != EDITED  # such a row is not the campaign's pair, though it bears its id
    pair_id, item_id, cluster = _ids(cells, prompt, first, second, own)
    pair = Pair(
        pair_id=pair_id,
        item_id=item_id,
        cluster=cluster,
        prompt=prompt,
        a=_by(a_subject, first),
        b=_by(b_subject, second),
    )
    raters = cells.listed("raters") if cells.get("raters") is not None else [cells.get("rater")]
    views = cells.listed("views") or ["chosen"] * len(raters)
    if len(views) != len(raters):
        raise cells.wrong("views", f"has {len(views)} entries, 'raters' {len(raters)}", "write one for each rater")
    column = "raters" if cells.get("raters") is not None else "rater"
    at = cells.time("at")
    return pair, [
        Given(cells.line, pair.pair_id, _rater(cells, column, rater), _view(cells, view, turned), at=at)
        for rater, view in zip(raters, views, strict=True)
    ]


def _view(cells: Cells, view: Any, turned: bool) -> View:
    sides: dict[Any, View] = {"chosen": "b" if turned else "a", "rejected": "a" if turned else "b"}
    if view in sides:
        return sides[view]
    if view in ("tie", "both_bad", "skip"):
        return cast("View", view)
    raise cells.wrong("views", f"has {view!r}", "write chosen, rejected, tie, both_bad or skip")


def _texts(cells: Cells) -> tuple[list[Turn], str, str]:
    """(prompt, chosen, rejected); without a prompt, both are whole conversations that begin alike."""
    if cells.get("prompt") is not None:
        return cells.prompt(), cells.answer("chosen"), cells.answer("rejected")
    chosen, rejected = cells.turns("chosen", "assistant"), cells.turns("rejected", "assistant")
    same = 0
    while same < min(len(chosen), len(rejected)) - 1 and chosen[same] == rejected[same]:
        same += 1
    fits = len(chosen) == len(rejected) == same + 1 and same and chosen[same - 1]["role"] == "user"
    if not fits or {chosen[-1]["role"], rejected[-1]["role"]} != {"assistant"}:
        raise cells.wrong(
            "prompt", "is missing, and 'chosen' and 'rejected' do not differ in the last answer alone",
            "write the prompt in a column of its own",
        )  # fmt: skip
    return chosen[:-1], chosen[-1]["content"], rejected[-1]["content"]
