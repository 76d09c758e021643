"""What the compared adapters were trained on, against every item of the evalsets: which items decide nothing.

    findings(context) -> list[Finding]              for `ratchet check`
    excluded(context) -> {"aac": {item ids}}        for the report: found in training data, or opened on record
    notes(context) -> list[str]                     the same in words

Looked through: the data of the plan's runs, of the adapters they are compared with and of those they continue, examples
that stand in prompts, and the prompts of the lab's campaigns. The latter exclude nothing until an adapter is trained on
the votes, when they come back as rows of training data. Results lie in `cache/contamination/` by content.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from harness import campaign as campaigns
from harness.burned import burned
from harness.contamination import EXCLUDING, Item, Match, Row, find
from harness.core.fingerprint import file_sha256, sha256_of
from harness.core.paths import Lab, read_json, write_json
from harness.core.records import AdapterRecord, DataRef, RunJob
from harness.data import asked, inspect, numbered_rows
from harness.evalset import SPLITS
from harness.gate import DECIDING_SPLIT
from harness.pipeline import items as items_of
from harness.pipeline.context import Context, find_adapter
from harness.pipeline.findings import Finding
from harness.progress import Progress

RULES = 1  # raise it when harness.contamination finds something else in the same texts
MAX_EXCLUDED_SHARE = 0.5  # of a split: what is left would no longer be the evalset


@dataclass(frozen=True)
class Source:
    """A text that an adapter learned from or people rated; `sha256` is of its content and format."""

    name: str
    sha256: str
    count: int
    rated: bool
    rows: Callable[[], Iterable[Row]]


@dataclass(frozen=True)
class Found:
    """Every match; the training files that could not be looked through any more, and the lm-eval tasks whose documents
    could not be had (task -> why)."""

    items: list[Item]
    sources: list[Source]
    matches: list[Match]
    gone: list[str]
    missing: dict[str, str]

    @property
    def trained(self) -> list[Match]:
        """Those that exclude their item: the same text, in what an adapter was trained on."""
        rated = {source.name for source in self.sources if source.rated}
        return [one for one in self.matches if one.kind in EXCLUDING and one.source not in rated]


def scan(context: Context) -> Found:
    """All matches of a spec. Takes about 15 s per 100,000 rows of 150 words the first time (5,000 items, one core);
    a terminal shows a bar. Raises InputError for training data that changed since it was planned."""
    every = items_of.known(context)
    items = [one.item for one in every.items]
    data, gone = _data(context)
    fields = {"id", *(item.cluster_field for item in items if item.cluster_field)}
    named = [*(_of_data(ref, fields) for ref in [*data, *_examples(context)]), *_rated(context.lab)]
    sources = list({source.name: source for source in named}.values())
    content = sha256_of([asdict(item) for item in items])
    kept = {source.name: _cache(context.lab, content, source) for source in sources}
    todo = [source for source in sources if not kept[source.name].is_file()] if items else []
    if todo:
        with Progress().bar("contamination", sum(source.count for source in todo)) as advance:
            rows = chain.from_iterable(source.rows() for source in todo)
            fresh = find(items, rows, lambda count: advance(count, ""))
        for source in todo:
            write_json(
                kept[source.name], [one.model_dump(mode="json") for one in fresh if one.source == source.name]
            )  # fmt: skip
    matches = [
        Match.model_validate({**one, "source": source.name})
        for source in sources
        if items
        for one in read_json(kept[source.name])
    ]
    return Found(items, sources, matches, gone, every.missing)


def excluded(context: Context) -> dict[str, set[str]]:
    """What decides nothing, by what stands before a metric's last '/' ('aac', 'lm_eval/tiny_general')."""
    by_evalset: dict[str, set[str]] = defaultdict(set)
    for one in scan(context).trained:
        by_evalset[one.evalset].add(one.item_id)
    for name, opened in _burned(context).items():
        by_evalset[name] |= opened
    return dict(by_evalset)


