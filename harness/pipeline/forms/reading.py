"""A whole file as pairs and votes, whatever form it has: its first row says which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.core.errors import InputError
from harness.core.rating import Pair
from harness.data import Row, raw_rows
from harness.pipeline.forms import argilla, label_studio
from harness.pipeline.forms.cells import Cells, Form, Given, Place, Rows
from harness.pipeline.forms.others import Hints, read_records
from harness.pipeline.forms.table import table_row
from harness.pipeline.forms.trl import preference_row

OTHERS: Mapping[Form, tuple[str, str]] = {"label-studio": ("task", "annotations"), "argilla": ("record", "responses")}


def read(path: Path, hints: Hints) -> Rows:
    """The whole file, or InputError."""
    is_json = path.suffix == ".json"
    rows = list(enumerate(read_records(path), 1)) if is_json else list(raw_rows(path))
    if not rows:
        raise InputError(f"{path} has no rows", "add some")
    form = _other(rows[0][1])
    if form is None and is_json:
        raise InputError(
            f"{path}: holds neither Label Studio's tasks (data, annotations) nor Argilla's records (fields, responses)",
            "export JSON from Label Studio (not JSON-MIN), records from Argilla, or write other rows as .jsonl",
        )
    noun = OTHERS[form][0] if form and is_json else "line"
    placed = [(Place(str(path), number, noun), row) for number, row in rows]
    left_out: Counter[str] = Counter()
    if form is None:
        _unhinted(path, hints)
        form, cells = _form(*placed[0]), [Cells(place, row) for place, row in placed]
    else:
        reader = label_studio.cells_of if form == "label-studio" else argilla.cells_of
        cells = list(reader(placed, hints, left_out))
    pairs, votes = _collect(form, cells)
    return Rows(form, len(rows), pairs, votes, dict(+left_out))


def _other(row: Row) -> Form | None:
    """Whose record this is, of tools that are not ours."""
    if isinstance(row.get("data"), dict):
        return "label-studio"
    nested = isinstance(row.get("fields"), dict)
    return "argilla" if nested or any(key.endswith(argilla.RESPONSES) for key in row) else None


def _unhinted(path: Path, hints: Hints) -> None:
    for option, given in (("--keys", hints.keys), ("--question", hints.question)):
        if given:
            raise InputError(f"{path}: {option} is for files of Label Studio and Argilla", "leave it out")


def _form(place: Place, row: Row) -> Form:
    first = Cells(place, row)
    if first.get("chosen") is not None and first.get("rejected") is not None:
        return "trl-preference"
    if all(first.get(column) is not None for column in ("prompt", "a", "b")):
        return "table"
    if first.get("completion") is not None:
        said = "has single answers (column 'completion'); a campaign compares two"
        raise InputError(f"{place}: {said}", "use rows with prompt, chosen, rejected, or prompt, a, b")
    raise InputError(
        f"{place}: these columns are no pairs of answers",
        "use prompt, a, b (with rater, preferred where there are votes), TRL's prompt, chosen, rejected, "
        "or a JSON export of Label Studio or Argilla",
    )


def _collect(form: Form, rows: Iterable[Cells]) -> tuple[dict[str, tuple[Place, Pair]], list[Given]]:
    pairs: dict[str, tuple[Place, Pair]] = {}
    votes: list[Given] = []
    for cells in rows:
        pair, given = preference_row(cells) if form == "trl-preference" else table_row(cells)
        place, known = pairs.setdefault(pair.pair_id, (cells.place, pair))
        if known != pair:
            column = next(name for name in Pair.model_fields if getattr(known, name) != getattr(pair, name))
            raise cells.wrong(
                column, f"is not what {place.said} has for the same pair ({pair.pair_id})",
                "write the same in both, or give different pairs different ids",
            )  # fmt: skip
        votes += given
    for place, pair in pairs.values():
        if pair.repeat_of is not None and pair.repeat_of not in pairs:
            raise place.wrong(
                "repeat_of", f"is {pair.repeat_of!r}, which the file does not have",
                "add that pair, or take the repeat out",
            )  # fmt: skip
    return pairs, votes
