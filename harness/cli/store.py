"""The store, and the machine it lies on."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from harness.cli.common import DEFAULT_LAB, Format, FormatOption, LabOption, app, print_json
from harness.core.paths import Lab


class SqlFormat(str, Enum):
    text = "text"
    json = "json"
    csv = "csv"


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="SQL over the published store, read-only.")],
    lab: LabOption = DEFAULT_LAB,
    format: Annotated[SqlFormat, typer.Option("--format")] = SqlFormat.text,
) -> None:
    """Ask the store in SQL. Tables: `ratchet sql "show tables"`."""
    from harness import store
    from harness.pipeline import show

    columns, rows = store.query(Lab(lab), query)
    show.rows(columns, rows, format.value)


@app.command()
def reindex(lab: LabOption = DEFAULT_LAB) -> None:
    """Rebuild the store from journals and records; the answers stay the same."""
    from harness import store

    store.reindex(Lab(lab))
    print(f"rebuilt {Lab(lab).database}")


@app.command()
def doctor(lab: LabOption = DEFAULT_LAB, format: FormatOption = Format.text) -> None:
    """What this machine has: packages, accelerator, memory, disk, engines left behind."""
    from harness.pipeline import doctor as doctoring
    from harness.pipeline import show

    found = doctoring.examine(Lab(lab))
    print_json(found) if format is Format.json else show.doctor(found)
