"""YAML with line numbers, so that an error can name the line a person must change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from harness.core.errors import InputError


class Lines:
    """Where each key of a YAML file stands."""

    def __init__(self, path: Path, root: yaml.Node | None) -> None:
        self._path = path
        self._root = root

    def at(self, *keys: str) -> str:
        """`file:line` of the deepest of `keys` that exists (dotted keys and list indices are followed)."""
        node, line = self._root, 1
        for key in keys:
            found = _child(node, str(key))
            if found is None:
                break
            line, node = found
        return f"{self._path}:{line}"


def _child(node: yaml.Node | None, key: str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key:
                return name.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
        item = node.value[int(key)]
        return item.start_mark.line + 1, item
    return None


def read_yaml(path: Path) -> tuple[dict[str, Any], Lines]:
    """A YAML mapping and its line numbers. InputError for a missing file, bad syntax, a repeated key, or no mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist", "give the path of a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error})") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_repeated_keys(path, root)
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise InputError(
            f"{path}{line}: not valid YAML ({getattr(error, 'problem', error)})", "check the line"
        ) from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected keys and values at the top level")
    return value, Lines(path, root)


def _refuse_repeated_keys(path: Path, node: yaml.Node | None) -> None:
    """PyYAML lets the last of two equal keys win silently; a spec must not lose a setting that way."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for name, value in node.value:
            if name.value in seen:
                raise InputError(f"{path}:{name.start_mark.line + 1}: key {name.value!r} stands twice", "keep one")
            seen.add(name.value)
            _refuse_repeated_keys(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(path, item)
