"""The Typer application, the options that commands share, and how a command ends."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.core.errors import RatchetError

if TYPE_CHECKING:
    from harness.progress import Progress

app = typer.Typer(
    name="ratchet",
    help="Fine-tune language models with evidence: train, serve, evaluate, compare, rate, repeat.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Format(str, Enum):
    text = "text"
    json = "json"


class ReportFormat(str, Enum):
    text = "text"
    json = "json"
    md = "md"


LabOption = Annotated[Path, typer.Option("--lab", help="Where runs, results and versions lie.", envvar="RATCHET_LAB")]
SpecArgument = Annotated[Path, typer.Argument(help="A spec, e.g. experiments/quickstart.yaml", show_default=False)]
FormatOption = Annotated[Format, typer.Option("--format", help="text for people, json for programs.")]
ReportFormatOption = Annotated[ReportFormat, typer.Option("--format", help="text, json, or md for a pull request.")]
DEFAULT_LAB = Path("lab")


def group(name: str, help: str) -> typer.Typer:
    """A command with subcommands, e.g. `ratchet campaign create`."""
    found = typer.Typer(help=help, no_args_is_help=True)
    app.add_typer(found, name=name)
    return found


def progress_for(format: str) -> Progress:
    from harness.progress import Progress, Silent

    return Silent() if format == "json" else Progress()


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def who() -> str:
    """Whose name stands in histories."""
    import getpass

    try:
        return os.environ.get("RATCHET_USER") or getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return f"uid {os.getuid()}"


def one_line(action: Callable[[], object]) -> int:
    """Run, and turn what went wrong into one line and an exit code; a bug keeps its traceback."""
    try:
        action()
        return 0
    except RatchetError as error:
        print(f"ratchet: {error.one_line()}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ratchet: stopped; run the command again to go on", file=sys.stderr)
        return 130
