"""Judges: a model compares answers; people label a random sample of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from harness.cli.common import DEFAULT_LAB, Format, FormatOption, LabOption, app, print_json, progress_for
from harness.core.errors import printable
from harness.core.paths import Lab

if TYPE_CHECKING:
    from harness.evaluate.judge import JudgeSummary

JudgeOption = Annotated[str, typer.Option("--judge", help="A judge's name in judges.yaml.")]
JudgesOption = Annotated[Path, typer.Option("--judges", help="Where judges are defined.")]
DEFAULT_JUDGES = Path("judges.yaml")


class _CampaignFirst(TyperGroup):
    """`ratchet judge CAMPAIGN` is `ratchet judge campaign CAMPAIGN`, unless a command is called so."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["campaign", *args]
        return super().resolve_command(ctx, args)


judge_group = typer.Typer(
    help="A model as judge: `ratchet judge CAMPAIGN --judge NAME`.", no_args_is_help=True, cls=_CampaignFirst
)
app.add_typer(judge_group, name="judge")


@judge_group.command("campaign")
def judge_campaign(
    campaign: Annotated[str, typer.Argument(help="A campaign's name.")],
    judge: JudgeOption,
    judges: JudgesOption = DEFAULT_JUDGES,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Have a judge compare a campaign's pairs, each in both orders; goes on where it stopped."""
    from harness.pipeline import judging

    found = judging.judge_campaign(Lab(lab), campaign, judge, progress_for(format.value), judges)
    _show(campaign, found, format)


@judge_group.command("evals")
def judge_evals(
    evals: Annotated[list[str], typer.Argument(help="Two evaluation ids of one evalset.")],
    judge: JudgeOption,
    split: Annotated[str, typer.Option("--split", help="Whose items; what people see of release is burnt.")] = "dev",
    name: Annotated[str | None, typer.Option("--name", help="The campaign they become; default: from the ids.")] = None,
    judges: JudgesOption = DEFAULT_JUDGES,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Compare two stored evaluations' answers: they become a campaign, which a judge and people can compare."""
    from harness.core.fingerprint import short_id
    from harness.pipeline import judging

    if len(evals) != 2:
        raise typer.BadParameter("give exactly two evaluation ids")
    campaign = name or short_id("evals", [*evals, split])
    judging.campaign_of_evals(Lab(lab), (evals[0], evals[1]), split, campaign)
    found = judging.judge_campaign(Lab(lab), campaign, judge, progress_for(format.value), judges)
    _show(campaign, found, format)


@judge_group.command("sample")
def judge_sample(
    campaign: Annotated[str, typer.Argument(help="A campaign's name.")],
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="At least so many; whole clusters are drawn.")] = 100,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Draw the pairs that people should label for a judge to decide, as a campaign ready to be rated."""
    from harness.pipeline import judging

    record, sample = judging.draw_sample(Lab(lab), campaign, pairs)
    clusters = len({pair.cluster for pair in sample})
    if format is Format.json:
        ids = [pair.pair_id for pair in sample]
        print_json({"campaign": record.campaign, "of": campaign, "pairs": ids, "clusters": clusters})
        return
    for pair in sample:
        print(f"{pair.pair_id}  {printable(pair.item_id)}")
    print(f"{len(sample)} pairs of {clusters} clusters, drawn by the campaign's seed")
    print(f"next: ratchet rate {record.campaign} --rater YOUR-NAME")


def _show(campaign: str, found: JudgeSummary, format: Format) -> None:
    if format is Format.json:
        print_json({"campaign": campaign, **found.model_dump(mode="json")})
        return
    print(f"{found.judge} ({printable(found.model)}) on {campaign}: {printable(' against '.join(found.subjects))}")
    print(f"  {found.wins} won, {found.losses} lost, {found.ties} ties, {found.unreadable} could not be read")
    if found.win.estimate is not None:
        print(f"  win rate {_share(found.win)}; {found.beside}")
    if found.longer.estimate is not None:
        print(f"  the longer answer won {_share(found.longer)}")
    if found.first is not None:
        print(f"  the answer shown first won {found.first:.0%} of single verdicts (50% without a bias)")
    for problem, count in sorted(found.problems.items(), key=lambda pair: -pair[1])[:5]:
        print(f"  could not be read: {printable(problem)} ({count} times)")
    print("  a judge describes; it decides only as judge/CAMPAIGN/JUDGE, corrected by people's votes (docs/judge.md)")


def _share(interval: Any) -> str:
    if interval.low is None or interval.high is None:
        return f"{interval.estimate:.1%} (no interval: {interval.note})"
    return f"{interval.estimate:.1%} ({interval.low:.1%} to {interval.high:.1%}, {interval.items} pairs)"
