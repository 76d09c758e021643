"""The rating page and the next round."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.common import DEFAULT_LAB, Format, FormatOption, LabOption, app, print_json, who
from harness.core.paths import Lab


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
    primary: Annotated[str, typer.Option("--primary", help="The metric the round must win, e.g. aac_style/warm")],
    alias: Annotated[str, typer.Option("--from", help="The alias to continue.")] = "prod",
    out: Annotated[Path, typer.Option("--out", help="Where the round's folder goes.")] = Path("experiments"),
    beta: Annotated[float, typer.Option("--beta", min=1e-6, help="DPO: how closely to stay to the reference.")] = 0.1,
    epochs: Annotated[float, typer.Option("--epochs", min=0.01)] = 1.0,
    allow_pii: Annotated[bool, typer.Option("--allow-pii", help="Even with e-mail, phone, card, key in it.")] = False,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Turn votes into preference pairs and the YAML of a DPO round that continues what the alias serves."""
    from harness import audit
    from harness.pipeline import rounds

    spec, found = rounds.next_round(Lab(lab), name, alias, primary, out, beta, epochs, allow_pii)
    audit.note(Lab(lab), who(), "exported", str(spec.parent / "pairs.jsonl"), {"rows": len(found.rows)})
    if format is Format.json:
        print_json({"spec": str(spec), "pairs": len(found.rows), "counts": found.counts})
        return
    counts = ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in found.counts.items() if count)
    print(f"{len(found.rows)} preference pairs ({counts}) -> {spec.parent / 'pairs.jsonl'}")
    print(f"next: ratchet run {spec}")
