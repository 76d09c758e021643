"""What stands around the comparisons: learning curves, what quality cost, and what the failures have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from harness.error_analysis import TagCount
from harness.gate import DECIDING_SPLIT
from harness.report.build import Board, BoardRow, Report
from harness.report.canvas import (
    COLOURS,
    INK,
    MARKER_POINTS,
    PANEL_WIDTH_IN,
    QUIET,
    ROW_HEIGHT_IN,
    bare,
    finish,
    label,
    look,
    panels,
    rows,
    titled,
)
from harness.report.cells import unit_text
from harness.report.extras import Curve, RunCost

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What is drawn of all that training logs, where it was logged, in this order.
CURVES = ("loss", "eval_loss", "rewards/accuracies", "mean_token_accuracy", "rewards/margins")
MOST_CURVES = 3
POINTS = 200  # along one curve; more only make the file larger
SMOOTHING = 0.04  # a point is the mean over this share of the steps before it
CURVE_HEIGHT_IN = 2.4
COST_HEIGHT_IN = 2.6
BAR_HEIGHT_IN = 0.28
MEGABYTE = 1e6
FAR_APART = 4  # times


def curves(found: Sequence[Curve]) -> Figure | None:
    """One panel per logged number, one line per run, smoothed over the steps before each point."""
    names = [name for name in CURVES if any(one.name == name for one in found)][:MOST_CURVES]
    runs = list(dict.fromkeys(one.run_id for one in found))
    if not names:
        return None
    figure, axes_of = panels(len(names), CURVE_HEIGHT_IN)
    figure.set_figwidth(len(names) * PANEL_WIDTH_IN + 0.6)
    for name, axes in zip(names, axes_of, strict=True):
        for one in (one for one in found if one.name == name):
            colour, shape = look(runs.index(one.run_id))
            steps, values = thinned(one.steps, smoothed(one.values))
            every = max(len(steps) // 6, 1)
            axes.plot(steps, values, color=colour, linewidth=1.3, marker=shape, markersize=3.5, markevery=every)
        _open(axes)
        titled(axes, name, "step")
    labels = {one.run_id: one.label for one in found}
    entries = [(labels[run_id], *look(place)) for place, run_id in enumerate(runs)]
    finish(figure, f"Learning curves (mean over the last {SMOOTHING:.0%} of steps)", entries)
    return figure


def smoothed(values: Sequence[float]) -> list[float]:
    """The running mean over the last 4 % of the steps, at least one."""
    width = max(round(len(values) * SMOOTHING), 1)
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    return [
        (sums[place] - sums[max(place - width, 0)]) / min(place, width) for place in range(1, len(values) + 1)
    ]  # fmt: skip


def thinned(steps: Sequence[int], values: Sequence[float]) -> tuple[list[int], list[float]]:
    """At most about POINTS points, the last among them."""
    every = max(len(steps) // POINTS, 1)
    kept = sorted({*range(0, len(steps), every), len(steps) - 1}) if steps else []
    return [steps[place] for place in kept], [values[place] for place in kept]


PRICES: tuple[tuple[str, Callable[[RunCost], float]], ...] = (
    ("trainable parameters", lambda run: float(run.trainable_parameters)),
    ("adapter, MB", lambda run: run.bytes / MEGABYTE),
    ("training, s", lambda run: run.seconds),
)


def costs(report: Report, runs: Sequence[RunCost]) -> Figure | None:
    """The primary's mean on release against what each candidate cost; None below two runs: nothing to weigh up."""
    board = _board(report)
    if board is None:
        return None
    labels = {one.candidate: one.run_id for one in report.candidates}
    by_id = {run.run_id: run for run in runs}
    found = [(row, by_id[labels[row.subject] or ""]) for row in board.rows if labels.get(row.subject) in by_id]
    if len(found) < 2:
        return None
    figure, axes_of = panels(len(PRICES), COST_HEIGHT_IN)
    figure.set_figwidth(len(PRICES) * PANEL_WIDTH_IN)
    best = next((row for row in board.rows if row.role == "baseline" and row.mean.estimate is not None), None)
    for (what, price), axes in zip(PRICES, axes_of, strict=True):
        for place, (row, run) in enumerate(found):
            _priced(axes, price(run), row, place)
        if best is not None and best.mean.estimate is not None:
            axes.axhline(best.mean.estimate, color=QUIET, linewidth=1, linestyle=(0, (2, 2)))
        _open(axes)
        _price_axis(axes, [price(run) for _, run in found])
        titled(axes, what, "")
        axes.set_ylabel(label(f"{board.metric}, {board.info.unit}"), fontsize=8, color=INK)
    entries = [(row.subject, *look(place)) for place, (row, _) in enumerate(found)]
    below = [(f"best baseline ({best.subject})", QUIET, "None")] if best else []
    finish(figure, f"Quality against cost and memory ({unit_text(board.info)})", [*entries, *below])
    return figure


def _price_axis(axes: Axes, prices: list[float]) -> None:
    """Logarithmic where prices differ by much; a tick at each of a few prices, written out."""
    low, high = min(prices), max(prices)
    axes.margins(x=0.2)
    if 0 < FAR_APART * low <= high:
        axes.set_xscale("log")
    else:
        axes.set_xlim(0, 1.15 * high or 1)
    ticks = [low, high] if FAR_APART * low <= high else [0.0, high]
    axes.set_xticks(ticks, [f"{price:,.3g}" if price < 1e3 else f"{price:,.0f}" for price in ticks])
    axes.set_xticks([], minor=True)


def _board(report: Report) -> Board | None:
    """The primary's board on release; the first one there is without a gate."""
    release = [board for board in report.boards if board.split == DECIDING_SPLIT]
    if report.gate:
        return next((board for board in release if board.metric == report.gate.primary.metric), None)
    return next(iter(release), None)


def _priced(axes: Axes, price: float, row: BoardRow, place: int) -> None:
    mean = row.mean
    if mean.estimate is None:
        return
    colour, shape = look(place)
    if mean.low is not None and mean.high is not None:
        axes.vlines(price, mean.low, mean.high, color=colour, linewidth=1.6)
    axes.plot([price], [mean.estimate], color=colour, marker=shape, markersize=MARKER_POINTS + 1, linestyle="none")


def tags(found: Sequence[TagCount]) -> Figure | None:
    """Failed items per tag, the commonest on top, with their share of all failures."""
    bars = [bar for bar in found if bar.items]
    if not bars:
        return None
    figure, (axes,) = panels(1, max(len(bars) * BAR_HEIGHT_IN, 2 * ROW_HEIGHT_IN), own_labels=True)
    heights = list(range(len(bars)))
    axes.barh(heights, [bar.items for bar in bars], color=COLOURS[0], height=0.62)
    for height, bar in zip(heights, bars, strict=True):
        axes.text(bar.items, height, f" {bar.items} ({100 * bar.share:.0f} %)", va="center", fontsize=8, color=INK)
    rows(axes, [bar.tag for bar in bars], [float(height) for height in heights])
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(0, max(bar.items for bar in bars) * 1.25)
    axes.locator_params(axis="x", integer=True)
    titled(axes, "Failures by tag", "failed items with the tag")
    return figure


def _open(axes: Axes) -> None:
    """A panel whose heights are figures of its own, not names."""
    bare(axes)
    axes.spines["left"].set_visible(True)
    axes.tick_params(axis="y", labelleft=True, length=2)
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.8)
