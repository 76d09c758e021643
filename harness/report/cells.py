"""The cells of a report's tables: what terminal, Markdown and HTML show alike."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.core.records import MetricInfo
from harness.gate import DECIDING_SPLIT, Comparison, Row, metrics_of
from harness.report.build import Board, CandidateReport, Report
from harness.stats import Interval, figures

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
NONE = "–"
STAR = " *"

Cells = tuple[str, ...]

VERDICT_HEAD = ("candidate", "verdict", "why")
GATE_HEAD = ("row", "against", "difference", "line", "items", "verdict")
COMPARISON_HEAD = ("candidate", "metric", "against", "means", "difference", "paired", "left out", "method")
PAIRED_HEAD = ("candidate", "metric", "against", "difference", "items")
STATISTIC_HEAD = (
    "row", "against", "difference", "line", "verdict", "level", "sign-flip p", "method", "standard error",
    "degrees of freedom", "items", "clusters", "differ", "left out",
)  # fmt: skip
MOST_BESIDE = 2  # columns of intervals that fit a terminal of 100 characters
BOARD_HEAD = ("subject", "role", "mean", "items", "not scored")


def was_choice(report: Report) -> bool:
    """Whether the chosen candidate was chosen among several."""
    return len(report.candidates) > 1


def on_release(report: Report) -> str:
    """' on release', or '' where nobody spoke of splits: two results of other tools often know none."""
    unsplit = report.standalone and {board.split for board in report.boards} <= {DECIDING_SPLIT}
    return "" if unsplit else f" on {DECIDING_SPLIT}"


def verdict_cells(report: Report) -> list[Cells]:
    return [
        (
            f"{one.candidate}{STAR if one.chosen and was_choice(report) else ''}",
            one.verdict or ("not tested" if report.gate else NONE),
            one.reason,
        )
        for one in report.candidates
    ]


def gate_cells(candidate: CandidateReport) -> list[Cells]:
    return [_gate_row(row) for row in candidate.rows]


def _gate_row(row: Row) -> Cells:
    what, line = f"{row.role} {row.metric}", figures(row.line, sign=True)[0]
    if row.comparison is None:
        return what, row.comparator, NONE, line, NONE, row.verdict or "left out"
    against = row.comparison.against
    who = against if row.comparator == against else f"{row.comparator} ({against})"
    found = interval_text(row.comparison.difference, sign=True)
    return what, who, found, line, str(row.comparison.paired), row.verdict or "left out"


def statistic_cells(candidate: CandidateReport) -> list[Cells]:
    """The gate's rows of one candidate with all that their verdicts rest on."""
    return [(*_gate_row(row)[:4], row.verdict or "left out", *_statistics(row)) for row in candidate.rows]


def _statistics(row: Row) -> Cells:
    level, flip = f"{row.level:.3g}", NONE if row.sign_flip is None else f"{row.sign_flip:.4f}"
    if row.comparison is None:
        return level, flip, *[NONE] * 7
    one = row.comparison.difference
    error, freedom = one.standard_error, one.degrees_of_freedom
    return (
        level,
        flip,
        one.method,
        NONE if error is None else figures(error)[0],
        NONE if freedom is None else f"{freedom:.1f}",
        str(one.items),
        str(one.clusters),
        str(one.discordant),
        _left_out(row.comparison),
    )


def comparison_cells(report: Report) -> list[Cells]:
    return [_comparison_row(comparison) for one in report.candidates for comparison in one.comparisons]


def metrics_shown(report: Report) -> list[str] | None:
    """The metrics that the gate looks at; None for all: without a gate, and for two results of other tools."""
    return metrics_of(report.gate) if report.gate and not report.standalone else None


def paired_cells(report: Report) -> tuple[Cells, Sequence[Cells]]:
    """Every candidate against every other subject on the gate's metrics: a head and its rows.

    One line per pair of subjects while the metrics fit beside one another, else one per comparison.
    """
    shown = metrics_shown(report)
    found = [one for who in report.candidates for one in who.comparisons if shown is None or one.metric in shown]
    metrics = list(dict.fromkeys(one.metric for one in found))
    if len(metrics) > MOST_BESIDE:
        rows = [(one.candidate, one.metric, one.against, _difference(one), str(one.paired)) for one in found]
        return PAIRED_HEAD, rows
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for one in found:
        lines.setdefault((one.candidate, one.against), {})[one.metric] = _difference(one)
    beside = [(*line, *(cells.get(metric, NONE) for metric in metrics)) for line, cells in lines.items()]
    return ("candidate", "against", *(f"on {metric}" for metric in metrics)), beside


