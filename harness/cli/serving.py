"""Versions, aliases and the endpoint that serves them."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.common import DEFAULT_LAB, Format, FormatOption, LabOption, app, progress_for, who
from harness.cli.registry import say
from harness.core.paths import Lab


@app.command()
def promote(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A run id from the report, or: best.")],
    alias: Annotated[str, typer.Option("--as", help="NAME@ALIAS to move, e.g. aac@prod")],
    lab: LabOption = DEFAULT_LAB,
    force: Annotated[bool, typer.Option("--force", help="Promote without a SHIP verdict; needs --reason.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why, kept in the history.")] = "",
    judged_for: Annotated[
        str, typer.Option("--judged-for", help="The alias of the verdict, where another one is to move.")
    ] = "",
    format: FormatOption = Format.text,
) -> None:
    """Make a run an immutable version and move an alias to it, if its verdict is SHIP against what the alias serves."""
    from harness.pipeline import promotion

    say(promotion.promote(Lab(lab), run_id, alias, reason, force, who(), judged_for), format)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="NAME or NAME@ALIAS (default: prod)")],
    lab: LabOption = DEFAULT_LAB,
    reason: Annotated[str, typer.Option("--reason", help="Why, kept in the history.")] = "rollback",
    format: FormatOption = Format.text,
) -> None:
    """Move an alias back to the version it served before. A running server follows at once."""
    from harness.pipeline import promotion

    say(promotion.rollback(Lab(lab), name, reason, who()), format)


@app.command()
def serve(
    name: Annotated[str, typer.Argument(help="A registry name; its base is served with every version.")] = "",
    base: Annotated[str, typer.Option("--base", help="Serve this base model (a folder or hub id) instead.")] = "",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any, and share a running engine.")] = 8000,
    lab: LabOption = DEFAULT_LAB,
) -> None:
    """Serve base, versions and aliases behind an OpenAI-compatible endpoint until Ctrl-C."""
    from harness.pipeline import serving

    serving.serve(Lab(lab), name, base, port, progress_for("text"))


@app.command()
def stop(lab: LabOption = DEFAULT_LAB) -> None:
    """Stop the lab's engines."""
    from harness.pipeline import serving

    stopped = serving.stop(Lab(lab))
    print(f"stopped {', '.join(stopped)}" if stopped else "no engine was running")
