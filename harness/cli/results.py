"""Results in the browser."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.common import DEFAULT_LAB, LabOption, app
from harness.core.paths import Lab


@app.command()
def dashboard(
    viewer: Annotated[
        list[str] | None, typer.Option("--viewer", help="Who looks; each gets a link of their own. Repeatable.")
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 7861,
    lab: LabOption = DEFAULT_LAB,
) -> None:
    """Open the lab's results in the browser: leaderboard, runs, items with tags, versions, plots; until Ctrl-C."""
    from dashboards.results_app import serve_results

    serve_results(Lab(lab), port=port, viewers=viewer or ["owner"])
