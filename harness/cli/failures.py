"""Error analysis: what a candidate fixed and broke, tags, and failures that become evalsets or training data."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

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
    who,
)
from harness.core.paths import Lab


class Outcome(str, Enum):
    fixed = "fixed"
    broke = "broke"
    failed = "failed"
    solved = "solved"
    unscored = "unscored"


class _ShowByDefault(TyperGroup):
    """`ratchet errors PLAN` is `ratchet errors show PLAN`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and (args[0] in self.commands or args[0] == "--help")
        return super().parse_args(ctx, args if named else ["show", *args])


errors_group = typer.Typer(
    cls=_ShowByDefault,
    help="What a candidate fixed and broke, item by item: `ratchet errors PLAN` (see `errors show --help`).",
)
app.add_typer(errors_group, name="errors")

TargetArgument = Annotated[str, typer.Argument(help="A plan id, or a spec; the latest plan when left out.")]
CandidateOption = Annotated[str, typer.Option("--candidate", help="A run id or label; default: the best on dev.")]
MetricOption = Annotated[str, typer.Option("--metric", help="EVALSET/METRIC; default: the gate's primary.")]
SplitOption = Annotated[list[str], typer.Option("--split", help="tune, dev; release only with --burn. Repeatable.")]
AgainstOption = Annotated[str, typer.Option("--against", help="base, incumbent, best (baseline), a run id or label.")]
EvalsetOption = Annotated[str, typer.Option("--evalset", help="Which of the plan's evalsets; default: the gate's.")]
OPEN = ["tune", "dev"]


@errors_group.command("show")
def errors(
    plan_or_spec: TargetArgument = "",
    candidate: CandidateOption = "",
    against: AgainstOption = "base",
    metric: MetricOption = "",
    split: SplitOption = OPEN,
    only: Annotated[list[Outcome] | None, typer.Option("--only", help="Show only these. Repeatable.")] = None,
    tag: Annotated[str, typer.Option("--tag", help="Show only items with this tag.")] = "",
    item: Annotated[list[str] | None, typer.Option("--item", help="Show only this item. Repeatable.")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=0, help="Items shown; 0: all. Default: 20, of release all.")
    ] = None,
    burn: Annotated[str, typer.Option("--burn", help="Why release items are opened; recorded, for good.")] = "",
    lab: LabOption = DEFAULT_LAB,
    format: ReportFormatOption = ReportFormat.text,
) -> None:
    """Items that the candidate fixed and broke: prompt, both answers, scores and evidence, largest change first."""
    from harness.pipeline import failures, failures_text

    outcomes = [one.value for one in only] if only else list(Outcome.__members__)
    most = 20 if limit is None and failures.SEALED not in split and not item else limit
    question = failures.Question(
        candidate, against, metric, split, burn, who(), outcomes, tag, most or None, item or []
    )  # fmt: skip
    found = failures.failures(Lab(lab), plan_or_spec, question)
    if format is ReportFormat.json:
        print_json(found.model_dump(mode="json"))
    elif format is ReportFormat.md:
        print(failures_text.markdown(found))
    else:
        failures_text.print_failures(found)


@errors_group.command("export")
def errors_export(
    plan_or_spec: Annotated[str, typer.Argument(help="A plan id, or a spec.")],
    tag: Annotated[str, typer.Option("--tag", help="Items with this tag.")],
    to: Annotated[tuple[str, str], typer.Option("--to", metavar="evalset NAME | data FILE", help="Where they go.")],
    evalset: EvalsetOption = "",
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Make tagged failures an evalset of their own, or rows of training data. Never from release."""
    from harness.pipeline import failures_export

    kind, place = to
    if kind == "evalset":
        made = failures_export.to_evalset(Lab(lab), plan_or_spec, tag, place, evalset)
    elif kind == "data":
        made = failures_export.to_data(Lab(lab), plan_or_spec, tag, Path(place), evalset)
    else:
        raise typer.BadParameter(f"{kind!r}: write --to evalset NAME, or --to data FILE")
    if format is Format.json:
        print_json({"path": str(made.path), "items": made.items, "left_out": made.left_out})
        return
    print(f"{made.items} items -> {made.path}")
    for item_id, why in made.left_out.items():
        print(f"left out {item_id}: {why}")
    if kind == "data":
        print("an adapter trained on them is not judged by them: `ratchet check` excludes those items from its verdict")


@errors_group.command("suggest")
def errors_suggest(
    plan_or_spec: TargetArgument = "",
    judge: Annotated[str, typer.Option("--judge", help="A judge of judges.yaml.")] = "",
    candidate: CandidateOption = "",
    metric: MetricOption = "",
    judges: Annotated[Path, typer.Option("--judges", help="Where judges are named.")] = Path("judges.yaml"),
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Have a judge propose tags for a candidate's failures on tune and dev. `ratchet tag` confirms them."""
    from harness.pipeline import failures, suggestions

    if not judge:
        raise typer.BadParameter("name one with --judge")
    question = failures.Question(candidate=candidate, metric=metric, splits=OPEN)
    made = suggestions.suggest(Lab(lab), plan_or_spec, question, judge, progress_for(format.value), judges)
    if format is Format.json:
        print_json(vars(made))
        return
    print(f"{made.tags} tags proposed for {made.items} failures; {made.unread} replies could not be read")
    print("they count once a person confirms them: ratchet tag PLAN ITEM TAG, or in ratchet dashboard")


@app.command()
def tag(
    target: Annotated[str, typer.Argument(metavar="EVAL_OR_PLAN", help="An evaluation's id, a plan id or a spec.")],
    item: Annotated[str, typer.Argument(help="An item id.")],
    tags: Annotated[list[str], typer.Argument(help="Tags: a-z, 0-9, '.', '_', '-'.")],
    remove: Annotated[bool, typer.Option("--remove", help="Take them away.")] = False,
    evalset: EvalsetOption = "",
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Tag an item, or confirm what a judge suggested. Again is no change."""
    from harness.pipeline import failures

    changed = failures.add_tag(Lab(lab), target, item, tags, who(), evalset, removed=remove)
    if format is Format.json:
        print_json({"item": item, "changed": changed, "removed": remove})
    else:
        print(f"{item}: {'took away' if remove else 'tagged'} {', '.join(changed)}" if changed else "no change")


@app.command()
def tags(
    plan_or_spec: TargetArgument = "",
    candidate: CandidateOption = "",
    metric: MetricOption = "",
    split: SplitOption = OPEN,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Tags of a candidate's failures: how many, which share, and what fixing each would bring to the metric."""
    from harness.pipeline import failures, failures_text

    question = failures.Question(candidate=candidate, metric=metric, splits=split)
    found = failures.tag_counts(Lab(lab), plan_or_spec, question)
    if format is Format.json:
        print_json([one.model_dump(mode="json") for one in found])
    else:
        failures_text.print_tags(found, metric or "the gate's primary")