def sides_cells(candidate: CandidateReport) -> tuple[Cells, Sequence[Cells]]:
    """One candidate and the only other subject on every metric: a head and its rows, values over the paired items."""
    found = candidate.comparisons
    rows = []
    for one in found:
        values = (one.candidate_mean, one.against_mean)
        sides = [NONE, NONE] if None in values else figures(*(value or 0.0 for value in values))
        names = {"candidate": one.candidate, "comparator": one.against}
        left = {names.get(who, who): count for who, count in one.left_out.items()}
        rows.append((one.metric, *sides, _difference(one), str(one.paired), _without(left)))
    against = found[0].against if found else "comparator"
    return ("metric", candidate.candidate, against, "difference", "items", "not paired"), rows


def _difference(one: Comparison) -> str:
    return interval_text(one.difference, sign=True)


def means_cells(report: Report) -> tuple[Cells, Sequence[Cells]] | None:
    """Each subject's release means on the gate's metrics, a line each: a head and its rows.

    None without a gate or with more metrics than fit beside one another: the boards then show them one by one.
    """
    metrics = metrics_shown(report) or []
    boards = [board for board in report.boards if board.split == DECIDING_SPLIT and board.metric in metrics]
    if not 0 < len(boards) <= MOST_BESIDE:
        return None
    found = {(board.metric, row.subject): row for board in boards for row in board.rows}
    subjects = list(dict.fromkeys(row.subject for board in boards for row in board.rows))
    rows = []
    for subject in subjects:
        mine = [found.get((board.metric, subject)) for board in boards]
        role = next(row.role for row in mine if row)
        lost = dict.fromkeys(not_scored(row.counts) for row in mine if row)
        left = "; ".join(text for text in lost if text != NONE) or NONE
        rows.append((subject, role, *(interval_text(row.mean) if row else NONE for row in mine), left))
    return ("subject", "role", *(f"mean {board.metric}" for board in boards), "not scored"), rows


def _comparison_row(one: Comparison) -> Cells:
    means = NONE
    if one.candidate_mean is not None and one.against_mean is not None:
        means = " : ".join(figures(one.candidate_mean, one.against_mean))
    method = f"{one.difference.method}, {one.difference.clusters} clusters"
    found = interval_text(one.difference, sign=True)
    return (
        one.candidate,
        one.metric,
        one.against,
        means,
        found,
        str(one.paired),
        _left_out(one),
        one.problem or one.difference.note or method,
    )


def _left_out(one: Comparison) -> str:
    return _without(one.left_out)


def _without(left_out: dict[str, int]) -> str:
    return ", ".join(f"{count} without {who}" for who, count in left_out.items()) or NONE


def board_cells(board: Board) -> list[Cells]:
    return [
        (row.subject, row.role, interval_text(row.mean), str(row.mean.items), not_scored(row.counts))
        for row in board.rows
    ]


def board_title(board: Board, report: Report) -> str:
    where = f" on {board.split}" if on_release(report) else ""
    return f"{board.metric}{where} ({unit_text(board.info)})"


def unit_text(info: MetricInfo) -> str:
    """'share, higher is better'."""
    return f"{info.unit}, {'higher' if info.direction == 'up' else 'lower'} is better"


def interval_text(interval: Interval, sign: bool = False) -> str:
    """'+3.20 [+1.10, +5.30]': three significant digits for the largest of the three, the same decimals for all."""
    if interval.estimate is None:
        return NONE
    if interval.low is None or interval.high is None:
        return f"{figures(interval.estimate, sign=sign)[0]} [no interval]"
    estimate, low, high = figures(interval.estimate, interval.low, interval.high, sign=sign)
    return f"{estimate} [{low}, {high}]"


def not_scored(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {bucket}" for bucket, count in counts.items() if bucket != "scored" and count) or NONE


def plain(text: str) -> str:
    """One line without control characters: names may come from other people's files."""
    return CONTROL.sub(" ", text)
