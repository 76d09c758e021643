"""The pieces that every plot is made of, and how a figure becomes PNG or SVG. Matplotlib is imported when drawing.

Colours are Okabe and Ito's, told apart by shape as well. In an SVG each is a custom property of CSS with the colour as
its fallback, so that the page around it decides how it looks in the dark and on paper.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from harness.report.cells import plain
from harness.stats import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito (2008): distinguishable with every common colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#23211D")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
QUIET = "#666666"
ROLE_STYLE = {"candidate": (COLOURS[0], "o"), "incumbent": (COLOURS[1], "s"), "baseline": (QUIET, "D")}
INK = "#24211D"
ZERO_COLOUR = "#888888"
FAINT = "#E5E5E5"
LINE_COLOUR = "#B00020"
GATE_DASHES = (0, (4, 3))
# Colour -> custom property that a page may set; report.css and results.css have the values for a dark ground.
PROPERTIES = {
    **{colour: f"--plot-{place}" for place, colour in enumerate(COLOURS)},
    QUIET: "--plot-quiet",
    INK: "--plot-ink",
    ZERO_COLOUR: "--plot-zero",
    FAINT: "--plot-faint",
    LINE_COLOUR: "--plot-line",
}
DARK = {
    "--plot-0": "#5DB4EA", "--plot-1": "#FF8A4C", "--plot-2": "#35C9A2", "--plot-3": "#E3A2C4", "--plot-4": "#F2BE4A",
    "--plot-5": "#9AD6F7", "--plot-6": "#ECE8E1", "--plot-quiet": "#A9A498", "--plot-ink": "#ECE8E1",
    "--plot-zero": "#8A8F91", "--plot-faint": "#33393B", "--plot-line": "#FF8C84",
}  # fmt: skip
COLUMNS = 3
PANEL_WIDTH_IN = 4.4
LABEL_WIDTH_IN = 2.0
ROW_HEIGHT_IN = 0.15  # per interval; enough for a marker of 4 points
DPI = 130
SVG_DPI = 72  # what an SVG's points are counted in
LONGEST_LABEL = 36  # characters
MARKER_POINTS = 4.5
CREATED = {"Date": None, "Creator": None}  # the same report gives the same bytes


# --- out --------------------------------------------------------------------------------------------------------


def as_png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    figure.set_facecolor("white")
    with _drawing(figure, DPI):
        FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def as_svg(figure: Figure, name: str, alone: bool = False) -> str:
    """The figure as one `<svg>` element, its text as text. `name` keeps its ids apart from those of other figures.

    `alone`: as a file of its own, which carries its colours for a dark ground itself.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    figure.set_facecolor("none")
    with _drawing(figure, SVG_DPI), mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata=CREATED)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for before in (' id="', 'xlink:href="#', "url(#"):
        text = text.replace(before, f"{before}{name}-")
    for colour, variable in PROPERTIES.items():
        text = text.replace(f": {colour.lower()}", f": var({variable}, {colour.lower()})")
    text = text.replace("stroke: #000000", f"stroke: var(--plot-ink, {INK})")
    head, rest = text.split(">", 1)
    style = f"<style>@media (prefers-color-scheme: dark) {{ svg {{ {dark_properties()} }} }}</style>" if alone else ""
    return f'{head} role="img">{style}{rest}'


def dark_properties() -> str:
    """CSS declarations for a dark ground."""
    return " ".join(f"{variable}: {colour};" for variable, colour in DARK.items())


@contextlib.contextmanager
def _drawing(figure: Figure, dpi: float) -> Iterator[None]:
    """Laid out and drawn at once, and from then on as it stands: `savefig` would draw each figure twice."""
    before, figure.dpi = figure.dpi, dpi
    with warnings.catch_warnings():
        # A name in a script the font lacks is drawn as boxes; the tables have it in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield
    figure.dpi = before
    figure.set_layout_engine("none")


# --- pieces -----------------------------------------------------------------------------------------------------


