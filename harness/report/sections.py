"""What a report says beyond its verdicts: looks, optimism, recipes, A/A rows, items found in training data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.gate import DECIDING_SPLIT
from harness.report.build import Report
from harness.report.cells import NONE, Cells, interval_text, metrics_shown
from harness.stats.looks import MOST_LOOKS


@dataclass(frozen=True)
class Section:
    """A table with its title, and a sentence below on how to read it."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[Cells]
    below: str = ""


def sections(report: Report) -> list[Section]:
    """Those that have anything to show."""
    found = [_optimism(report), _recipes(report), _repeats(report), _contamination(report)]
    return [one for one in found if one.rows]


def asides(report: Report) -> list[str]:
    """The same in a line each, for a terminal. The first look at the usual level goes without saying."""
    lines = [look_text(report)] if report.look > 1 or report.alpha is None else []
    for gap in report.optimism:
        if gap.gap is not None:
            found = interval_text(gap.gap, sign=True)
            lines.append(f"Optimism: against {gap.against}, {gap.candidate} led by {found} more on dev than on release")
    for recipe in report.recipes:
        found = recipe.difference.note or interval_text(recipe.difference, sign=True)
        lines.append(f"Recipe {recipe.recipe} ({len(recipe.runs)} seeds) against {recipe.against}: {found}")
    lines += _asked_twice(report)
    if report.excluded:
        left = ", ".join(f"{name} {count}" for name, count in report.excluded.items())
        lines.append(f"Left out as found in training data or opened: {left}")
    return lines


def _asked_twice(report: Report) -> list[str]:
    """The A/A rows of the primary on release in one line; the report's table has the other metrics and splits."""
    metric = report.gate.primary.metric if report.gate else report.repeats[0].metric if report.repeats else ""
    shown = [one for one in report.repeats if (one.metric, one.split) == (metric, DECIDING_SPLIT)]
    changed = ", ".join(f"{one.subject} changed {one.changed} of {one.items} items" for one in shown)
    return [f"Asked twice on {metric}: {changed}"] if changed else []


def look_text(report: Report) -> str:
    """Which look at the release split this was, and what it may cost; '' where nobody keeps count."""
    if report.standalone:
        return ""
    if report.alpha is None:
        return f"Look {report.look} at this release split: its budget of {MOST_LOOKS} looks is spent"
    return f"Look {report.look} of {MOST_LOOKS} at this release split, at a one-sided level of {report.alpha:.4g}"


def _optimism(report: Report) -> Section:
    rows = [
        (
            one.candidate,
            one.metric,
            one.against,
            interval_text(one.dev, sign=True),
            interval_text(one.release, sign=True),
            interval_text(one.gap, sign=True) if one.gap else NONE,
        )
        for one in report.optimism
    ]
    head = ("candidate", "metric", "against", "on dev", "on release", "dev minus release")
    below = "The winner of a choice looks better where it was chosen. The verdict rests on release alone."
    return Section("The winner's optimism", head, rows, below)


def _recipes(report: Report) -> Section:
    rows = [
        (
            one.recipe,
            str(len(one.runs)),
            one.metric,
            one.against,
            ", ".join(f"{value:+.3g}" for value in one.by_seed),
            interval_text(one.difference, sign=True),
            one.difference.note or one.difference.method,
        )
        for one in report.recipes
    ]
    head = ("recipe", "seeds", "metric", "against", "by seed", "difference", "how")
    return Section("Is the recipe better, or only one adapter?", head, rows)


def _repeats(report: Report) -> Section:
    rows = [
        (
            one.subject,
            one.metric,
            one.split,
            f"{one.changed} of {one.items}",
            interval_text(one.difference, sign=True),
        )
        for one in report.repeats
    ]
    head = ("subject", "metric", "split", "items that changed", "second minus first")
    below = "One subject asked twice (A/A): what the engine alone changes. A sound one holds 0 in the interval."
    return Section("The engine's own flips", head, rows, below)


def _contamination(report: Report) -> Section:
    """With and without, on the gate's metrics."""
    shown = metrics_shown(report)
    rows = [
        (
            one.candidate,
            one.metric,
            one.against,
            str(one.excluded),
            interval_text(one.difference, sign=True),
            interval_text(one.with_excluded, sign=True) if one.with_excluded else NONE,
        )
        for candidate in report.candidates
        for one in candidate.comparisons
        if one.excluded and (shown is None or one.metric in shown)
    ]
    head = ("candidate", "metric", "against", "left out", "without them", "with them")
    return Section("Items found in training data", head, rows, "The verdict rests on the figures without them.")
