"""The command line of benchmarks that make a lab of their own with the repository's bases, data and evalsets."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.core.errors import RatchetError

ROOT = Path(__file__).parents[1]
Say = Callable[[str], None]
Found = dict[str, Any]


def lab_benchmark(
    arguments: Sequence[str] | None, about: tuple[str, str | None, str], measure: Callable[[bool, Say], Found],
    table: Callable[[Found], str],
) -> None:  # fmt: skip
    """Measure (`--quick`: True) and print, progress on stderr. `about`: name, the module's text, what --quick does."""
    name, text, quick = about
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=(text or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--format", choices=["text", "json"], default="text")
    asked = parser.parse_args(arguments)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.chdir(ROOT)  # evalsets are found by name from there
    try:
        found = measure(asked.quick, lambda line: print(line, file=sys.stderr, flush=True))
    except RatchetError as error:
        sys.exit(error.one_line())
    print(json.dumps(found, indent=2) if asked.format == "json" else table(found))
