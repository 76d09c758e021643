"""The `ratchet` command. Thin: each command imports what it needs when it runs, so that `--help` answers at once."""

import sys

from harness.cli import (  # in the order of --help
    campaigns,
    capture,
    evalsets,
    experiment,
    failures,
    judging,
    keys,
    lineage,
    people,
    rating,
    rating_board,
    registry,
    results,
    serving,
    standalone,
    store,
)
from harness.cli.common import app, one_line

__all__ = [
    "app",
    "campaigns",
    "capture",
    "evalsets",
    "experiment",
    "failures",
    "judging",
    "keys",
    "lineage",
    "main",
    "one_line",
    "people",
    "rating",
    "rating_board",
    "registry",
    "results",
    "serving",
    "standalone",
    "store",
]


def main() -> None:
    """Entry point of the `ratchet` command."""
    sys.exit(one_line(app))
