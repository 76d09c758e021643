"""A report as a comment on a pull request: the verdict first, the gate below it, the rest folded away.

The first line is an HTML comment that nobody sees; by it the next run of CI finds its own comment and updates it.
"""

from __future__ import annotations

import re

from harness.report.build import Report
from harness.report.cells import GATE_HEAD, gate_cells
from harness.report.text import as_markdown, escape, legend, markdown_table

MARKER = "<!-- ratchet-verdict"
MAX_CHARACTERS = 65_000  # a comment on GitHub holds 65,536
TOO_LONG = "The whole report is too long for a comment; print it with `--format json` where it was made."
MENTION = re.compile(r"(?<![\w/])@(?=\w)")  # @someone; aliases such as name@prod are none


def marker(report: Report) -> str:
    """The comment's first line: the same for every report of one name, whatever its verdict."""
    return f"{MARKER} {re.sub(r'[^A-Za-z0-9._]+', '-', report.name)} -->"


def as_comment(report: Report) -> str:
    """Markdown for a pull request, below GitHub's limit. Names in the data cannot add markup or mentions."""
    shown = [one for one in report.candidates if one.chosen] or report.candidates
    head = [marker(report), f"### {report.verdict or 'No verdict'}: {escape(report.name)}", escape(report.reason)]
    for candidate in shown:
        if candidate.rows:
            head.append(markdown_table(GATE_HEAD, gate_cells(candidate)))
    head += ["\n".join(f"- {escape(note)}" for note in report.notes), legend(report)]
    whole = as_markdown(report)
    text = _joined([*head, f"<details><summary>The whole report</summary>\n\n{whole}\n</details>"])
    return text if len(text) <= MAX_CHARACTERS else _joined([*head, TOO_LONG])[:MAX_CHARACTERS]


def _joined(parts: list[str]) -> str:
    return MENTION.sub("@\u200b", "\n\n".join(part for part in parts if part) + "\n")
