"""A verdict on results that anyone made: no lab, no engine. The same gate and report as of a plan."""

from __future__ import annotations

import io
import math
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from harness.core.errors import InputError
from harness.core.fingerprint import file_sha256, sha256_of, short_id
from harness.core.paths import write_atomic
from harness.core.records import Direction, PlanRecord, Subject, now
from harness.outside import Results, pair, read
from harness.progress import PIPED_WIDTH, results_console
from harness.report import Report, as_json, build_report, print_tables
from harness.report.comment import as_comment
from harness.spec import Gate, Guardrail, Primary

COMPARATOR = "base"  # the part that B plays in the gate: what every row is held against
ELSEWHERE = (
    "no lab stands behind this: that the candidate was chosen on other items than these, and that nobody looked at "
    "these before, is taken on trust"
)
MOST_NAMED = 12  # metrics in a sentence
INDEPENDENT = "every item counts as independent; where some belong together, name what groups them (--cluster)"


@dataclass(frozen=True)
class Question:
    """What is asked of two results. The first of `metrics` must be won by `min_gain`; `max_loss`: metric -> margin.

    Every other metric of both sides is shown and decides nothing.

    Margins are in the metric's own unit. `directions` holds what is said of metrics, under "" what holds for all.
    """

    metrics: list[str] = field(default_factory=list)
    min_gain: float = 0.0
    max_loss: dict[str, float] = field(default_factory=dict)
    directions: dict[str, Direction] = field(default_factory=dict)
    cluster: str | None = None


def verdict(candidate: Path, comparator: Path, question: Question) -> Report:
    """Compare A (`candidate`) with B (`comparator`) item by item and judge A.

    Raises InputError for results that cannot be read, and for a metric that one side lacks. Results that can be read
    but not trusted (other content, too few pairs) give the verdict INVALID instead.
    """
    if not math.isfinite(question.min_gain):
        raise InputError(f"--min-gain {question.min_gain} is not a number", "e.g. --min-gain 0.02")
    if candidate.resolve() == comparator.resolve():
        raise InputError(f"{candidate} is both sides", "name two results")
    ours, theirs = read(candidate, question.cluster), read(comparator, question.cluster)
    gate, metrics = _gate(question, candidate, comparator, ours, theirs)
    directions = _directions(question, metrics, ours, theirs)
    subjects = _subjects(candidate, comparator, ours, theirs)
    scores, notes = pair((ours, subjects[0]), (theirs, subjects[1]), metrics, directions)
    name = f"{subjects[0].label} against {subjects[1].label}"
    plan = PlanRecord(
        plan_id=short_id("p", [gate.model_dump(mode="json"), [subject.identity for subject in subjects], directions]),
        name=name,
        spec_path="",
        spec={},
        runs=[],
        gate=gate.model_dump(mode="json"),
        created=now(),
    )
    report = build_report(plan, scores, gate, candidates=[subjects[0]])
    clustered = question.cluster or any(one.clusters[item] != item for one in scores for item in one.clusters)
    said = [
        *notes,
        *_not_compared((ours, subjects[0].label), (theirs, subjects[1].label)),
        *ours.notes,
        *theirs.notes,
        *_taken_as_higher(question, metrics, ours, theirs),
        *([] if clustered else [INDEPENDENT]),
        ELSEWHERE,
    ]
    found = _called(report, subjects[1].label)
    return found.model_copy(update={"standalone": True, "notes": [*report.notes, *dict.fromkeys(said)]})


def _called(report: Report, comparator: str) -> Report:
    """The same report with B under its own name, where the gate's sentences call it the base of a plan."""

    name = re.escape(comparator)
    places = (rf"(?<=against ){COMPARATOR}(?: \({name}\))?(?=[:;,]|$)", rf"(?<=: ){COMPARATOR}(?= has no)")
    played = re.compile("|".join((*places, f"the {COMPARATOR}(?= itself)")))

    def said(text: str) -> str:
        return played.sub(lambda _: comparator, text)

    candidates = []
    for one in report.candidates:
        rows = [row.model_copy(update={"comparator": comparator, "reason": said(row.reason)}) for row in one.rows]
        candidates.append(one.model_copy(update={"rows": rows, "reason": said(one.reason)}))
    return report.model_copy(update={"candidates": candidates, "reason": said(report.reason)})


