"""What works without a plan: a verdict on anyone's results, and adapters trained elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.common import (
    DEFAULT_LAB,
    Format,
    FormatOption,
    LabOption,
    ReportFormat,
    ReportFormatOption,
    app,
    print_json,
    progress_for,
)
from harness.core.paths import Lab

RESULT = "lm-eval --log_samples folder, Inspect log, or .jsonl/.csv of {id, score}"


@app.command()
def verdict(
    candidate: Annotated[Path, typer.Argument(metavar="A", help=f"The candidate: {RESULT}.", show_default=False)],
    comparator: Annotated[
        Path, typer.Argument(metavar="B", help="What A must beat: the same kind.", show_default=False)
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", help="Must be won (the first, if several); not needed where there is but one."),
    ] = None,
    min_gain: Annotated[float, typer.Option("--min-gain", help="What A must gain, in the metric's unit.")] = 0.0,
    max_loss: Annotated[
        list[str] | None, typer.Option("--max-loss", help="METRIC=X: A may lose at most X there.")
    ] = None,
    direction: Annotated[
        list[str] | None, typer.Option("--direction", help="down where lower is better, or METRIC=down for one.")
    ] = None,
    cluster: Annotated[str, typer.Option("--cluster", help="Field that groups items which belong together.")] = "",
    output: Annotated[Path | None, typer.Option("--output", help="Write the --format there, and text here.")] = None,
    format: ReportFormatOption = ReportFormat.text,
) -> None:
    """Compare two results made by any tool, item by item. Exits 0 SHIP, 10 BLOCK, 11 INCONCLUSIVE, 12 INVALID."""
    from harness.gate import EXIT_CODES
    from harness.pipeline import standalone

    question = standalone.Question(
        metrics=metric or [],
        min_gain=min_gain,
        max_loss=standalone.margins(max_loss or []),
        directions=standalone.ways(direction or []),
        cluster=cluster or None,
    )
    report = standalone.verdict(candidate, comparator, question)
    standalone.show(report, format.value, output)
    raise typer.Exit(EXIT_CODES[report.verdict or "INVALID"])


@app.command()
def adopt(
    folder: Annotated[Path, typer.Argument(help="A PEFT adapter: adapter_config.json and adapter_model.safetensors.")],
    base: Annotated[str, typer.Option("--base", help="The base it was trained on: a folder or a hub id.")],
    label: Annotated[
        str, typer.Option("--label", help="What to call it in reports.  [default: the folder's name]")
    ] = "",
    data: Annotated[
        list[Path] | None, typer.Option("--data", help="What it was trained on, if known. Repeatable.")
    ] = None,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Take an adapter trained elsewhere into the lab, where its run id works as any other's."""
    from harness.pipeline import adoption

    found = adoption.adopt(Lab(lab), folder, base, label, data or [], progress_for(format.value))
    if format is Format.json:
        print_json(found)
        return
    for warning in found["warnings"]:
        print(f"note: {warning}")
    print(f"{'adopted' if found['new'] else 'adopted before:'} {found['label']} as {found['run_id']}")
    print(f"next: name it in a spec's subjects or baselines, e.g. subjects: [{found['run_id']}]")
