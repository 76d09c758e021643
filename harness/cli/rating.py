"""Campaigns, the rating page and the next round."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.common import DEFAULT_LAB, Format, FormatOption, LabOption, app, group, print_json, progress_for
from harness.core.paths import Lab

campaign_group = group("campaign", "Rating campaigns: blind pairs for people to judge.")


@campaign_group.command("create")
def campaign_create(
    campaign: Annotated[str, typer.Argument(help="A name for the campaign.")],
    subjects: Annotated[list[str], typer.Argument(help="Two of: run id, NAME@ALIAS, NAME@vN, base.")],
    pool: Annotated[Path, typer.Option("--pool", help="Prompts: .jsonl or .csv with a column prompt.")],
    name: Annotated[str, typer.Option("--name", help="The registry name whose next round these votes train.")],
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Use only the first N prompts.")] = None,
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, max=2.0)] = 1.0,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1)] = 256,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Answer a pool of prompts with two subjects and store the pairs worth rating."""
    from harness.pipeline import rounds

    if len(subjects) != 2:
        raise typer.BadParameter("give exactly two subjects (twice the same one compares two samples of it)")
    decoding = {"temperature": temperature, "max_tokens": max_tokens}
    record = rounds.create_campaign(
        Lab(lab), campaign, name, (subjects[0], subjects[1]), pool, limit, decoding, seed, progress_for(format.value)
    )
    if format is Format.json:
        print_json(record.model_dump(mode="json"))
        return
    left_out = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in record.refused.items() if count)
    print(f"campaign {campaign}: {record.pairs} pairs to rate; left out: {left_out or 'none'}")
    print(f"next: ratchet rate {campaign} --rater YOUR-NAME")


@campaign_group.command("list")
def campaign_list(lab: LabOption = DEFAULT_LAB, format: FormatOption = Format.text) -> None:
    """Campaigns and how far their ratings are."""
    from harness.pipeline import show, status

    found = status.campaigns(Lab(lab))
    print_json(found) if format is Format.json else show.campaigns(found)


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
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Turn votes into preference pairs and the YAML of a DPO round that continues what the alias serves."""
    from harness.pipeline import rounds

    spec, found = rounds.next_round(Lab(lab), name, alias, primary, out, beta, epochs)
    if format is Format.json:
        print_json({"spec": str(spec), "pairs": len(found.rows), "counts": found.counts})
        return
    counts = ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in found.counts.items() if count)
    print(f"{len(found.rows)} preference pairs ({counts}) -> {spec.parent / 'pairs.jsonl'}")
    print(f"next: ratchet run {spec}")
