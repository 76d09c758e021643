"""The `ratchet` command. Thin: each command imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.core.errors import RatchetError, TrainError
from harness.core.paths import Lab

if TYPE_CHECKING:
    from harness.progress import Progress

app = typer.Typer(
    name="ratchet",
    help="Fine-tune language models with evidence: train, serve, evaluate, compare, rate, repeat.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
campaign_app = typer.Typer(help="Rating campaigns: blind pairs for people to judge.", no_args_is_help=True)
app.add_typer(campaign_app, name="campaign")


class Format(str, Enum):
    text = "text"
    json = "json"


class ReportFormat(str, Enum):
    text = "text"
    json = "json"
    md = "md"


class SqlFormat(str, Enum):
    text = "text"
    json = "json"
    csv = "csv"


LabOption = Annotated[Path, typer.Option("--lab", help="Where runs, results and versions lie.", envvar="RATCHET_LAB")]
SpecArgument = Annotated[Path, typer.Argument(help="A spec, e.g. experiments/quickstart.yaml", show_default=False)]
FormatOption = Annotated[Format, typer.Option("--format", help="text for people, json for programs.")]
DEFAULT_LAB = Path("lab")


@app.command()
def check(spec: SpecArgument, lab: LabOption = DEFAULT_LAB, format: FormatOption = Format.text) -> None:
    """Read a spec and everything it names; say what is wrong before any compute is spent."""
    from harness.pipeline import check as checking

    checked = checking.check(Lab(lab), spec)
    if format is Format.json:
        _print_json({"plan_id": checked.context.plan.plan_id, "findings": [vars(f) for f in checked.findings]})
    else:
        from harness.pipeline import show

        show.findings(checked)
    if checked.errors:
        raise typer.Exit(1)


@app.command()
def plan(spec: SpecArgument, lab: LabOption = DEFAULT_LAB, format: FormatOption = Format.text) -> None:
    """Expand the grid into runs with their ids, and say which are done. Writes nothing."""
    from harness.pipeline import show
    from harness.pipeline.context import resolve

    context = resolve(Lab(lab), spec)
    if format is Format.json:
        _print_json(context.plan.model_dump(mode="json"))
    else:
        show.plan(context)


@app.command()
def run(
    spec: SpecArgument,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Train, serve, evaluate, store and report what a spec asks for. Running it again does only what is missing."""
    from harness.pipeline import run as running

    result = running.run(Lab(lab), spec, _progress(format.value))
    _finish_report(result, format.value, verdict_exit=False)
    if result.failures:
        run_id, why = next(iter(result.failures.items()))
        raise TrainError(f"{len(result.failures)} of the plan's runs failed ({run_id}: {why})", "run it again to retry")


@app.command()
def report(
    plan_or_spec: Annotated[str, typer.Argument(help="A plan id, or a spec; the latest plan when left out.")] = "",
    lab: LabOption = DEFAULT_LAB,
    format: Annotated[ReportFormat, typer.Option("--format", help="text, json, or md for a pull request.")] = (
        ReportFormat.text
    ),
) -> None:
    """Compare every candidate with its baselines and judge it. Exits 0 SHIP, 10 BLOCK, 11 INCONCLUSIVE, 12 INVALID."""
    from harness.pipeline import run as running

    _finish_report(running.report(Lab(lab), plan_or_spec), format.value, verdict_exit=True)


@app.command()
def status(lab: LabOption = DEFAULT_LAB, format: FormatOption = Format.text) -> None:
    """What is finished, what is missing, and which engines run."""
    from harness.pipeline import show, status

    found = status.status(Lab(lab))
    _print_json(found) if format is Format.json else show.status(found)


@app.command()
def ls(lab: LabOption = DEFAULT_LAB, format: FormatOption = Format.text) -> None:
    """Runs, versions, aliases and campaigns of the lab."""
    from harness.pipeline import show, status

    found = status.inventory(Lab(lab))
    _print_json(found) if format is Format.json else show.inventory(found)


@app.command()
def promote(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A run id from the report, or: best.")],
    alias: Annotated[str, typer.Option("--as", help="NAME@ALIAS to move, e.g. aac@prod")],
    lab: LabOption = DEFAULT_LAB,
    force: Annotated[bool, typer.Option("--force", help="Promote without a SHIP verdict; needs --reason.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why, kept in the history.")] = "",
    format: FormatOption = Format.text,
) -> None:
    """Make a run an immutable version and move an alias to it, if its verdict is SHIP against what the alias serves."""
    from harness.pipeline import promotion

    moved = promotion.promote(Lab(lab), run_id, alias, reason, force, _who())
    _print_json(moved) if format is Format.json else print(moved["text"])
    if moved["exit_code"]:
        raise typer.Exit(moved["exit_code"])


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="NAME or NAME@ALIAS (default: prod)")],
    lab: LabOption = DEFAULT_LAB,
    reason: Annotated[str, typer.Option("--reason", help="Why, kept in the history.")] = "rollback",
    format: FormatOption = Format.text,
) -> None:
    """Move an alias back to the version it served before. A running server follows at once."""
    from harness.pipeline import promotion

    moved = promotion.rollback(Lab(lab), name, reason, _who())
    _print_json(moved) if format is Format.json else print(moved["text"])


@app.command()
def serve(
    name: Annotated[str, typer.Argument(help="A registry name; its base is served with every version.")] = "",
    base: Annotated[str, typer.Option("--base", help="Serve this base model (a folder or hub id) instead.")] = "",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any, and share a running engine.")] = 8000,
    lab: LabOption = DEFAULT_LAB,
) -> None:
    """Serve base, versions and aliases behind an OpenAI-compatible endpoint until Ctrl-C."""
    from harness.pipeline import serving

    serving.serve(Lab(lab), name, base, port, _progress("text"))


