"""Inspect's logs: one JSON object (`.json`), or the same in pieces in a zip (`.eval`).

Read without Inspect; the format is that of 0.3.285, whose zips are compressed with Zstandard, and of those before it.
A zip holds `header.json`, `summaries.json` (scores and inputs of every sample) and `samples/<id>_epoch_<n>.json`; logs
that were cut short have only the samples. Grades count as in Inspect: C 1, P 0.5, I and N 0.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.core.errors import InputError
from harness.core.fingerprint import sha256_of
from harness.outside.results import Observed, Results, cluster_of, number

GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
TO_JSON = "convert it with `inspect log convert --to json`"
# Reading is cheap beside scoring; what claims to be larger than this is damage or an attack.
MAX_MEMBER_BYTES = 4 << 30
ZSTANDARD = 93  # the zip format's number for it
LOCAL_NAME_LENGTH = 26  # where, in the header before each file's data, the lengths of name and extra field stand

Sample = dict[str, Any]
Value = float | str | None


def read_log(path: Path, cluster: str | None) -> Results:
    """Every scorer's value per sample, epochs averaged; `cluster` names a field of the samples' metadata.

    A sample of which an epoch has no score could not be scored. Raises InputError for what is no log of Inspect's.
    """
    header, samples = _zipped(path) if path.suffix == ".eval" else _plain(path)
    epochs: dict[str, dict[str, list[Value]]] = {}
    items: dict[str, Observed] = {}
    asked: dict[str, set[int]] = {}
    for sample in samples:
        item, epoch = _key(sample, path)
        if epoch in asked.setdefault(item, set()):
            raise InputError(f"{path}: sample {item!r} is there twice in epoch {epoch}", "keep one log per run")
        asked[item].add(epoch)
        metadata = sample.get("metadata")
        group = cluster_of(metadata if isinstance(metadata, dict) else {}, cluster, item, f"{path}: sample {item!r}")
        items[item] = Observed(None, group, content=_content(sample))
        for scorer, value in _values(sample):
            epochs.setdefault(scorer, {}).setdefault(item, []).append(value)
    return _averaged(path, items, epochs, {item: len(found) for item, found in asked.items()}, _notes(path, header))


def _averaged(
    path: Path,
    items: dict[str, Observed],
    epochs: dict[str, dict[str, list[Value]]],
    asked: dict[str, int],
    notes: list[str],
) -> Results:
    results = Results(path=path, scores={}, notes=notes)
    for scorer, found in epochs.items():
        text = next((value for values in found.values() for value in values if isinstance(value, str)), None)
        if text is not None:
            results.unusable[scorer] = f"gives {text!r}, which is no number and no grade"
            continue
        results.scores[scorer] = {}
        for item, seen in items.items():
            values = [value for value in found.get(item, []) if isinstance(value, float)]
            mean = sum(values) / len(values) if len(values) == asked[item] else None
            results.scores[scorer][item] = Observed(mean, seen.cluster, content=seen.content)
    if not results.scores:
        why = "; ".join(f"{scorer} {reason}" for scorer, reason in results.unusable.items()) or "no sample is scored"
        raise InputError(f"{path} holds no scores: {why}", "score it with `inspect score` first")
    return results


def _plain(path: Path) -> tuple[dict[str, Any], list[Sample]]:
    try:
        log = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist", "check the path; it is relative to the current folder") from None
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not JSON ({str(error)[:80]})", "a log that is still written has no end yet"
        ) from None
    samples = log.get("samples") if isinstance(log, dict) else None
    if not isinstance(samples, list) or "eval" not in log:
        raise InputError(f"{path} is no log of Inspect's with samples", "name a log that `inspect eval` wrote")
    return log, [_object(sample, path) for sample in samples]


def _zipped(path: Path) -> tuple[dict[str, Any], list[Sample]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            # Older logs, and those of runs that were killed, have no header of their own.
            start = next((name for name in ("header.json", "_journal/start.json", "start.json") if name in names), None)
            header = _object(_member(archive, start, path), path) if start else {}
            summaries = next((name for name in ("summaries.json", "summary.json") if name in names), None)
            if summaries:
                found = _member(archive, summaries, path)
                return header, [_object(sample, path) for sample in (found if isinstance(found, list) else [found])]
            return header, [
                _object(_member(archive, name, path), path)
                for name in sorted(names)
                if name.startswith("samples/") and name.endswith(".json")
            ]
    except FileNotFoundError:
        raise InputError(f"{path} does not exist", "check the path; it is relative to the current folder") from None
    except (zipfile.BadZipFile, EOFError) as error:
        raise InputError(
            f"{path} is damaged ({error})", "copy the log again; `inspect log recover` mends some"
        ) from None
    except NotImplementedError:
        raise InputError(f"{path} is compressed in a way that Python 3.11 cannot read", TO_JSON) from None


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> Any:
    if archive.getinfo(name).file_size > MAX_MEMBER_BYTES:
        raise InputError(f"{path}: {name} would be {archive.getinfo(name).file_size:,} bytes", TO_JSON)
    try:
        return json.loads(_bytes(archive, name, path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: {name} is not JSON ({str(error)[:80]})", "copy the log again") from None


def _bytes(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    """One file of the zip. Python's zipfile knows Zstandard from 3.14 on only."""
    entry = archive.getinfo(name)
    if entry.compress_type != ZSTANDARD:
        return archive.read(entry)
    try:
        import pyarrow  # 0.1 s; comes with the training packages
    except ImportError:
        raise InputError(
            f"{path} is compressed with Zstandard, which needs pyarrow", f"pip install it, or {TO_JSON}"
        ) from None
    with path.open("rb") as file:
        file.seek(entry.header_offset + LOCAL_NAME_LENGTH)
        file.seek(sum(struct.unpack("<HH", file.read(4))), os.SEEK_CUR)  # name and extra field stand before the data
        packed = file.read(entry.compress_size)
    try:
        with pyarrow.CompressedInputStream(pyarrow.BufferReader(packed), "zstd") as stream:
            data = bytes(stream.read(entry.file_size))
    except OSError as error:
        raise zipfile.BadZipFile(f"{name}: {error}") from None
    if zlib.crc32(data) != entry.CRC:
        raise zipfile.BadZipFile(f"{name} has a wrong checksum")
    return data