def panels(count: int, height_in: float, own_labels: bool = False, columns: int = COLUMNS) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels in rows of up to `columns`, unused ones removed."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = 2 if count == 4 else min(count, columns)  # four panels stand better two by two
    rows = math.ceil(count / columns)
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08)  # inches around each panel
    width = columns * (PANEL_WIDTH_IN + (LABEL_WIDTH_IN / 2 if own_labels else 0)) + LABEL_WIDTH_IN / 2
    figure = Figure(figsize=(width, rows * (max(height_in, 1.0) + 1.1) + 0.9), layout=layout)
    grid: Any = figure.subplots(rows, columns, squeeze=False, sharey=False)
    found = list(grid.flat)
    for spare in found[count:]:
        spare.remove()
    for position, axes in enumerate(found[:count]):
        axes.tick_params(axis="y", labelleft=own_labels or position % columns == 0, length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        bare(axes)
        axes.grid(axis="x", color=FAINT, linewidth=0.8)
    return figure, found[:count]


def bare(axes: Axes) -> None:
    """Ink for what is read, nothing else."""
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8)
    for spine in axes.spines.values():
        spine.set_color(ZERO_COLOUR)


def mark(axes: Axes, height: float, interval: Interval, colour: str, marker: str) -> None:
    """One interval with its estimate; nothing but the estimate where there is no interval."""
    if interval.estimate is None:
        return
    if interval.low is not None and interval.high is not None:
        axes.hlines(height, interval.low, interval.high, color=colour, linewidth=1.6)
    axes.plot(interval.estimate, height, marker=marker, color=colour, markersize=MARKER_POINTS, linestyle="none")


def look(which: int) -> tuple[str, str]:
    """Colour and shape of the n-th of several; past seven, colours come back with other shapes."""
    return COLOURS[which % len(COLOURS)], MARKERS[(which + which // len(COLOURS)) % len(MARKERS)]


def rows(axes: Axes, names: list[str], heights: list[float]) -> None:
    axes.set_yticks(heights, [label(name) for name in names], fontsize=8, color=INK)


def titled(axes: Axes, title: str, below: str) -> None:
    axes.set_title(label(title), fontsize=10, loc="left", color=INK)
    axes.set_xlabel(label(below, 60), fontsize=8, color=INK)


def finish(figure: Figure, title: str, entries: Sequence[tuple[str, str, str]], gate_line: bool = False) -> None:
    """Title above and one legend below all panels; an entry is (name, colour, marker)."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=MARKER_POINTS, linewidth=1.6, label=label(name))
        for name, colour, marker in entries
    ]
    if gate_line:
        handles.append(Line2D([], [], color=LINE_COLOUR, linewidth=1.2, linestyle=GATE_DASHES, label="the gate's line"))
    if title:
        figure.suptitle(_no_mathematics(plain(title)), fontsize=11, x=0.01, ha="left", color=INK)
    if handles:
        columns = min(len(handles), 6)
        figure.legend(
            handles=handles, loc="outside lower left", ncols=columns, fontsize=8, frameon=False, labelcolor=INK
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Places at least `gap` apart, in the same order and as near as can be: for labels that must not overlap.

    Least squares by pooling: neighbours that would overlap form a block around their common middle.
    """
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    blocks: list[tuple[float, int]] = []  # (mean of height less what the gaps below take up, labels in the block)
    for rank, place in enumerate(order):
        blocks.append((heights[place] - rank * gap, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (above, more), (below, many) = blocks.pop(), blocks.pop()
            blocks.append(((above * more + below * many) / (more + many), more + many))
    level = [mean for mean, many in blocks for _ in range(many)]
    places = dict(zip(order, (level[rank] + rank * gap for rank in range(len(order))), strict=True))
    return [places[place] for place in range(len(heights))]


def label(text: str, longest: int = LONGEST_LABEL) -> str:
    """Short, and never read as mathematics by matplotlib."""
    text = plain(text)
    short = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return _no_mathematics(short)


def _no_mathematics(text: str) -> str:
    return text.replace("$", r"\$")
