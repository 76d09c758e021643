"""Captured calls: look, export for the next round, keep and forget."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.common import DEFAULT_LAB, Format, FormatOption, LabOption, group, print_json, who
from harness.core.errors import printable
from harness.core.paths import Lab

if TYPE_CHECKING:
    from harness.pipeline.capture import Stats

capture_group = group("capture", "Captured calls and apps' feedback: data for the next round.")
AliasOption = Annotated[str | None, typer.Option("--alias", help="Only calls of one alias, e.g. support@prod")]


class ExportForm(str, Enum):
    kto = "kto"
    pairs = "pairs"
    sft = "sft"
    pool = "pool"


@capture_group.command("ls")
def capture_ls(
    alias: AliasOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1)] = 20,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """The newest captured calls, and what was said of their answers."""
    from harness.pipeline import capture

    found = capture.newest(Lab(lab), alias, limit)
    if format is Format.json:
        print_json(found)
        return
    for row in found:
        said = f"+{row['up']} -{row['down']}" + (f" {row['edits']} edited" if row["edits"] else "")
        print(printable(f"{row['at']}  {row['id']}  {row['alias'] or row['model']}  {said}  {row['asked']}"))
    if not found:
        print("nothing captured: give a key a share of calls with `ratchet keys create NAME --capture 0.1`")


@capture_group.command("stats")
def capture_stats(lab: LabOption = DEFAULT_LAB, format: FormatOption = Format.text) -> None:
    """How much was captured, by version, with the feedback on it."""
    from harness.pipeline import capture

    found = capture.stats(Lab(lab))
    print_json(asdict(found)) if format is Format.json else _show(found)


@capture_group.command("export")
def capture_export(
    out: Annotated[Path, typer.Argument(help="A new .jsonl file.", show_default=False)],
    form: Annotated[ExportForm, typer.Option("--as", help="What to make of it.")],
    alias: AliasOption = None,
    key: Annotated[
        str | None, typer.Option("--key", help="Only calls of one key's id; portal: what people tried there.")
    ] = None,
    sent: Annotated[bool, typer.Option("--sent", help="Only what somebody sent to a campaign.")] = False,
    allow_pii: Annotated[bool, typer.Option("--allow-pii", help="Even with e-mail, phone, card, key in it.")] = False,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Make a file of it: kto and pairs from feedback, sft from edits and thumbs, or a campaign's pool."""
    from harness.captured import Which
    from harness.pipeline import capture

    made = capture.export(Lab(lab), form.value, out, Which(alias, key, sent), who(), allow_pii)
    if format is Format.json:
        print_json(asdict(made))
        return
    print(f"wrote {out}: {made.rows} rows")
    for reason, count in made.refused.items():
        print(f"left out: {count} {reason.replace('_', ' ')}")


@capture_group.command("keep")
def capture_keep(
    days: Annotated[int | None, typer.Argument(min=1, max=36_500, help="Days; shows them if not given.")] = None,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """How many days calls and feedback are kept. Older ones go at every ingest, and with `purge`."""
    from harness.pipeline import capture

    kept = capture.keep(Lab(lab), days, who())
    print_json({"days": kept}) if format is Format.json else print(f"captured calls and feedback are kept {kept} days")


@capture_group.command("purge")
def capture_purge(
    days: Annotated[int | None, typer.Option("--days", min=1, help="Older than this. [default: as kept]")] = None,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Remove old calls and feedback now. Exported files stay."""
    from harness.pipeline import capture

    removed = capture.purge_old(Lab(lab), days, who())
    print_json({"segments": removed}) if format is Format.json else print(f"removed {removed} segments")


@capture_group.command("erase")
def capture_erase(
    user: Annotated[str, typer.Option("--user", help="As the app sends it in `user`, or the u-… of an export.")],
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Forget one user: calls, feedback, their rows in exported files and in the store. Counts stay."""
    from harness.pipeline import erasing

    found = erasing.erase(Lab(lab), user, who())
    if format is Format.json:
        print_json(asdict(found))
        return
    print(f"forgot {found.user}: {found.calls} calls, {found.feedback} feedback, {found.exported_rows} exported rows")
    for place in found.remains:
        print(printable(f"remains: {place}"))


def _show(found: Stats) -> None:
    print(f"{found.calls} calls of {found.users} users, {found.bytes} bytes, kept {found.days_kept} days")
    for version, counts in found.versions.items():
        print(f"  {version}: {counts['calls']} calls, +{counts['up']} -{counts['down']}, {counts['edits']} edited")
    said = ", ".join(f"{count} {name}" for name, count in found.feedback.items())
    print(f"feedback: {said or 'none'}; {found.unmatched} on answers that were not captured")
    if found.redacted:
        print("redacted: " + ", ".join(f"{count} {name}" for name, count in found.redacted.items()))
    if found.erased:
        print(f"erased: {found.erased}")
