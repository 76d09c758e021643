"""Evalsets from what people have: CSV, OpenAI-evals JSONL, captured traffic. Each says what it could not carry over.

promptfoo and lm-eval, which have a format of their own, are read in promptfoo_import.py and lm_eval_import.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.captured import corrected
from harness.captured import load as load_traffic
from harness.core.errors import InputError
from harness.data import OVERFLOW, csv_rows, normalised, raw_rows, turns_of
from harness.evalset.write import create, definition_text, free_folder, item_lines, split_by_hash
from harness.pipeline.evalsets import prove
from harness.pipeline.lm_eval_import import lm_eval_files
from harness.pipeline.promptfoo_import import promptfoo_items

Kind = Literal["csv", "openai-evals", "promptfoo", "lm-eval", "captured"]
Row = dict[str, Any]
PROMPTS = ("prompt", "input", "question")
GOLDS = ("gold", "answer", "ideal", "target", "expected", "output")
ANSWERS = ("answer", "response", "completion", "output")
LINES_SHOWN = 5


@dataclass(frozen=True)
class Settings:
    """How to import: the scorer of the one metric, which column is the cluster, and the share of dev.

    `strict`: one row that is not whole refuses the file; else that row alone is left out, and counted.
    """

    scorer: str | None = None
    cluster: str | None = None
    dev_share: float = 0.2
    trust_answers: bool = False
    strict: bool = False


@dataclass
class Imported:
    """`left_out`: what was not carried over, in plain words, with how often."""

    folder: Path
    items: int
    splits: dict[str, int]
    left_out: list[str] = field(default_factory=list)


def import_evalset(kind: Kind, source: Path, name: str, settings: Settings) -> Imported:
    """Make evalsets/NAME from `source`. Raises InputError naming file and line, and then leaves nothing behind."""
    free_folder(name)
    if kind == "lm-eval":
        files, left_out = lm_eval_files(source, name)
        folder = create(name, files, prove)
        return Imported(folder, 0, {}, left_out)
    left_out = []
    items = list(_without_repeats(READERS[kind](source, settings, left_out), left_out))
    if not items:
        raise InputError(f"{source}: no item could be taken over", "; ".join(left_out) or "the file is empty")
    cluster = "cluster" if any("cluster" in item for item in items) else None
    for item in items:
        item.setdefault("split", split_by_hash(str(item.get("cluster", item["id"])), settings.dev_share))
    scorer = settings.scorer or ("assertions" if kind == "promptfoo" else "chrf" if kind == "captured" else "exact")
    definition = {
        "name": name,
        "version": 1,
        "description": f"Imported from {source.name} ({kind}).",
        "licence": "unknown",
        **({"cluster": cluster} if cluster else {}),
        "sampling": {"temperature": 0.0, "max_tokens": 256},
        "metrics": {scorer: {"scorer": scorer}},
    }
    text = f"# {name}\n\nImported from `{source.name}` ({kind}). Left out: {'; '.join(left_out) or 'nothing'}.\n"
    files = {"evalset.yaml": definition_text(definition), "items.jsonl": item_lines(items), "README.md": text}
    folder = create(name, files, prove)
    splits = [str(item["split"]) for item in items]
    return Imported(folder, len(items), {one: splits.count(one) for one in sorted(set(splits))}, left_out)


def _without_repeats(items: list[Row], left_out: list[str]) -> list[Row]:
    """One item per prompt: the same question twice counts one answer twice."""
    seen: dict[str, Row] = {}
    for item in items:
        seen.setdefault(normalised(turns_of(item["prompt"], "user")), item)
    if len(seen) < len(items):
        left_out.append(f"{len(items) - len(seen)} items whose prompt another item has")
    return list(seen.values())


def _csv(source: Path, settings: Settings, left_out: list[str]) -> list[Row]:
    """Columns prompt and gold, or their usual other names; `id`, `split`, `wrong`; others go along as they are."""
    items, refused = [], []
    for number, row in csv_rows(source) if source.suffix == ".csv" else raw_rows(source):
        prompt, gold = _column(row, PROMPTS, source, number), _column(row, GOLDS, source, number)
        known = {prompt, gold, "id", "split", "wrong", settings.cluster}
        lack = _lack(row, [prompt, gold, *([settings.cluster] if settings.cluster else [])])
        if lack:
            refused.append((number, lack))
            continue
        items.append(
            {
                "id": str(row.get("id") or f"i-{number:05}"),
                "split": row.get("split") or None,
                "cluster": _cluster(row, settings, source, number),
                "prompt": row[prompt],
                "gold": _texts(row[gold]),
                "wrong": _texts(row.get("wrong")),
                **{key: value for key, value in row.items() if key not in known},
            }
        )
    if refused:
        left_out.append(_refused(source, refused, settings.strict))
    return [{key: value for key, value in item.items() if value is not None} for item in items]


def _lack(row: Row, needed: list[str]) -> str:
    """What keeps a row from being an item, or ''."""
    if OVERFLOW in row:
        return "more values than columns"
    return next((f"no {name!r}" for name in needed if row.get(name) is None or not str(row[name]).strip()), "")


def _refused(source: Path, refused: list[tuple[int, str]], strict: bool) -> str:
    """Rows that are not whole, by line. InputError instead, naming the first, where `strict` asks for it."""
    number, why = refused[0]
    if strict:
        more = f" (and {len(refused) - 1} more rows)" if len(refused) > 1 else ""
        raise InputError(f"{source}:{number}: {why}{more}", "fill it on every row, or leave --strict away")
    lines = "; ".join(f"line {line}: {what}" for line, what in refused[:LINES_SHOWN])
    more = f"; and {len(refused) - LINES_SHOWN} more" if len(refused) > LINES_SHOWN else ""
    return f"{len(refused)} row{'s' * (len(refused) != 1)} not whole ({lines}{more})"


def _openai_evals(source: Path, settings: Settings, left_out: list[str]) -> list[Row]:
    """Rows {input, ideal}: a text or messages, and one right answer or several."""
    items, odd, names = [], 0, 0
    for number, row in raw_rows(source):
        if not row.get("input") or row.get("ideal") in (None, "", []):
            odd += 1
            continue
        turns = row["input"]
        if isinstance(turns, list):
            names += any("name" in turn for turn in turns if isinstance(turn, dict))
            turns = [{"role": turn.get("role"), "content": turn.get("content")} for turn in turns]
        try:
            turns_of(turns, "user")
        except ValueError:
            odd += 1
            continue
        item = {"id": f"i-{number:05}", "prompt": turns, "gold": _texts(row["ideal"])}
        items.append(item | _clustered(row, settings, source, number))
    if odd:
        left_out.append(f"{odd} rows without a text or messages as input, and an ideal answer")
    if names:
        left_out.append(f"speakers' names in {names} rows")
    left_out.append("the eval's class (Match, Includes, …), which stands in its registry file: choose the scorer here")
    return items


def _captured(source: Path, settings: Settings, left_out: list[str]) -> list[Row]:
    """Rows {messages, answer, corrected, id}: what a person corrected is gold, and what was answered then is wrong.

    A folder is a lab's `requests/`: captured calls with the edits that apps sent as feedback.
    """
    items, uncorrected = [], 0
    rows = enumerate(corrected(load_traffic(source)), 1) if source.is_dir() else raw_rows(source)
    for number, row in rows:
        turns = row.get("messages") or row.get("prompt")
        try:
            turns_of(turns, "user")
        except ValueError as error:
            raise InputError(f"{source}:{number}: messages {error}", "correct the line") from None
        answer = next((str(row[name]) for name in ANSWERS if row.get(name)), "")
        gold = row.get("corrected") or (answer if settings.trust_answers else "")
        if not gold:
            uncorrected += 1
            continue
        wrong = [answer] if answer and answer != gold else []
        item = {"id": str(row.get("id") or f"i-{number:05}"), "prompt": turns, "gold": _texts(gold), "wrong": wrong}
        items.append(item | _clustered(row, settings, source, number))
    if uncorrected:
        left_out.append(f"{uncorrected} rows that nobody corrected (--trust-answers takes their answers as right)")
    return items


def _promptfoo(source: Path, settings: Settings, left_out: list[str]) -> list[Row]:
    return promptfoo_items(source, left_out)


READERS: dict[str, Callable[[Path, Settings, list[str]], list[Row]]] = {
    "csv": _csv,
    "openai-evals": _openai_evals,
    "captured": _captured,
    "promptfoo": _promptfoo,
}


def _column(row: Row, names: tuple[str, ...], source: Path, number: int) -> str:
    """The column of that meaning: the first of its names that the row has, filled or not."""
    for name in names:
        if name in row:
            return name
    raise InputError(f"{source}:{number}: no {names[0]}", f"name a column {', '.join(names)}")


def _cluster(row: Row, settings: Settings, source: Path, number: int) -> str | None:
    if settings.cluster is None:
        return None
    if row.get(settings.cluster) in (None, ""):
        raise InputError(f"{source}:{number}: no {settings.cluster!r}, the cluster column", "fill it on every row")
    return str(row[settings.cluster])


def _clustered(row: Row, settings: Settings, source: Path, number: int) -> Row:
    cluster = _cluster(row, settings, source, number)
    return {} if cluster is None else {"cluster": cluster}


def _texts(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)] if value else []
