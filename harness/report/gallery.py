"""Every plot of a report by name, for the page and the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report import context_plots, plots
from harness.report.build import Report
from harness.report.canvas import COLUMNS
from harness.report.extras import NOTHING, Extras

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def gallery(report: Report, extras: Extras = NOTHING, columns: int = COLUMNS) -> dict[str, Figure]:
    """name -> figure of those that have something to show; `columns`: panels beside one another."""
    drawn = {
        "forest": plots.forest(report, columns),
        "slopes": plots.slopes(report),
        "means": plots.means(report, columns),
        "costs": context_plots.costs(report, extras.costs),
        "curves": context_plots.curves(extras.curves),
        "tags": context_plots.tags(extras.tags),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}