def _object(value: Any, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a {type(value).__name__} where a sample should be", "copy the log again")
    return value


def _key(sample: Sample, path: Path) -> tuple[str, int]:
    item, epoch = sample.get("id"), sample.get("epoch", 1)
    if not isinstance(item, str | int) or not isinstance(epoch, int):
        raise InputError(f"{path}: a sample has no id or epoch", "name a log that `inspect eval` wrote")
    return str(item), epoch


def _values(sample: Sample) -> Iterator[tuple[str, Value]]:
    """(scorer, value) of one sample in one epoch; a scorer that gives several values by name is several."""
    scores = sample.get("scores")
    for scorer, score in (scores if isinstance(scores, dict) else {}).items():
        value = score.get("value") if isinstance(score, dict) else score
        if isinstance(value, dict):
            yield from ((f"{scorer}/{name}", _value(part)) for name, part in value.items())
        else:
            yield scorer, _value(value)


def _value(value: Any) -> Value:
    """A number, None for no score, or the text of something else."""
    if isinstance(value, str):
        return GRADES.get(value, GRADES.get(value.lower(), _parsed(value)))
    try:
        return number(value)
    except ValueError:
        return str(value)[:40]


def _parsed(text: str) -> Value:
    try:
        return number(float(text))
    except ValueError:
        return text[:40]


def _content(sample: Sample) -> str:
    """Hash of what was asked and what would be right. Messages carry ids that differ from run to run: left out."""
    asked = sample.get("input")
    if isinstance(asked, list):
        asked = [[turn.get("role"), _text(turn.get("content"))] for turn in asked if isinstance(turn, dict)]
    return sha256_of([asked, sample.get("target")])


def _text(content: Any) -> Any:
    if isinstance(content, list):
        return [part.get("text", part.get("type")) if isinstance(part, dict) else str(part) for part in content]
    return content


def _notes(path: Path, header: dict[str, Any]) -> list[str]:
    status = header.get("status")
    return [f"the log {path.name} says status {status}, not success"] if status not in (None, "success") else []
