"""Training data: formats recognised by their columns, every line checked before any compute is spent.

Everything becomes chat turns: `{"prompt": [turns], "completion": [turns]}` for SFT and
`{"prompt": [turns], "chosen": [turns], "rejected": [turns]}` for preferences, a turn being `{"role", "content"}`.
Knows nothing of tokenizers except how to show a rendered row (`render`).
"""

from __future__ import annotations

import contextlib
import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.core.errors import InputError
from harness.core.fingerprint import file_sha256
from harness.core.records import DataRef

Row = dict[str, Any]
Turn = dict[str, str]
ROLES = ("system", "user", "assistant")
OVERFLOW = "\0beyond the columns"  # a name that no column can have
UTF_8 = "utf-8-sig"  # spreadsheets put a byte order mark in front


def turns_of(value: Any, role: str) -> list[Turn]:
    """A string as one turn of `role`; a list of turns as it is. ValueError says what does not fit."""
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("is empty")
        return [{"role": role, "content": value}]
    if not isinstance(value, list) or not value:
        raise ValueError("must be text or a list of turns")
    for turn in value:
        if not isinstance(turn, dict) or turn.get("role") not in ROLES or not isinstance(turn.get("content"), str):
            raise ValueError(f"has a turn that is not {{role: {'|'.join(ROLES)}, content: text}}")
    return [{"role": turn["role"], "content": turn["content"]} for turn in value]


def asked(turns: Sequence[Turn]) -> str:
    """The turns as one text, without the system prompt, which is instruction and the same for all."""
    return "\n".join(turn["content"] for turn in turns if turn["role"] != "system") or turns[-1]["content"]


def _field(row: Row, column: str, role: str) -> list[Turn]:
    try:
        return turns_of(row[column], role)
    except ValueError as error:
        raise ValueError(f"column {column!r} {error}") from None


def _preference(row: Row) -> Row:
    return {
        "prompt": _field(row, "prompt", "user"),
        "chosen": _field(row, "chosen", "assistant"),
        "rejected": _field(row, "rejected", "assistant"),
    }


def _pair_of(prompt: str, completion: str) -> Callable[[Row], Row]:
    return lambda row: {
        "prompt": _field(row, prompt, "user"),
        "completion": _field(row, completion, "assistant"),
    }


def _labelled(row: Row) -> Row:
    """KTO's rows: an answer with whether it was wanted."""
    if not isinstance(row["label"], bool):
        raise ValueError("column 'label' must be true or false")
    return _pair_of("prompt", "completion")(row) | {"label": row["label"]}


def _alpaca(row: Row) -> Row:
    context = row.get("input") or ""
    instruction = f"{row['instruction']}\n\n{context}" if context else row["instruction"]
    return {
        "prompt": _field({"instruction": instruction}, "instruction", "user"),
        "completion": _field(row, "output", "assistant"),
    }


def _messages(row: Row) -> Row:
    turns = _field(row, "messages", "user")
    if turns[-1]["role"] != "assistant" or len(turns) < 2:
        raise ValueError("column 'messages' must end with an answer of the assistant")
    return {"prompt": turns[:-1], "completion": turns[-1:]}


MARKER = re.compile(r"<(human|bot)>:")


def _marked_text(row: Row) -> Row:
    """`<human>: … <bot>: …` (OpenChatKit's markers)."""
    parts = MARKER.split(str(row["text"]))
    roles = {"human": "user", "bot": "assistant"}
    turns = [
        {"role": roles[marker], "content": text.strip()} for marker, text in zip(parts[1::2], parts[2::2], strict=True)
    ]
    if len(turns) < 2 or turns[-1]["role"] != "assistant":
        raise ValueError("column 'text' has no <human>: … <bot>: … turns")
    return _messages({"messages": turns})


# Name -> (columns that tell it, reader). The first whose columns are all there is taken.
FORMATS: dict[str, tuple[tuple[str, ...], Callable[[Row], Row]]] = {
    "preference": (("prompt", "chosen", "rejected"), _preference),
    "labelled": (("prompt", "completion", "label"), _labelled),
    "prompt_completion": (("prompt", "completion"), _pair_of("prompt", "completion")),
    "messages": (("messages",), _messages),
    "alpaca": (("instruction", "output"), _alpaca),
    "instruction_response": (("instruction", "response"), _pair_of("instruction", "response")),
    "input_output": (("input", "output"), _pair_of("input", "output")),
    "marked_text": (("text",), _marked_text),
}


def format_of(columns: set[str], where: str) -> str:
    """Name of the first format whose columns are all there. InputError lists what is understood."""
    for name, (needed, _) in FORMATS.items():
        if set(needed) <= columns:
            return name
    understood = "; ".join("+".join(needed) for needed, _ in FORMATS.values())
    raise InputError(
        f"{where}: columns {', '.join(sorted(columns)) or '(none)'} are no known format", f"use {understood}"
    )