def notes(context: Context) -> list[str]:
    """One sentence per evalset that has excluded items, and per lm-eval task that could not be looked at."""
    trained: dict[str, set[str]] = defaultdict(set)
    found = scan(context)
    for one in found.trained:
        trained[one.evalset].add(one.item_id)
    opened = _burned(context)
    texts = []
    for name in sorted(trained.keys() | opened.keys()):
        parts = [f"{len(trained[name])} stand in training data"] if trained[name] else []
        parts += [f"{len(opened[name])} of release were opened on record"] if opened.get(name) else []
        texts.append(f"items of {name} that decide nothing: {', '.join(parts)}")
    return [*texts, *(_unscanned(task, why) for task, why in found.missing.items())]


def _unscanned(task: str, why: str) -> str:
    return f"the documents of lm_eval/{task} were not compared with training data: {why.rstrip('.')}"


def _burned(context: Context) -> dict[str, set[str]]:
    """Opened items by evalset or lm-eval task; by their content, so that they stay opened in another version of it."""
    by_name: dict[str, dict[str, str]] = defaultdict(dict)
    for one in items_of.known(context).items:
        if one.item.split == DECIDING_SPLIT:
            by_name[one.item.evalset][one.item.item_id] = one.content.asked
    found = {name: burned(context.lab, name, items) for name, items in by_name.items()}
    return {name: opened for name, opened in found.items() if opened}


# --- what check says --------------------------------------------------------------------------------------------


def findings(context: Context) -> list[Finding]:
    """Per evalset what stands in training data: a warning, an error where it is more than half of a split."""
    found = scan(context)
    rows = sum(source.count for source in found.sources if not source.rated)
    told = [_told(name, found) for name in dict.fromkeys(one.evalset for one in found.trained)]
    told += _rated_findings(found)
    told += [
        Finding("warning", "contamination", f"{name} is gone or changed: not compared with the evalsets")
        for name in found.gone
    ]
    told += [Finding("warning", "contamination", _unscanned(task, why)) for task, why in found.missing.items()]
    if rows and found.items and not found.trained:
        text = f"none of {len(found.items)} items among {rows} training rows"
        related = len({(one.evalset, one.item_id) for one in found.matches if one.kind == "cluster"})
        more = f"; {related} share a cluster or an id with some, not their text" if related else ""
        told.append(Finding("ok", "contamination", text + more))
    return told


def _told(evalset: str, found: Found) -> Finding:
    matches = [one for one in found.trained if one.evalset == evalset]
    items = [item for item in found.items if item.evalset == evalset]
    by_split = {split: {one.item_id for one in matches if one.split == split} for split in SPLITS}
    counts = ", ".join(f"{len(inside)} {split}" for split, inside in by_split.items() if inside)
    first = matches[0]
    where = f"first {first.item_id!r}: {first.kind}, {_short(first.source)}:{first.line}"
    count = len({one.item_id for one in matches})
    text = f"{count} of {len(items)} items stand in the training data ({counts}; {where})"
    for split, inside in by_split.items():
        if len(inside) > MAX_EXCLUDED_SHARE * sum(item.split == split for item in items):
            fix = f"remove those rows from training: without them more than half of {split} would decide nothing"
            return Finding("error", f"evalset {evalset}", text, fix)
    fix = "they will decide nothing; remove those rows from training to use them"
    return Finding("warning", f"evalset {evalset}", text, fix)


def _rated_findings(found: Found) -> list[Finding]:
    rated = {source.name for source in found.sources if source.rated}
    by_evalset: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in found.matches:
        if one.source in rated and one.kind in EXCLUDING:
            by_evalset[one.evalset, one.source].add(one.item_id)
    return [
        Finding(
            "warning",
            f"evalset {evalset}",
            f"{len(items)} items are prompts of {source}",
            "they will decide nothing once its votes train an adapter; take other prompts for the next campaign",
        )
        for (evalset, source), items in by_evalset.items()
    ]