def show(report: Report, format: str, output: Path | None = None) -> None:
    """Print a report as text, json or md (a pull request's comment); with `output`, that goes there, and text here."""
    if output:
        write_atomic(output, _rendered(report, format).encode())
    if format == "text" or output:
        print_tables(report, results_console())
    else:
        print(_rendered(report, format), end="")


def _rendered(report: Report, format: str) -> str:
    if format == "json":
        return as_json(report) + "\n"
    if format == "md":
        return as_comment(report)
    text = io.StringIO()
    print_tables(report, Console(file=text, width=PIPED_WIDTH, highlight=False))
    return text.getvalue()


def _gate(
    question: Question, candidate: Path, comparator: Path, ours: Results, theirs: Results
) -> tuple[Gate, list[str]]:
    """The gate that the question spells, and every metric to compare, the primary first, then the guardrails.

    Nothing is guessed: where both sides have several metrics the question must name the one that decides.
    """
    common = [metric for metric in ours.scores if metric in theirs.scores]
    if not common:
        what = f"{candidate}: {_list(ours)}; {comparator}: {_list(theirs)}"
        raise InputError(f"no metric is on both sides ({what})", "compare results of the same tasks")
    wanted = [_named(name, ours, theirs, common) for name in question.metrics]
    losses = {_named(name, ours, theirs, common): loss for name, loss in question.max_loss.items()}
    if not wanted:
        if len(common) > 1:
            raise InputError(
                f"which metric decides? Both sides have {_some(common)}",
                _to_run(question, candidate, comparator, common),
            )
        wanted = common
    if wanted[0] in losses:
        allowed = f"{losses[wanted[0]]:g}"
        raise InputError(
            f"{wanted[0]} is what A must win, so --max-loss {wanted[0]}={allowed} says nothing of it",
            f"name another metric with --metric, or allow a loss of {allowed} with --min-gain -{allowed}",
        )
    primary = Primary(metric=wanted[0], better_than=[COMPARATOR], min_gain=question.min_gain)
    rails = [Guardrail(metric=metric, against=[COMPARATOR], max_loss=loss) for metric, loss in losses.items()]
    return Gate(primary=primary, guardrails=rails), list(dict.fromkeys([*wanted, *losses, *common]))


def _to_run(question: Question, candidate: Path, comparator: Path, common: list[str]) -> str:
    """The command that names the first metric which may have been meant."""
    meant = [metric for metric in common if not any(metric.endswith(name) for name in question.max_loss)] or common
    words = ["ratchet", "verdict", str(candidate), str(comparator), "--metric", meant[0]]
    words += ["--min-gain", f"{question.min_gain:g}"] if question.min_gain else []
    words += [word for name, loss in question.max_loss.items() for word in ("--max-loss", f"{name}={loss:g}")]
    return f"name it with --metric, e.g. `{shlex.join(words)}`"


def _not_compared(*sides: tuple[Results, str]) -> list[str]:
    """Metrics that are on one side only, or hold nothing that can be paired."""
    notes = []
    for (mine, name), (other, _) in (sides, sides[::-1]):
        alone = [metric for metric in mine.scores if metric not in other.scores and metric not in other.unusable]
        if alone:
            notes.append(f"not compared, as only {name} has it: {_some(alone)}")
        notes += [f"not compared: {metric} {why}" for metric, why in mine.unusable.items()]
    return notes


def _taken_as_higher(question: Question, metrics: list[str], ours: Results, theirs: Results) -> list[str]:
    """Metrics whose direction nobody told: a rate of refusals may be among them."""
    known = {_named(name, ours, theirs, metrics) for name in question.directions if name}
    known |= ours.directions.keys() | theirs.directions.keys()
    untold = [] if "" in question.directions else [metric for metric in metrics if metric not in known]
    return [f"taken as higher is better: {_some(untold)} (--direction METRIC=down says otherwise)"] if untold else []


