"""Tables on a terminal of any width: text wraps, columns of little value go, and no figure is ever cut.

Widths are worked out here and handed to rich, which by itself cuts what does not fit.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from rich.box import SIMPLE_HEAD, Box
from rich.cells import cell_len
from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

# What loses its meaning when it is broken over two lines: numbers with their signs and brackets, ids and verdicts.
WHOLE = re.compile(r"[\[(+−-]*\d[\d.,:]*(?:e[+-]?\d+)?[\])%,;]*|[a-z]-[0-9a-f]{12}|[A-Z]{4,}")
LONGEST_WORDS = (24, 16, 12, 8)  # characters to which other words may be folded, tried one after the other
GAP = 2  # between columns
EDGES = 3  # what a box adds left and right
Cell = str | Text


@dataclass(frozen=True)
class Layout:
    """How a table may be shown. `right`: columns set to the right; `droppable`: left out where they do not fit, the
    first of them first; `box`: lines under the head."""

    right: Collection[str] = ()
    droppable: Sequence[str] = ()
    box: Box | None = SIMPLE_HEAD


PLAIN = Layout(box=None)


def table(
    title: str, head: Sequence[str], rows: Sequence[Sequence[Cell]], width: int, layout: Layout = PLAIN
) -> RenderableType:
    """A table at most `width` columns wide. Cells are plain text or rich's; nothing in them is read as markup.

    Too narrow for all columns it folds names, loses columns that `layout` allows, breaks lines between figures, and in
    the end becomes a list: a line per cell.
    """
    cells = [[one if isinstance(one, Text) else Text(one) for one in row] for row in rows]
    places = list(range(len(head)))
    edges = EDGES if layout.box else 0
    for in_line, longest, left_out in product((True, False), LONGEST_WORDS, range(len(layout.droppable) + 1)):
        shown = [place for place in places if head[place] not in layout.droppable[:left_out]]
        columns = [_Column.of(head[place], [row[place] for row in cells], longest, in_line) for place in shown]
        room = width - edges - GAP * (len(shown) - 1)
        if sum(one.least for one in columns) <= room:
            return _drawn(title, head, cells, dict(zip(shown, _spread(columns, room), strict=True)), layout)
    return _listed(title, head, cells)


@dataclass(frozen=True)
class _Column:
    """`least`: the narrowest it may be; `natural`: as wide as without wrapping; `figures`: it holds mostly numbers."""

    least: int
    natural: int
    figures: bool

    @classmethod
    def of(cls, name: str, cells: Sequence[Text], longest: int, in_line: bool) -> _Column:
        """Other words fold at `longest`; `in_line`: the figures of one cell stay on one line."""
        found = [word for cell in cells for word in cell.plain.split()]
        whole = [word for word in found if WHOLE.fullmatch(word)]
        words = [*name.split(), *found]
        natural = max(cell_len(line) for text in (name, *(one.plain for one in cells)) for line in text.split("\n"))
        least = max(
            (cell_len(one) if WHOLE.fullmatch(one) else min(cell_len(one), longest) for one in words), default=1
        )
        figures = 2 * len(whole) > len(found)
        return cls(least=natural if figures and in_line else least, natural=natural, figures=figures)


def _spread(columns: Sequence[_Column], room: int) -> list[int]:
    """Widths from least to natural: columns of figures first, then what asks for least; long texts share the rest."""
    widths = [one.least for one in columns]
    spare = room - sum(widths)
    order = sorted(range(len(columns)), key=lambda place: columns[place].natural - columns[place].least)
    for kind in (True, False):
        left = [place for place in order if columns[place].figures is kind]
        for done, place in enumerate(left):
            share = min(columns[place].natural - columns[place].least, spare // (len(left) - done))
            widths[place] += share
            spare -= share
    return widths


def _drawn(
    title: str, head: Sequence[str], rows: Sequence[Sequence[Text]], widths: dict[int, int], layout: Layout
) -> Table:
    options: dict[str, Any] = {"title": Text(title, style="bold"), "title_justify": "left", "header_style": "dim"}
    found = Table(**options, box=layout.box, padding=(0, GAP if layout.box is None else GAP - 1, 0, 0))
    found.pad_edge = layout.box is not None
    for place, width in widths.items():
        justify: JustifyMethod = "right" if head[place] in layout.right else "left"
        found.add_column(Text(head[place]), justify=justify, overflow="fold", width=width)
    for row in rows:
        found.add_row(*(row[place] for place in widths))
    return found


def _listed(title: str, head: Sequence[str], rows: Sequence[Sequence[Text]]) -> RenderableType:
    """Every row as lines of 'name: value', which may wrap anywhere a space is."""
    lines: list[RenderableType] = [Text(title, style="bold")]
    for row in rows:
        lines.append(Text())
        lines += [Text.assemble((f"{name}: ", "dim"), cell) for name, cell in zip(head, row, strict=True) if cell.plain]
    return Group(*lines, Text())
