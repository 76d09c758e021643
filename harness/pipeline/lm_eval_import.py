"""A folder of lm-eval tasks over local files, as an evalset of kind lm_eval: copied, with the data it reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from harness.core.errors import InputError
from harness.evalset import EVALSETS
from harness.evalset.write import definition_text

LOADERS = ("json", "csv", "text", "parquet", "arrow")  # what `datasets` reads local files with


class _Loader(yaml.SafeLoader):
    """lm-eval's YAML has tags of its own (`!function module.name`): kept as text."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: f"!{suffix} {getattr(node, 'value', '')}")


def lm_eval_files(source: Path, name: str) -> tuple[dict[str, str | bytes], list[str]]:
    """(file name -> content of the evalset's folder, what was left out). Raises InputError."""
    folder = source if source.is_dir() else source.parent
    paths = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]) if source.is_dir() else [source]
    files: dict[str, str | bytes] = {}
    left_out, tasks, data = [], [], []
    for path in paths:
        if path.name == "evalset.yaml":
            continue
        text, task = _task(path)
        if isinstance(task.get("task"), str):
            tasks.append(task["task"])
        for file in _data_files(task.get("dataset_kwargs")):
            found = next((one for one in (Path(file), folder / file) if one.is_file()), None)
            if found is None:
                raise InputError(
                    f"{path}: data file {file!r} does not exist", "paths are relative to the current folder"
                )
            if files.get(found.name, found.read_bytes()) != found.read_bytes():
                raise InputError(f"{path}: two data files are named {found.name!r}", "rename one")
            files[found.name] = found.read_bytes()
            data.append(found.name)
            text = re.sub(rf"(?<![\w./-]){re.escape(file)}(?![\w./-])", str(EVALSETS / name / found.name), text)
        if task.get("dataset_path") not in (*LOADERS, None):
            left_out.append(
                f"the data of {path.name}: {task['dataset_path']} must lie in the local cache of `datasets`"
            )
        files[path.name] = text
    if not tasks:
        raise InputError(f"{source} has no lm-eval task", "give a YAML file with `task: NAME`, or its folder")
    for path in sorted(folder.glob("*.py")) if source.is_dir() else []:
        files[path.name] = path.read_bytes()
    if not source.is_dir() and any("!function" in str(text) or "include:" in str(text) for text in files.values()):
        left_out.append("files that the task includes: import its folder instead")
    files["evalset.yaml"] = definition_text(_definition(name, source, tasks, data))
    files["README.md"] = f"# {name}\n\nlm-eval tasks {', '.join(tasks)}, imported from `{source.name}`.\n"
    return files, left_out


def _definition(name: str, source: Path, tasks: list[str], data: list[str]) -> dict[str, Any]:
    lines = next((file for file in data if file.endswith(".jsonl")), None)
    return {
        "name": name,
        "version": 1,
        "description": f"lm-eval tasks, imported from {source.name}.",
        "licence": "unknown",
        "kind": "lm_eval",
        **({"items": lines} if lines else {}),
        "tasks": tasks,
    }


def _task(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        task = _Loader(text).get_single_data()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist", "give an lm-eval task's YAML file or folder") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read ({error})", "correct the file") from None
    if not isinstance(task, dict):
        raise InputError(f"{path} is no lm-eval task", "it needs keys and values")
    return text, task


def _data_files(kwargs: Any) -> Iterator[str]:
    found = kwargs.get("data_files") if isinstance(kwargs, dict) else None
    values = found.values() if isinstance(found, dict) else [found]
    for value in values:
        yield from ([value] if isinstance(value, str) else value or [])
