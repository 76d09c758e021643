"""Scores in a table that anyone can write: a `.jsonl` or `.csv` with an id per line and a column per metric.

`id` is text or a whole number; `cluster` and `split` (train, tune, dev, release) are optional; every other column that
holds a number somewhere is a metric. An empty value, null or NaN means that the item could not be scored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.core.errors import InputError
from harness.data import raw_rows
from harness.outside.results import DECIDING_SPLIT, SPLITS, Observed, Results, cluster_of, number

CLUSTER, SPLIT = "cluster", "split"
WORDS = {"true": 1.0, "false": 0.0}  # as spreadsheets and pandas write them

Row = dict[str, Any]


def read_table(path: Path, cluster: str | None) -> Results:
    """Every metric of the table. InputError names file and line for an id that is missing or doubled, a score that is
    no number, an unknown split."""
    rows = {f"{path}:{line}": row for line, row in raw_rows(path, finite=False)}
    grouped = cluster or (CLUSTER if any(CLUSTER in row for row in rows.values()) else None)
    apart = {"id", SPLIT, CLUSTER, (cluster or "").partition(".")[0]}
    if not rows:
        raise InputError(f"{path} is empty: no column holds scores", 'write lines such as {"id": "q1", "score": 1}')
    metrics = _metrics(rows, apart)
    scores: dict[str, dict[str, Observed]] = {metric: {} for metric in metrics}
    seen: dict[str, str] = {}
    for where, row in rows.items():
        item = _id(row, where)
        if item in seen:
            raise InputError(f"{where}: id {item!r} is there twice, first at {seen[item]}", "one line per item")
        seen[item] = where
        group, split = cluster_of(row, grouped, item, where), _split(row, where)
        for metric in metrics:
            scores[metric][item] = Observed(_score(row, metric, where), group, split)
    return Results(path=path, scores=scores)


def _metrics(rows: dict[str, Row], apart: set[str]) -> list[str]:
    """Columns that hold a number somewhere, in the order in which they come."""
    columns = {name: None for row in rows.values() for name in row if name not in apart}
    found = [name for name in columns if any(isinstance(_read(row.get(name)), float) for row in rows.values())]
    if not found:
        where = next(iter(rows)).rpartition(":")[0]
        raise InputError(f"{where}: no column holds scores", 'write lines such as {"id": "q1", "score": 1}')
    return found


def _id(row: Row, where: str) -> str:
    value = row.get("id")
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise InputError(f"{where}: no id", "give every line the id of its item, the same on both sides")
    return str(value).strip()


def _split(row: Row, where: str) -> str:
    value = row.get(SPLIT) or DECIDING_SPLIT
    if value not in SPLITS:
        raise InputError(f"{where}: split {value!r} is unknown", f"use one of {', '.join(SPLITS)}")
    return str(value)


def _score(row: Row, metric: str, where: str) -> float | None:
    value = _read(row.get(metric))
    if value is None or isinstance(value, float):
        return value
    raise InputError(
        f"{where}: {metric} {str(row[metric])[:40]!r} is no number", "write a number, or nothing if it has no score"
    )


def _read(value: Any) -> float | str | None:
    """A number, None for no score, or the text that is neither."""
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        try:
            return number(WORDS[text.lower()] if text.lower() in WORDS else float(text))
        except ValueError:
            return text
    try:
        return number(value)
    except ValueError:
        return str(value)
