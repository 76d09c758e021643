"""Evalsets by command: a new one to write in, and what one is worth before a model sees it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.data import normalised, read_json_lines
from harness.evalset import SPLITS, Evalset, load
from harness.evalset.write import create, definition_text, item_lines
from harness.evaluate.scorers import sandbox, self_check
from harness.pipeline.power import ASSUMED_CORRELATION, ASSUMED_FLIPS, ASSUMED_SD
from harness.stats import Sample, design_effect, smallest_visible

NEW_README = """# {name}

1. `evalset.yaml` says what is measured. Change `description`, `licence` and the scorer (all are in docs/evalsets.md).
2. `items.jsonl` has one item per line: an `id`, the `prompt`, and `gold`, the right answers (any of them counts).
3. `wrong` lists answers that must not get full marks: they prove that the scorer can tell the difference.
4. `split` is `dev` (you look at these, and choose by them) or `release` (these decide; do not browse them).
5. `topic` is the cluster: items that are not independent (same passage, same customer) share one, and one split.
6. Aim at 300 release items or more: `ratchet evalset check {name}` says which difference they can show.
7. A change of items, metrics or sampling is another evalset: raise `version`, old and new scores are never compared.
8. Write items that the training data does not hold; `ratchet check` looks for those that it does.
9. Name it in a spec: `evaluate: {{evalsets: [{name}]}}`, `gate: {{primary: {{metric: {name}/exact}}}}`.
"""


TOO_FEW = "release has too few items to show any difference"
NOT_KNOWN = "what release can show is known once two subjects are scored: `ratchet check SPEC`"


@dataclass(frozen=True)
class SplitFacts:
    items: int
    clusters: int
    largest_cluster: int


@dataclass(frozen=True)
class MetricFacts:
    """`visible`: the smallest true difference that the release items show with 80 % power, None where unknown.

    `unseen` says why it is None.
    """

    scorer: str
    unit: str
    direction: str
    aggregate: str
    chance: float | None
    visible: float | None
    unseen: str = ""


@dataclass(frozen=True)
class Facts:
    """What `evalset check` finds. `notes` are worth reading; what is wrong is raised instead."""

    name: str
    version: str
    sha256: str
    kind: str
    tasks: list[str]
    splits: dict[str, SplitFacts]
    metrics: dict[str, MetricFacts]
    tags: dict[str, int]
    notes: list[str] = field(default_factory=list)


def new(name: str) -> Path:
    """A folder with two items that prove themselves, and a README. Raises InputError."""
    definition = {
        "name": name,
        "version": 1,
        "description": "What a good answer must do.",
        "licence": "proprietary",
        "cluster": "topic",
        "sampling": {"temperature": 0.0, "max_tokens": 64},
        "metrics": {"exact": {"scorer": "exact"}},
    }
    sums = [("dev-1", "dev", "sums", "2 + 3", "5", "6"), ("rel-1", "release", "products", "2 times 3", "6", "5")]
    items = [
        {"id": id, "split": split, "topic": topic, "prompt": f"What is {asked}? Answer with the number only.",
         "gold": [gold], "wrong": [wrong]}
        for id, split, topic, asked, gold, wrong in sums
    ]  # fmt: skip
    files = {
        "evalset.yaml": definition_text(definition),
        "items.jsonl": item_lines(items),
        "README.md": NEW_README.format(name=name),
    }
    return create(name, files, prove)


def prove(folder: Path) -> Evalset:
    """Load a folder and have it prove itself; InputError says what is wrong."""
    evalset = load(str(folder))
    if evalset.definition.kind == "business":
        self_check(evalset)
    return evalset


def examine(name: str) -> Facts:
    """Load an evalset, have it prove itself, and say how large a difference it can show. Raises InputError."""
    evalset = load(name)
    if evalset.definition.kind == "business":
        self_check(evalset)
    grouped = _grouped(evalset)
    splits = {split: _split_facts(grouped[split]) for split in SPLITS if grouped.get(split)}
    sizes = grouped.get("release", [])
    return Facts(
        name=evalset.name,
        version=evalset.version,
        sha256=evalset.sha256,
        kind=evalset.definition.kind,
        tasks=evalset.definition.tasks,
        splits=splits,
        metrics={name: _metric_facts(evalset, name, sizes) for name in evalset.definition.metrics},
        tags=dict(Counter(tag for item in evalset.items for tag in item.tags).most_common()),
        notes=_notes(evalset, splits),
    )


def _grouped(evalset: Evalset) -> dict[str, list[int]]:
    """Split -> items per cluster; of lm-eval tasks only those that have their documents in the folder."""
    clusters = [(item.split, evalset.cluster_of(item)) for item in evalset.items]
    path = evalset.folder / evalset.definition.items
    if evalset.definition.kind == "lm_eval" and path.is_file():
        clusters = [
            (row.get("split", "release"), str(row.get("cluster", row.get("id", line))))
            for line, row in read_json_lines(path)
        ]
    sizes: dict[str, list[int]] = {}
    for (split, _), count in Counter(clusters).items():
        sizes.setdefault(split, []).append(count)
    return sizes


def _split_facts(sizes: list[int]) -> SplitFacts:
    return SplitFacts(items=sum(sizes), clusters=len(sizes), largest_cluster=max(sizes))


def _metric_facts(evalset: Evalset, name: str, sizes: list[int]) -> MetricFacts:
    metric = evalset.definition.metrics[name]
    known = metric.unit in ASSUMED_SD and metric.aggregate == "mean"
    visible = smallest_visible(_sample(metric.unit, sizes)) if known and sizes else None
    unseen = TOO_FEW if known or len(sizes) < 2 else NOT_KNOWN
    return MetricFacts(
        scorer=metric.scorer,
        unit=metric.unit,
        direction=metric.direction,
        aggregate=metric.aggregate,
        chance=metric.info.chance,
        visible=None if visible is None else round(visible, 6),
        unseen=unseen if visible is None else "",
    )


def _sample(unit: str, sizes: list[int]) -> Sample:
    """The release items under the same assumptions that a plan makes where no results are stored."""
    single = len(sizes) == sum(sizes)
    return Sample(
        items=sum(sizes),
        clusters=len(sizes),
        spread=ASSUMED_SD[unit],
        effect=design_effect(sizes, ASSUMED_CORRELATION),
        flips=ASSUMED_FLIPS if unit == "share" and single else None,
    )


def _notes(evalset: Evalset, splits: dict[str, SplitFacts]) -> list[str]:
    if evalset.definition.kind == "lm_eval":
        return ["items and metrics are lm-eval's: `ratchet check SPEC` asks it for them"]
    notes = []
    if "release" not in splits:
        notes.append("no release items: a verdict needs some")
    if "dev" not in splits:
        notes.append("no dev items: nothing to choose by, and nothing that may be looked at")
    where: dict[str, set[str]] = {}
    clusters: dict[str, set[str]] = {}
    for item in evalset.items:
        where.setdefault(normalised(item.turns), set()).add(item.split)
        clusters.setdefault(evalset.cluster_of(item), set()).add(item.split)
    for what, found in (("prompts", where), ("clusters", clusters)):
        both = sum(len(found_in) > 1 for found_in in found.values())
        if both:
            notes.append(f"{both} {what} stand in more than one split, so dev tells of release: give each one split")
    if len(where) < len(evalset.items):
        notes.append(f"{len(evalset.items) - len(where)} items repeat another item's prompt")
    if evalset.definition.metrics.keys() and _runs_code(evalset) and not sandbox.isolated():
        notes.append("programs are not kept from network and files here: see docs/evalsets.md, Programs")
    if evalset.definition.metrics and all(metric.kind and metric.kind.measured for metric in _metrics(evalset)):
        notes.append("lengths and latencies only: nothing here tells a right answer from a wrong one")
    return notes


def _metrics(evalset: Evalset) -> list[Any]:
    return list(evalset.definition.metrics.values())


def _runs_code(evalset: Evalset) -> bool:
    return any(metric.scorer in ("code", "sql") for metric in _metrics(evalset))
