"""What a round would be, before anything is written: `ratchet next --preview` and the lead's board show the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from harness.contamination import EXCLUDING, Row, find
from harness.core.errors import RatchetError, printable
from harness.core.paths import Lab
from harness.core.records import Record
from harness.data import asked as asked_text
from harness.evalset import Evalset, load
from harness.pii import said
from harness.pipeline import items
from harness.pipeline.rounds import Asked, Labels, Round, preview
from harness.ratings import Noise

WORDS = {"used": "decisive", "both_bad": "both bad", "conflict": "in conflict"}  # of outcomes, where they differ


class Found(Record):
    """Items of an evalset whose text stands in the round's rows: they would decide nothing."""

    evalset: str
    items: int
    of: int
    splits: dict[str, int]
    first: str


class RoundPreview(Record):
    """`outcomes` counts every distinct pair once; `adjudicated` of them have a lead's ruling as their label.

    `rows`: preference rows, `edited` of them an edited answer over its original; `sft`: edited answers by themselves.
    `duplicates`: pairs that showed what another had shown. `label_error`: expected share of wrong labels among the
    rows; None where it cannot be told. `contamination`: what of the next gate's evalsets stands in the rows, and
    `not_checked` what was not looked through. `refused`: why nothing would be written.
    """

    name: str
    alias: str
    continues: str
    primary: str
    campaigns: list[str]
    held: list[str]
    labels: Labels
    outcomes: dict[str, int]
    adjudicated: int
    edited: int
    rows: int
    sft: int
    duplicates: int
    comparisons: int
    agreement: float | None
    noise: Noise | None
    label_error: float | None
    label_error_from: str
    personal: dict[str, int]
    contamination: list[Found]
    not_checked: list[str]
    files: list[str]
    yaml: str
    refused: str


def preview_round(lab: Lab, asked: Asked) -> RoundPreview:
    """Counts, label error, contamination and the YAML of the round that `next_round` would write; raises as
    `harness.pipeline.rounds.preview` does."""
    planned = preview(lab, asked)
    found = planned.found
    told, missing = _contamination(planned)
    return RoundPreview(
        name=asked.name,
        alias=asked.alias,
        continues=planned.continues,
        primary=planned.primary or asked.primary,
        campaigns=planned.campaigns,
        held=planned.held,
        labels=asked.labels,
        outcomes=found.counts,
        adjudicated=found.adjudicated,
        edited=found.edited,
        rows=len(found.rows),
        sft=len(found.sft),
        duplicates=found.duplicates,
        comparisons=found.agreement.comparisons,
        agreement=found.agreement.share,
        noise=found.noise,
        label_error=found.label_smoothing,
        label_error_from=_source(planned),
        personal=planned.personal,
        contamination=told,
        not_checked=missing,
        files=[str(path) for path in planned.files],
        yaml=planned.text,
        refused=planned.refused,
    )


def lines(found: RoundPreview) -> Iterator[str]:
    """The preview as people read it, without the YAML."""
    yield f"the round of {found.name} after {found.continues or 'nothing yet'}, from {', '.join(found.campaigns)}"
    if found.held:
        yield f"left out, as their votes are for judging: {', '.join(found.held)}"
    counts = ", ".join(f"{count} {WORDS.get(name, name)}" for name, count in found.outcomes.items() if count)
    yield f"pairs: {counts or 'none'}; {found.duplicates} more showed what another had shown"
    yield f"labels: {label_text(found)}"
    yield f"rows: {found.rows}, {found.edited} of them edited over original; {found.sft} edited answers for SFT"
    yield f"label error: {error_text(found)}"
    yield f"clarity: {clarity_text(found)}"
    yield f"personal data: {said(found.personal)}"
    yield f"contamination: {contamination_text(found)}"
    if found.refused:
        yield f"refused: {found.refused}"


def label_text(found: RoundPreview) -> str:
    if found.labels == "majority":
        return "the majority of votes alone"
    return f"the majority of votes, or a lead's ruling where there is one ({found.adjudicated} pairs)"


def error_text(found: RoundPreview) -> str:
    noise = found.noise
    if noise is not None and noise.at_chance:
        return f"refused: {noise.refused}"
    if found.label_error is None:
        return f"not known: {(noise.refused if noise else '') or found.label_error_from}"
    return f"{found.label_error:.1%} of the rows' labels, from {found.label_error_from}"


def clarity_text(found: RoundPreview) -> str:
    noise = found.noise
    if noise is None or noise.clarity is None:
        return "not fitted"
    held = "" if noise.clarity_low is None else f" ({noise.clarity_low:.2f} to {noise.clarity_high:.2f})"
    return f"{noise.clarity:.2f}{held}; 1 where everybody means the same"


def contamination_text(found: RoundPreview) -> str:
    told = [
        f"{one.items} of {one.of} items of {one.evalset} stand in the rows ("
        f"{', '.join(f'{count} {split}' for split, count in one.splits.items())}; first {printable(one.first)}) "
        "and would decide nothing"
        for one in found.contamination
    ]
    return "; ".join([*told, *found.not_checked]) or "no item of the gate's evalsets stands in the rows"


def _source(planned: Round) -> str:
    noise = planned.found.noise
    if noise is not None and noise.error is not None:
        return "gold pairs and repeats, ambiguity apart"
    return f"agreement alone, which takes ambiguity for error ({planned.found.agreement.note})"


# --- contamination ----------------------------------------------------------------------------------------------


def _evalsets(previous: Any) -> tuple[list[Evalset], list[str]]:
    """The business evalsets of a spec, and why others cannot be read here."""
    evaluate = previous.get("evaluate") or {}
    found, missing = [], []
    for name in evaluate.get("evalsets") or []:
        try:
            found.append(load(str(name)))
        except RatchetError as error:
            missing.append(f"{name} was not looked through: {error.one_line()}")
    if (evaluate.get("lm_eval") or {}).get("tasks"):
        missing.append("documents of lm-eval are looked through by `ratchet check`")
    return found, missing


def _contamination(planned: Round) -> tuple[list[Found], list[str]]:
    """Items that stand in the rows, as `ratchet check` will find them once the round is a spec."""
    evalsets, missing = _evalsets(planned.previous)
    if not planned.previous:
        missing = ["not looked for: there is no last round that names evalsets"]
    every = [one.item for evalset in evalsets for one in items.of_evalset(evalset)]
    if not every or not planned.found.rows:
        return [], missing
    matches = [one for one in find(every, _rows(planned.found.rows)) if one.kind in EXCLUDING]
    told = []
    for evalset in evalsets:
        mine = {one.item_id: one for one in matches if one.evalset == evalset.name}
        if mine:
            splits: dict[str, int] = defaultdict(int)
            for one in mine.values():
                splits[one.split] += 1
            told.append(
                Found(evalset=evalset.name, items=len(mine), of=len(evalset.items), splits=dict(splits),
                      first=next(iter(mine)))
            )  # fmt: skip
    return told, missing


def _rows(rows: Sequence[dict[str, Any]]) -> Iterator[Row]:
    for number, row in enumerate(rows, 1):
        answers = [asked_text(row[key]) for key in ("chosen", "rejected")]
        keys = {"cluster": str(row["cluster"])}
        yield Row("pairs.jsonl", number, asked_text(row["prompt"]), answers, keys)