def _some(metrics: list[str]) -> str:
    more = f" and {len(metrics) - MOST_NAMED} more" if len(metrics) > MOST_NAMED else ""
    return ", ".join(metrics[:MOST_NAMED]) + more


def _named(name: str, ours: Results, theirs: Results, common: list[str]) -> str:
    """The metric called `name`, or the only one that ends in /name."""
    found = [name] if name in common else [metric for metric in common if metric.endswith(f"/{name}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"metric {name!r} may be {', '.join(found)}", "write one of these in full")
    for side in (ours, theirs):
        if name in side.unusable:
            raise InputError(f"{side.path}: metric {name} {side.unusable[name]}", f"use one of {_list(side)}")
        if not any(metric == name or metric.endswith(f"/{name}") for metric in side.scores):
            raise InputError(f"{side.path} has no metric {name!r}", f"use one of {_list(side)}")
    raise InputError(f"metric {name!r} is not one and the same on both sides", "write its name in full")


def _list(results: Results) -> str:
    return _some(list(results.scores)) or "none"


def _directions(question: Question, metrics: list[str], ours: Results, theirs: Results) -> dict[str, Direction]:
    """What the question says of a metric, else what the results do, else up."""
    named = {_named(name, ours, theirs, metrics): way for name, way in question.directions.items() if name}
    everything = {**theirs.directions, **ours.directions}
    if "" in question.directions:
        everything = dict.fromkeys(metrics, question.directions[""])
    return {metric: named.get(metric, everything.get(metric, "up")) for metric in metrics}


def _subjects(candidate: Path, comparator: Path, ours: Results, theirs: Results) -> tuple[Subject, Subject]:
    """A as a candidate on B, the base that always guards. Named by the shortest ends of their paths that differ."""
    names = _labels(candidate, comparator)
    base = _content(theirs)
    return (
        Subject(kind="adapter", label=names[0], model=names[0], base_sha256=base, adapter_sha256=_content(ours)),
        Subject(kind="base", label=names[1], model=names[1], base_sha256=base),
    )


def _content(results: Results) -> str:
    """Hash of the file; of what was read where there are several."""
    if results.path.is_file():
        return file_sha256(results.path)
    return sha256_of(
        {metric: {item: seen.value for item, seen in seen.items()} for metric, seen in results.scores.items()}
    )


def _labels(candidate: Path, comparator: Path) -> tuple[str, str]:
    one, other = candidate.resolve().parts, comparator.resolve().parts
    for length in range(1, max(len(one), len(other)) + 1):
        ours, theirs = Path(*one[-length:]), Path(*other[-length:])
        if ours.with_suffix("") != theirs.with_suffix(""):
            return str(_short(ours)), str(_short(theirs))
    return str(candidate), str(comparator)


def _short(path: Path) -> Path:
    """Without the ending of a kind of result; a folder's name may hold dots of its own."""
    return path.with_suffix("") if path.suffix in (".jsonl", ".csv", ".json", ".eval") else path


def margins(entries: list[str]) -> dict[str, float]:
    """`METRIC=X` entries as numbers of 0 or more. InputError for anything else."""
    found = {}
    for entry in entries:
        metric, _, text = entry.rpartition("=")
        try:
            found[metric] = float(text)
        except ValueError:
            metric = ""
        if not metric or not 0 <= found[metric] < float("inf"):
            raise InputError(f"--max-loss {entry!r} is not METRIC=X", "e.g. --max-loss accuracy=0.02")
    return found


def ways(entries: list[str]) -> dict[str, Direction]:
    """`up`, `down` (for all metrics) or `METRIC=down`. InputError for anything else."""
    found: dict[str, Direction] = {}
    for entry in entries:
        metric, _, way = entry.rpartition("=")
        if way not in ("up", "down"):
            raise InputError(f"--direction {entry!r} is neither up nor down", "write down, or METRIC=down for one")
        found[metric] = "down" if way == "down" else "up"
    return found
