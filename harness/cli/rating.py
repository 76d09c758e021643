"""The rating page and the next round."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.common import DEFAULT_LAB, Format, FormatOption, LabOption, app, print_json, who
from harness.core.paths import Lab

if TYPE_CHECKING:
    from harness.pipeline.rounds import Asked


class LabelChoice(str, Enum):
    adjudicated = "adjudicated"
    majority = "majority"


@app.command()
def rate(
    campaign: Annotated[str, typer.Argument(help="A campaign's name.")],
    rater: Annotated[list[str], typer.Option("--rater", help="Who rates; each gets a link of their own. Repeatable.")],
    port: Annotated[int, typer.Option("--port", min=1024, max=65535)] = 7860,
    lab: LabOption = DEFAULT_LAB,
) -> None:
    """Open the rating page of a campaign in the browser: blind, by mouse or keyboard, until Ctrl-C."""
    from dashboards.app import serve_rating

    serve_rating(Lab(lab), campaign, port=port, raters=rater)


@app.command("next")
def next_round(
    name: Annotated[str, typer.Argument(help="A registry name, e.g. aac")],
    primary: Annotated[
        str, typer.Option("--primary", help="The metric the round must win, e.g. aac_style/warm; needed to write.")
    ] = "",
    alias: Annotated[str, typer.Option("--from", help="The alias to continue.")] = "prod",
    out: Annotated[Path, typer.Option("--out", help="Where the round's folder goes.")] = Path("experiments"),
    beta: Annotated[float, typer.Option("--beta", min=1e-6, help="DPO: how closely to stay to the reference.")] = 0.1,
    epochs: Annotated[float, typer.Option("--epochs", min=0.01)] = 1.0,
    labels: Annotated[
        LabelChoice, typer.Option("--labels", help="A lead's rulings before votes, or the majority of votes alone.")
    ] = LabelChoice.adjudicated,
    preview: Annotated[bool, typer.Option("--preview", help="Show what it would be; write nothing.")] = False,
    allow_pii: Annotated[bool, typer.Option("--allow-pii", help="Even with e-mail, phone, card, key in it.")] = False,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Turn votes into preference pairs and the YAML of a DPO round that continues what the alias serves."""
    from harness import audit
    from harness.pipeline import rounds

    asked = rounds.Asked(name, primary, alias, out, beta, epochs, labels.value)
    if preview:
        _preview(Lab(lab), asked, format)
        return
    if not primary:
        raise typer.BadParameter("say what the round must win: --primary METRIC (or look first: --preview)")
    made = rounds.next_round(Lab(lab), asked, allow_pii)
    found, files = made.found, made.files
    audit.note(Lab(lab), who(), "exported", str(files[0]), {"rows": len(found.rows)})
    if format is Format.json:
        more = {"edited": found.edited, "adjudicated": found.adjudicated, "files": [str(path) for path in files]}
        print_json({"spec": str(files[-1]), "pairs": len(found.rows), "counts": found.counts, **more})
        return
    counts = ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in found.counts.items() if count)
    edited = f", {found.edited} edited" if found.edited else ""
    print(f"{len(found.rows)} preference pairs ({counts}{edited}) -> {files[0]}")
    if found.sft:
        print(f"{len(found.sft)} edited answers -> {files[1]}")
    print(f"next: ratchet run {files[-1]}")


def _preview(lab: Lab, asked: Asked, format: Format) -> None:
    from harness.core.errors import printable
    from harness.pipeline.round_preview import lines, preview_round

    found = preview_round(lab, asked)
    if format is Format.json:
        print_json(found.model_dump(mode="json"))
        return
    for line in lines(found):
        print(printable(line))
    if found.yaml:
        print(f"would write {', '.join(found.files)}:\n\n{found.yaml}", end="")