def read_json_lines(path: Path, finite: bool = True) -> Iterator[tuple[int, Row]]:
    """(line number, object) of every line that is not blank. InputError names file and line.

    `finite` refuses NaN and half characters too, which no text or setting may hold; scores of other tools may.
    """
    with readable(path), path.open(encoding=UTF_8) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _json_object(path, number, line, finite)


def _json_object(path: Path, number: int, line: str, finite: bool) -> Row:
    try:
        value = json.loads(line)
        if finite:
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}:{number}: not JSON ({error.msg} at column {error.colno})", "one JSON object per line"
        ) from None
    except (ValueError, RecursionError):  # NaN, half a surrogate pair, a hundred thousand brackets
        raise InputError(f"{path}:{number}: holds something that is no text or number", "correct the line") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}:{number}: a {type(value).__name__} instead of an object", "one JSON object per line")
    return value


def _read_csv(path: Path) -> Iterator[tuple[int, Row]]:
    for number, row in csv_rows(path):
        if OVERFLOW in row:
            raise InputError(f"{path}:{number}: not CSV (more values than columns)", "quote values with commas")
        yield number, row


def csv_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """(number of its last line, row) of a .csv file; what a row has beyond the columns stands under OVERFLOW, and a
    column that it does not reach is None. InputError where the file is no CSV at all."""
    with readable(path), path.open(encoding=UTF_8, newline="") as file:
        reader = csv.DictReader(file, strict=True, restkey=OVERFLOW)
        try:
            for row in reader:
                yield reader.line_num, dict(row)
        except csv.Error as error:
            raise InputError(f"{path}:{reader.line_num}: not CSV ({error})", "quote values with commas") from None


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn a file that is not there, or is not text, into an InputError."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise InputError(f"{path} does not exist", "check the path; it is relative to the current folder") from None
    except PermissionError:
        raise InputError(f"{path} cannot be read", "check who owns it") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start})", "save it as UTF-8"
        ) from None


def raw_rows(path: Path, finite: bool = True) -> Iterator[tuple[int, Row]]:
    """(line number, row) of a .jsonl or .csv file; `finite` as in `read_json_lines`."""
    if path.suffix not in (".jsonl", ".csv"):
        raise InputError(f"{path}: unknown kind of file", "use .jsonl (one JSON object per line) or .csv")
    return _read_csv(path) if path.suffix == ".csv" else read_json_lines(path, finite)


def inspect(path: Path, format: str | None = None, split: str = "train") -> DataRef:
    """Read every row once and describe the file. InputError names the first line that does not fit."""
    count, name = 0, format
    for number, row in raw_rows(path):
        name = name or format_of(set(row), f"{path}:{number}")
        _convert(row, name, f"{path}:{number}")
        count += 1
    if not count or name is None:
        raise InputError(f"{path} has no rows", "add some")
    return DataRef(path=str(path), sha256=file_sha256(path), rows=count, format=name, split=split)


def load_rows(ref: DataRef) -> list[Row]:
    """Rows as chat turns, in file order. InputError if the file is no longer the one that was inspected."""
    return [row for _, _, row in numbered_rows(ref)]


def numbered_rows(ref: DataRef) -> Iterator[tuple[int, Row, Row]]:
    """(line number, row as written, row as chat turns), one by one; InputError as `load_rows`, behind the last row."""
    path = Path(ref.path)
    for number, row in raw_rows(path):
        yield number, row, _convert(row, ref.format, f"{path}:{number}")
    if file_sha256(path) != ref.sha256:
        raise InputError(f"{path} changed since it was planned", "run the command again")


def _convert(row: Row, format: str, where: str) -> Row:
    if format not in FORMATS:
        raise InputError(f"{where}: format {format!r} is unknown", f"use one of {', '.join(FORMATS)}")
    columns, convert = FORMATS[format]
    missing = [column for column in columns if row.get(column) is None]
    if missing:
        raise InputError(f"{where}: column {missing[0]!r} is missing", f"every row needs {' and '.join(columns)}")
    try:
        return convert(row)
    except ValueError as error:
        raise InputError(f"{where}: {error}", "correct the line") from None


def is_preference(ref: DataRef) -> bool:
    return ref.format == "preference"


def few_shot_turns(path: Path, shots: int) -> list[Turn]:
    """Turns of the first `shots` rows with different prompts: the same for every subject and every run."""
    turns: list[Turn] = []
    seen: set[str] = set()
    for number, row in raw_rows(path):
        if len(seen) == shots:
            break
        converted = _convert(row, format_of(set(row), f"{path}:{number}"), f"{path}:{number}")
        key = normalised(converted["prompt"])
        if key not in seen:
            seen.add(key)
            turns += converted["prompt"] + (converted.get("completion") or converted["chosen"])
    if len(seen) < shots:
        raise InputError(f"{path} has only {len(seen)} different prompts for {shots} examples", "ask for fewer shots")
    return turns


def normalised(turns: list[Turn]) -> str:
    """What two prompts must share to count as the same: their words, whatever the case and spacing."""
    return "\n".join(" ".join(turn["content"].casefold().split()) for turn in turns)
