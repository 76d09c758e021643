"""What a person sees while long work runs: lines and bars on a terminal, plain lines elsewhere.

The pipeline tells a `Progress`; it never prints. Progress goes to stderr, so that stdout stays for results.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

PIPED_WIDTH = 120  # columns where no terminal says how wide it is
Advance = Callable[[int, str], None]  # (done so far, note)


def results_console() -> Console:
    """Where commands print results for people: stdout, as wide as the terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH)


class Progress:
    """Lines and bars on `console` (stderr)."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._started = time.monotonic()

    def say(self, text: str, style: str = "") -> None:
        """One line, with the minutes and seconds since the command began. `text` is shown as it is."""
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        self.console.print(Text.assemble((f"{minutes}:{seconds:02d} ", "dim"), (text, style)), soft_wrap=True)

    @contextlib.contextmanager
    def bar(self, label: str, total: int) -> Iterator[Advance]:
        """A bar of `total` steps; call what it yields with the count done so far. Only terminals show it."""
        if not self.console.is_terminal:
            yield lambda done, note: None
            return
        columns = (
            TextColumn("     {task.description}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with RichProgress(
            *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self.console, transient=True
        ) as rich_progress:
            task = rich_progress.add_task(escape(label), total=total, note="")
            yield lambda done, note: rich_progress.update(task, completed=done, note=escape(note))


class Silent(Progress):
    """Says nothing: for `--format json`, notebooks and tests."""

    def say(self, text: str, style: str = "") -> None:
        return

    @contextlib.contextmanager
    def bar(self, label: str, total: int) -> Iterator[Advance]:
        yield lambda done, note: None
