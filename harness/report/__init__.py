"""What an evaluation showed: differences, means and verdicts as a record, as text and as plots.

Pure: records in, records and text out; only `draw` writes files. Matplotlib is imported when something is drawn.
"""

from harness.report.build import Board, BoardRow, CandidateReport, Report, build_report
from harness.report.canvas import as_png, as_svg
from harness.report.evidence import on_trial
from harness.report.extras import Extras
from harness.report.gallery import gallery
from harness.report.html import PLOT_COLUMNS, as_html
from harness.report.plots import draw
from harness.report.text import as_json, as_markdown, print_tables

__all__ = [
    "PLOT_COLUMNS",
    "Board",
    "BoardRow",
    "CandidateReport",
    "Extras",
    "Report",
    "as_html",
    "as_json",
    "as_markdown",
    "as_png",
    "as_svg",
    "build_report",
    "draw",
    "gallery",
    "on_trial",
    "print_tables",
]
