"""Evalsets: write, check, import."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.common import Format, FormatOption, group, print_json

if TYPE_CHECKING:
    from harness.pipeline.evalsets import Facts

evalset_group = group("evalset", "Evalsets: what a good answer is, item by item.")


SMALL = 0.2  # a share that no change of an adapter is likely to bring


class ImportKind(str, Enum):
    csv = "csv"
    openai_evals = "openai-evals"
    promptfoo = "promptfoo"
    lm_eval = "lm-eval"
    captured = "captured"


@evalset_group.command("new")
def evalset_new(
    name: Annotated[str, typer.Argument(help="A name: a-z, 0-9, '_' and '-'.")], format: FormatOption = Format.text
) -> None:
    """Make evalsets/NAME with two items and a README to go on from."""
    from harness.pipeline import evalsets

    folder = evalsets.new(name)
    if format is Format.json:
        print_json({"folder": str(folder)})
        return
    print(f"made {folder}: evalset.yaml, items.jsonl, README.md")
    print(f"next: write items, then `ratchet evalset check {name}`")


@evalset_group.command("check")
def evalset_check(
    name: Annotated[str, typer.Argument(help="An evalset under evalsets/, or its folder.")],
    format: FormatOption = Format.text,
) -> None:
    """Read an evalset, have it prove itself on its gold and wrong answers, and say what it can show."""
    from harness.pipeline import evalsets

    facts = evalsets.examine(name)
    print_json(asdict(facts)) if format is Format.json else _show(facts)


@evalset_group.command("import")
def evalset_import(
    kind: Annotated[ImportKind, typer.Argument(help="What the file is.")],
    file: Annotated[Path, typer.Argument(help="The file, or for lm-eval also a folder of tasks.")],
    name: Annotated[str, typer.Option("--name", help="What to call the evalset.")],
    scorer: Annotated[
        str | None, typer.Option("--scorer", help="The metric's scorer.  [default: by the kind of file]")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", help="Column that groups rows which are not independent.")
    ] = None,
    dev_share: Annotated[
        float, typer.Option("--dev-share", min=0.0, max=1.0, help="Share of clusters that become dev.")
    ] = 0.2,
    trust_answers: Annotated[
        bool, typer.Option("--trust-answers", help="captured: take uncorrected answers as right.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="csv: refuse the file if one row is not whole.")] = False,
    format: FormatOption = Format.text,
) -> None:
    """Make an evalset from a file of another tool; says what could not be carried over."""
    from harness.pipeline.evalset_imports import Settings, import_evalset

    settings = Settings(scorer=scorer, cluster=cluster, dev_share=dev_share, trust_answers=trust_answers, strict=strict)
    made = import_evalset(kind.value, file, name, settings)
    if format is Format.json:
        print_json(asdict(made))
        return
    counted = ", ".join(f"{count} {split}" for split, count in made.splits.items())
    print(f"made {made.folder}" + (f": {made.items} items ({counted})" if made.items else ""))
    for what in made.left_out:
        print(f"left out: {what}")
    print(f"next: read it, set its licence, then `ratchet evalset check {name}`")


def _say_size(facts: Facts) -> None:
    """The same in a sentence for who does not think in power, and how many items a finer difference takes."""
    release = facts.splits.get("release")
    seen = [one.visible for one in facts.metrics.values() if one.visible is not None and one.unit == "share"]
    if release is None or not seen:
        return
    if max(seen) > SMALL:
        print(f"  size: {release.items} release items show only very large differences: aim at 300 or more")
        return
    points = f"{100 * max(seen):.2g}"
    print(
        f"  size: of candidates that get {points} in 100 more right, 4 of 5 are seen to be better with these "
        f"{release.items} release items; half that difference takes about {4 * release.items:,}"
    )


def _show(facts: Facts) -> None:
    from harness.stats import figures

    print(f"{facts.name}@{facts.version} (sha256 {facts.sha256[:12]}): gold answers score as they must")
    for split, found in facts.splits.items():
        clusters = f"in {found.clusters} clusters, the largest of {found.largest_cluster}"
        alone = "each a cluster of its own"
        print(f"  {split}: {found.items} items{f' {clusters}' if found.clusters < found.items else f', {alone}'}")
    for name, metric in facts.metrics.items():
        line = f"  {name}: {metric.scorer}, {metric.unit}, {metric.direction} is better"
        if metric.aggregate != "mean":
            line += f", corpus {metric.aggregate}"
        if metric.chance is not None:
            line += f", chance {figures(metric.chance)[0]}"
        if metric.visible is not None:
            line += f"; release shows differences from {figures(metric.visible)[0]} (assumed spread, 80 % power)"
        print(line + (f"; {metric.unseen}" if metric.unseen else ""))
    _say_size(facts)
    for tag, count in facts.tags.items():
        print(f"  tag {tag}: {count}")
    for task in facts.tasks:
        print(f"  task {task}")
    for note in facts.notes:
        print(f"note: {note}")
