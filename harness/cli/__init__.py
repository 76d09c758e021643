"""The `ratchet` command. Thin: each command imports what it needs when it runs, so that `--help` answers at once."""

import sys

from harness.cli import experiment, rating, serving, store  # their commands, in the order of --help
from harness.cli.common import app, one_line

__all__ = ["app", "experiment", "main", "one_line", "rating", "serving", "store"]


def main() -> None:
    """Entry point of the `ratchet` command."""
    sys.exit(one_line(app))
