"""Fixed and broken items as people read them: on a terminal, and as Markdown. Decides nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.core.errors import printable
from harness.error_analysis import Difference, Failures, Side, TagCount
from harness.progress import results_console
from harness.stats import figures
from harness.tables import table

MARKS = {"fixed": "green", "broke": "red", "failed": "yellow", "solved": "dim", "unscored": "magenta"}
MAX_SHOWN = 2000  # characters of an answer on a terminal


def print_failures(found: Failures) -> None:
    console = results_console()
    console.print(Text(_headline(found), style="bold"), Text(_counts(found)))
    for item in found.items:
        console.print(_item(item, found))
    left = found.selected - len(found.items)
    if left:
        console.print(f"\n{left} more items: --limit 0 shows all {found.selected} that were asked for", style="dim")
    elif not found.items:
        console.print("no such items: see the counts above", style="dim")


def print_tags(counts: Sequence[TagCount], metric: str) -> None:
    console = results_console()
    if not counts:
        console.print("no tags on these failures yet: ratchet tag PLAN ITEM TAG")
        return
    rows = [
        (one.tag, str(one.items), f"{one.share:.0%} of {one.failures}", str(one.suggested or ""), _ceiling(one))
        for one in counts
    ]
    head = ("tag", "items", "share", "suggested", "fixing all of it would bring")
    console.print(table(f"tags of the failures on {metric}", head, rows, console.width))


def markdown(found: Failures) -> str:
    """Every shown item with prompt, both answers and evidence, for a ticket or a pull request."""
    parts = [f"# {_line(_headline(found))}", _line(_counts(found))]
    for item in found.items:
        tags = ", ".join(f"`{tag}`" for tag in item.tags)
        parts += [
            f"## {item.outcome}: {_line(item.item_id)} ({item.split}, {_change(item)}){' ' + tags if tags else ''}",
            fenced(item.prompt),
        ]
        if item.gold:
            parts += ["**right:** " + " / ".join(_line(gold) for gold in item.gold)]
        for side in (item.candidate, item.against):
            parts += [f"**{_line(side.subject)}** {_value(side)}{_evidence_line(side)}", fenced(side.answer)]
    return "\n\n".join(parts)


def fenced(text: str) -> str:
    """A code block that nothing in `text` can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{printable(text)}\n{fence}"


def _line(text: str) -> str:
    """One line without anything that Markdown or HTML would act on."""
    return re.sub(r"([\\`*_\[\]<>|#&!])", r"\\\1", " ".join(printable(text).split()))


def _headline(found: Failures) -> str:
    return f"{found.candidate} against {found.against} on {found.metric}, {' and '.join(found.splits)}"


def _counts(found: Failures) -> str:
    text = ", ".join(f"{count} {outcome}" for outcome, count in found.counts.items() if count) or "no items"
    return text + (f"; {found.unpaired} could not be paired" if found.unpaired else "")


def _item(item: Difference, found: Failures) -> RenderableType:
    head = Text.assemble(
        "\n",
        (item.outcome, f"bold {MARKS[item.outcome]}"),
        f" {printable(item.item_id)} ({item.split}, {_change(item)})",
        (f"  {' '.join(item.tags)}", "cyan"),
        (f"  suggested: {' '.join(item.suggested)}" if item.suggested else "", "dim"),
    )
    lines = [head, Text(_cut(item.prompt), style="dim")]
    if item.gold:
        lines.append(Text(f"right: {_cut(' / '.join(item.gold))}", style="dim"))
    sides = Table(box=None, pad_edge=False, expand=True, header_style="dim")
    for label in (found.candidate, found.against):
        sides.add_column(Text(printable(label)), ratio=1, overflow="fold")
    sides.add_row(*(_answer(side) for side in (item.candidate, item.against)))
    return Group(*lines, sides)


def _answer(side: Side) -> Text:
    text = Text.assemble((_value(side), "bold"), " ", _cut(side.answer or side.error or "(no answer)"))
    return text.append(_evidence_line(side), style="dim")


def _evidence_line(side: Side) -> str:
    found = [f"taken: {side.extracted}" if side.extracted not in (None, side.answer) else "", side.explanation]
    said = "; ".join(_cut(part) for part in found if part)
    return f" ({said})" if said else ""


def _value(side: Side) -> str:
    return side.bucket if side.value is None else figures(side.value)[0]


def _change(item: Difference) -> str:
    return "not scored" if item.change is None else figures(item.change, sign=True)[0]


def _cut(text: str) -> str:
    text = printable(text)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def _ceiling(one: TagCount) -> str:
    if one.ceiling is None or one.ceiling.estimate is None:
        return "not known for this metric"
    if one.ceiling.low is None or one.ceiling.high is None:
        return figures(one.ceiling.estimate, sign=True)[0]
    estimate, low, high = figures(one.ceiling.estimate, one.ceiling.low, one.ceiling.high, sign=True)
    return f"{estimate} ({low} to {high})"
