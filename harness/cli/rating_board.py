"""The lead's board of a campaign."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.campaigns import campaign_group
from harness.cli.common import DEFAULT_LAB, Format, FormatOption, LabOption, print_json
from harness.core.paths import Lab


@campaign_group.command("board")
def campaign_board(
    campaign: Annotated[str, typer.Argument(help="A campaign's name.")],
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Whether a campaign's ratings are worth anything: coverage, agreement, biases, win rates, noise, raters."""
    from harness.pipeline.board import campaign_board as read_board
    from harness.pipeline.board_text import print_board

    found = read_board(Lab(lab), campaign)
    print_json(found.model_dump(mode="json")) if format is Format.json else print_board(found)
