"""Which tool made this? A path in, its results out."""

from __future__ import annotations

from pathlib import Path

from harness.core.errors import InputError
from harness.data import read_json_lines
from harness.outside import inspect_log, lm_eval, table
from harness.outside.results import Results

UNDERSTOOD = "give lm-eval's --log_samples folder, an Inspect log (.eval, .json), or a .jsonl or .csv of id and score"


def read(path: Path, cluster: str | None = None) -> Results:
    """Scores per item of a folder or file; `cluster` names the field that groups items.

    Raises InputError naming file and line for what cannot be read, or when a folder holds more than one result.
    """
    if path.is_dir():
        return _folder(path, cluster)
    if path.suffix == ".eval" or path.suffix == ".json":
        return inspect_log.read_log(path, cluster)
    if path.suffix == ".jsonl" and _is_lm_eval(path):
        return lm_eval.read_files([path], cluster)
    if path.suffix in (".jsonl", ".csv"):
        return table.read_table(path, cluster)
    raise InputError(f"{path} is {'no kind of result' if path.exists() else 'not there'}", UNDERSTOOD)


def _is_lm_eval(path: Path) -> bool:
    _, first = next(read_json_lines(path, finite=False), (0, {}))
    return lm_eval.is_sample(first)


def _folder(folder: Path, cluster: str | None) -> Results:
    places = sorted({path.parent for path in folder.rglob("samples_*.jsonl")})
    if len(places) > 1:
        names = ", ".join(str(place.relative_to(folder)) for place in places)
        raise InputError(f"{folder} holds samples of {len(places)} models: {names}", "name the folder of one")
    if places:
        return lm_eval.read_folder(places[0], cluster)
    logs = sorted([*folder.glob("*.eval"), *folder.glob("*.json")])
    if len(logs) == 1:
        return inspect_log.read_log(logs[0], cluster)
    if logs:
        raise InputError(f"{folder} holds {len(logs)} logs: {', '.join(log.name for log in logs)}", "name one file")
    raise InputError(f"{folder} holds no results", UNDERSTOOD)
