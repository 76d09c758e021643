"""The results page's tables as CSV and its plots as pictures."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Sequence
from typing import Any

from dashboards import results_data as data
from dashboards import results_view as show
from dashboards.view import ALL_PLANS, Choices, View, fit, read_query
from harness.core.errors import InputError
from harness.core.paths import Lab
from harness.report import as_png, as_svg, gallery
from harness.report.context_plots import curves
from harness.spreadsheet import FORMULA

Rows = list[Sequence[Any]]
_drawing = threading.Lock()  # Matplotlib's settings belong to the process


def table_of(lab: Lab, name: str, search: str) -> tuple[Sequence[str], Rows]:
    """Head and rows of one of the page's tables, for the view of a link's parameters. InputError for another name."""
    known = {"leaderboard": _leaderboard, "runs": _runs, "items": _items, "history": _history}
    if name not in known:
        raise InputError(f"there is no table {name!r}", f"ask for one of {', '.join(known)}")
    view, choices = fit(lab, read_query(search))
    return known[name](lab, view, choices)


def _leaderboard(lab: Lab, view: View, choices: Choices) -> tuple[Sequence[str], Rows]:
    board = data.leaderboard(lab, view.metric, view.split, None if view.plan == ALL_PLANS else view.plan)
    rows: Rows = []
    for line in board.lines:
        mean = line.mean
        rows.append((line.subject, line.run_id, mean.estimate, mean.low, mean.high, mean.items, line.eval_id))
    return ("subject", "run_id", f"{view.metric} on {view.split}", "low", "high", "items", "eval_id"), rows


def _runs(lab: Lab, view: View, choices: Choices) -> tuple[Sequence[str], Rows]:
    found = {one["run_id"]: one for one in data.runs(lab)}
    chosen = [found[run] for run in view.runs]
    rows: Rows = [(key, *values) for key, values in data.side_by_side(chosen, only_different=False)]
    return ("setting", *(one["label"] for one in chosen)), rows


def _items(lab: Lab, view: View, choices: Choices) -> tuple[Sequence[str], Rows]:
    items = data.items(lab, view.metric, view.split, {one: choices.subjects[one] for one in view.subjects})
    rows: Rows = []
    for one in items.found:
        if view.kind in ("all", one.outcome):
            ours, theirs = one.candidate, one.against
            answers = (ours.value, theirs.value, one.prompt, ours.answer, theirs.answer)
            rows.append((one.item_id, one.split, one.outcome, *answers, " ".join(one.tags)))
    columns = [f"{what} of {who}" for what in ("score", "answer") for who in view.subjects[:2]]
    return ("item", "split", "outcome", *columns[:2], "prompt", *columns[2:], "tags"), rows


def _history(lab: Lab, view: View, choices: Choices) -> tuple[Sequence[str], Rows]:
    """Every change of every alias of the name."""
    record = next((one for one in data.registries(lab) if one.name == view.name), None)
    return show.MOVES_HEAD, list(show.moves(record)) if record else []


def as_csv(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Text that a spreadsheet would take for a formula gets an apostrophe in front; figures stay as they are."""
    out = io.StringIO()
    csv.writer(out).writerows([[_cell(cell) for cell in row] for row in [head, *rows]])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def picture(lab: Lab, name: str, kind: str, plan: str, run_ids: Sequence[str]) -> bytes:
    """A plot of a plan, or the curves of some runs, as 'svg' or 'png'. InputError where there is nothing to draw."""
    if name not in show.PLOTS or kind not in ("svg", "png"):
        raise InputError(f"there is no plot {name}.{kind}", f"ask for one of {', '.join(show.PLOTS)}")
    with _drawing:
        if run_ids:
            figure = curves(data.curves(lab, run_ids))
        else:
            found = data.report(lab, plan)
            figure = gallery(found, data.extras(lab, found), show.PLOT_COLUMNS).get(name)
        if figure is None:
            raise InputError(f"there is nothing to draw for {name}", "choose another plot")
        return as_png(figure) if kind == "png" else as_svg(figure, name, alone=True).encode()
