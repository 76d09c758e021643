"""From votes to an adapter and its gate."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from harness.cli.common import DEFAULT_LAB, Format, FormatOption, LabOption, app, print_json
from harness.core.errors import printable
from harness.core.paths import Lab


@app.command()
def lineage(
    subject: Annotated[str, typer.Argument(help="A run id, NAME@vN or NAME@ALIAS.")],
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Which votes shaped an adapter, and did any of their prompts touch its gate."""
    from harness.pipeline.lineage import lineage as lineage_of

    found = lineage_of(Lab(lab), subject)
    if format is Format.json:
        told = {"answer": found.answer(), "overlap": [asdict(one) for one in found.overlap]}
        print_json({**asdict(found), **told, "disputes": [one.model_dump(mode="json") for one in found.disputes]})
        return
    print(printable(f"{found.run_id}: {found.answer()}"))
    for one in found.data:
        print(printable(f"data: {one['path']} ({one['rows']} rows, {one['format']}) of {one['run_id']}"))
    for one in found.verdicts:
        print(printable(f"verdict: {one['verdict']} in {one['plan_id']}"))
    for disputed in found.disputes:
        print(printable(f"disputed: {disputed.plan_id} by {disputed.who}: {disputed.text}"))
    for one in found.aliases:
        print(printable(f"alias: {one['name']}@{one['alias']} -> v{one['version']} by {one['who']}: {one['why']}"))
    for touch in found.overlap:
        print(
            printable(f"touches: {touch.metric} {touch.item_id} is pair {touch.campaign}/{touch.pair_id} ({touch.how})")
        )