@app.command()
def stop(lab: LabOption = DEFAULT_LAB) -> None:
    """Stop the lab's engines."""
    from harness.pipeline import serving

    stopped = serving.stop(Lab(lab))
    print(f"stopped {', '.join(stopped)}" if stopped else "no engine was running")


@campaign_app.command("create")
def campaign_create(
    campaign: Annotated[str, typer.Argument(help="A name for the campaign.")],
    subjects: Annotated[list[str], typer.Argument(help="Two of: run id, NAME@ALIAS, NAME@vN, base.")],
    pool: Annotated[Path, typer.Option("--pool", help="Prompts: .jsonl or .csv with a column prompt.")],
    name: Annotated[str, typer.Option("--name", help="The registry name whose next round these votes train.")],
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Use only the first N prompts.")] = None,
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, max=2.0)] = 1.0,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1)] = 256,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Answer a pool of prompts with two subjects and store the pairs worth rating."""
    from harness.pipeline import rounds

    if len(subjects) != 2:
        raise typer.BadParameter("give exactly two subjects (twice the same one compares two samples of it)")
    decoding = {"temperature": temperature, "max_tokens": max_tokens}
    record = rounds.create_campaign(
        Lab(lab), campaign, name, (subjects[0], subjects[1]), pool, limit, decoding, seed, _progress(format.value)
    )
    if format is Format.json:
        _print_json(record.model_dump(mode="json"))
        return
    left_out = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in record.refused.items() if count)
    print(f"campaign {campaign}: {record.pairs} pairs to rate; left out: {left_out or 'none'}")
    print(f"next: ratchet rate {campaign} --rater YOUR-NAME")


@campaign_app.command("list")
def campaign_list(lab: LabOption = DEFAULT_LAB, format: FormatOption = Format.text) -> None:
    """Campaigns and how far their ratings are."""
    from harness.pipeline import show, status

    found = status.campaigns(Lab(lab))
    _print_json(found) if format is Format.json else show.campaigns(found)


@app.command()
def rate(
    campaign: Annotated[str, typer.Argument(help="A campaign's name.")],
    rater: Annotated[list[str], typer.Option("--rater", help="Who rates; each gets a link of their own. Repeatable.")],
    port: Annotated[int, typer.Option("--port", min=1024, max=65535)] = 7860,
    lab: LabOption = DEFAULT_LAB,
) -> None:
    """Open the rating page of a campaign in the browser: blind, by mouse or keyboard, until Ctrl-C."""
    from dashboards.app import serve_rating

    serve_rating(Lab(lab), campaign, port=port, raters=rater)


@app.command("next")
def next_round(
    name: Annotated[str, typer.Argument(help="A registry name, e.g. aac")],
    primary: Annotated[str, typer.Option("--primary", help="The metric the round must win, e.g. aac_style/warm")],
    alias: Annotated[str, typer.Option("--from", help="The alias to continue.")] = "prod",
    out: Annotated[Path, typer.Option("--out", help="Where the round's folder goes.")] = Path("experiments"),
    beta: Annotated[float, typer.Option("--beta", min=1e-6, help="DPO: how closely to stay to the reference.")] = 0.1,
    epochs: Annotated[float, typer.Option("--epochs", min=0.01)] = 1.0,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Turn votes into preference pairs and the YAML of a DPO round that continues what the alias serves."""
    from harness.pipeline import rounds

    spec, found = rounds.next_round(Lab(lab), name, alias, primary, out, beta, epochs)
    if format is Format.json:
        _print_json({"spec": str(spec), "pairs": len(found.rows), "counts": found.counts})
        return
    counts = ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in found.counts.items() if count)
    print(f"{len(found.rows)} preference pairs ({counts}) -> {spec.parent / 'pairs.jsonl'}")
    print(f"next: ratchet run {spec}")


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="SQL over the published store, read-only.")],
    lab: LabOption = DEFAULT_LAB,
    format: Annotated[SqlFormat, typer.Option("--format")] = SqlFormat.text,
) -> None:
    """Ask the store in SQL. Tables: `ratchet sql "show tables"`."""
    from harness import store
    from harness.pipeline import show

    columns, rows = store.query(Lab(lab), query)
    show.rows(columns, rows, format.value)


@app.command()
def reindex(lab: LabOption = DEFAULT_LAB) -> None:
    """Rebuild the store from journals and records; the answers stay the same."""
    from harness import store

    store.reindex(Lab(lab))
    print(f"rebuilt {Lab(lab).database}")


@app.command()
def doctor(lab: LabOption = DEFAULT_LAB, format: FormatOption = Format.text) -> None:
    """What this machine has: packages, accelerator, memory, disk, engines left behind."""
    from harness.pipeline import doctor as doctoring
    from harness.pipeline import show

    found = doctoring.examine(Lab(lab))
    _print_json(found) if format is Format.json else show.doctor(found)


def _finish_report(result: Any, format: str, verdict_exit: bool) -> None:
    from harness.pipeline import show

    code = show.report(result, format)
    if verdict_exit and code:
        raise typer.Exit(code)


def _progress(format: str) -> Progress:
    from harness.progress import Progress, Silent

    return Silent() if format == "json" else Progress()


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def _who() -> str:
    import getpass

    try:
        return os.environ.get("RATCHET_USER") or getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return f"uid {os.getuid()}"


def _one_line(action: Callable[[], object]) -> int:
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


def main() -> None:
    """Entry point of the `ratchet` command."""
    sys.exit(_one_line(app))


if __name__ == "__main__":
    main()
