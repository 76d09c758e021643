"""The lead's board of a campaign, and rulings."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.campaigns import campaign_group
from harness.cli.common import DEFAULT_LAB, Format, FormatOption, LabOption, print_json, who
from harness.core.paths import Lab

if TYPE_CHECKING:
    from harness.pipeline.adjudicating import Case

CampaignArgument = Annotated[str, typer.Argument(help="A campaign's name.")]


class VerdictChoice(str, Enum):
    left = "left"
    right = "right"
    tie = "tie"
    both_bad = "both_bad"


@campaign_group.command("board")
def campaign_board(
    campaign: CampaignArgument, lab: LabOption = DEFAULT_LAB, format: FormatOption = Format.text
) -> None:
    """Whether a campaign's ratings are worth anything: coverage, agreement, biases, win rates, noise, raters."""
    from harness.pipeline.board import campaign_board as read_board
    from harness.pipeline.board_text import print_board

    found = read_board(Lab(lab), campaign)
    print_json(found.model_dump(mode="json")) if format is Format.json else print_board(found)


@campaign_group.command("rule")
def campaign_rule(
    campaign: CampaignArgument,
    pair: Annotated[str | None, typer.Argument(help="A pair's id; left out: what is to be decided.")] = None,
    verdict: Annotated[VerdictChoice | None, typer.Argument(help="With left and right as they are shown here.")] = None,
    reason: Annotated[str, typer.Option("--reason")] = "",
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Show pairs on which raters disagree, or decide one. A ruling goes before the votes; the latest one stands."""
    from harness.core.words import counted
    from harness.pipeline.adjudicating import Decision, Docket, rule

    if pair is not None and verdict is not None:
        rule(Lab(lab), campaign, who(), Decision(pair, verdict.value, reason))
        print_json({"pair": pair, "ruling": verdict.value}) if format is Format.json else print(
            f"{pair}: {verdict.value}"
        )
        return
    docket = Docket(Lab(lab), campaign)
    if format is Format.json:
        found = docket.cases(who()) if pair is None else [docket.case(pair, who())]
        print_json([one.model_dump(mode="json") for one in found])
        return
    shown = docket.undecided[:1] if pair is None else [pair]
    print(f"{campaign}: {counted(len(docket.undecided), 'pair')} to decide")
    for one in shown:
        _say_case(docket.case(one, who()))


def _say_case(case: Case) -> None:
    from harness.core.errors import printable

    print(f"pair {printable(case.pair_id)}")
    parts = [(turn.get("role", ""), turn.get("content", "")) for turn in case.prompt]
    for name, text in [*parts, ("left answer", case.left), ("right answer", case.right)]:
        print(f"\n{name}:")
        for line in text.splitlines():
            print(f"  {printable(line)}")
    print()
    for one in case.said:
        more = "; ".join(part for part in (one.reason, ", ".join(one.tags)) if part)
        print(printable(f"{one.rater}: {one.choice}" + (f" ({more})" if more else "")))
    if case.ruling:
        print(printable(f"ruled {case.ruling} by {case.by}" + (f": {case.why}" if case.why else "")))
    print(f"decide: ratchet campaign rule {case.campaign} {case.pair_id} left|right|tie|both_bad")