def _short(name: str) -> str:
    """A path as people would write it here."""
    path = Path(name)
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else name


# --- sources ----------------------------------------------------------------------------------------------------


def _data(context: Context) -> tuple[list[DataRef], list[str]]:
    """Training files of every compared adapter and of those it continues, and the names of those that are gone."""
    refs = {(ref.sha256, ref.format): ref for job in _jobs(context) for ref in job.data}
    own = {ref.sha256 for job in context.plan.runs for ref in job.data}
    gone = [ref for ref in refs.values() if ref.sha256 not in own and not _is_there(ref)]
    return [ref for ref in refs.values() if ref not in gone], [ref.path for ref in gone]


def _is_there(ref: DataRef) -> bool:
    return Path(ref.path).is_file() and file_sha256(Path(ref.path)) == ref.sha256


def _jobs(context: Context) -> Iterator[RunJob]:
    lab, spec = context.lab, context.spec
    waiting = list(context.plan.runs)
    adapters = [find_adapter(lab, name) for name in spec.adapter_names]
    for adapter in [*adapters, *([context.incumbent] if context.incumbent else [])]:
        if lab.adapter_record(adapter.run_id).is_file():
            waiting.append(AdapterRecord.read(lab.adapter_record(adapter.run_id)).job)
    parents = _made_by(lab) if any(job.init_adapter_sha256 for job in waiting) else {}
    seen: set[str] = set()
    while waiting:
        job = waiting.pop(0)
        if job.run_id not in seen:
            seen.add(job.run_id)
            yield job
            waiting += [parents[job.init_adapter_sha256]] if job.init_adapter_sha256 in parents else []


def _made_by(lab: Lab) -> dict[str | None, RunJob]:
    """Adapter hash -> the run that made it, over the whole lab."""
    records = [AdapterRecord.read(path) for path in lab.runs.glob("*/adapter.json")]
    return {record.sha256: record.job for record in records}


def _of_data(ref: DataRef, fields: set[str]) -> Source:
    """`fields`: columns that may name an item's cluster or id."""

    def rows() -> Iterator[Row]:
        for number, written, row in numbered_rows(ref):
            answers = [row[key] for key in ("completion", "chosen", "rejected") if key in row]
            yield Row(
                source=ref.path,
                line=number,
                prompt=asked(row["prompt"]),
                completions=[asked(turns) for turns in answers],
                keys={key: str(written[key]) for key in fields if isinstance(written.get(key), str | int)},
            )

    return Source(ref.path, sha256_of([ref.sha256, ref.format]), ref.rows, False, rows)


def _examples(context: Context) -> list[DataRef]:
    """Files of examples that stand in front of prompts, where they are not training data anyway."""
    files = [Path(baseline.examples) for baseline in context.spec.baselines if baseline.examples]
    return [inspect(path.absolute(), split="examples") for path in dict.fromkeys(files)]


def _rated(lab: Lab) -> list[Source]:
    """The prompts of every campaign of the lab."""
    return [_of_campaign(lab, record.campaign, record.pairs) for record in campaigns.list_all(lab)]


def _of_campaign(lab: Lab, name: str, pairs: int) -> Source:
    source = f"campaign {name}"

    def rows() -> Iterator[Row]:
        for number, pair in enumerate(campaigns.read(lab, name)[1], 1):
            keys = {"id": pair.item_id, "cluster": pair.cluster}
            yield Row(source=source, line=number, prompt=asked(pair.prompt), keys=keys)

    path = campaigns.folder(lab, name) / "pairs.jsonl"
    return Source(source, file_sha256(path), pairs, True, rows)


def _cache(lab: Lab, items_sha256: str, source: Source) -> Path:
    name = sha256_of([RULES, items_sha256, source.sha256])
    return lab.cache / "contamination" / f"{name[:16]}.json"
