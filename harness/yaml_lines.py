"""YAML with line numbers, so that an error can name the line a person must change."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from harness.core.errors import InputError
from harness.core.fingerprint import canonical


class _Loader(yaml.SafeLoader):
    """PyYAML follows YAML 1.1, where 2e-4 is text; people mean the number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


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
    """A YAML mapping and its line numbers.

    InputError for a missing file, bad syntax, a repeated key, no mapping, or a value that JSON has no form for (dates,
    infinities): what is read here is hashed and handed on as JSON.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist", "give the path of a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error})", "give a YAML file, saved as UTF-8") from None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        _refuse_odd_nodes(path, root, loader, {})
        value = loader.construct_document(root) if root else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise InputError(
            f"{path}{line}: not valid YAML ({getattr(error, 'problem', error)})", "check the line"
        ) from None
    except RecursionError:
        raise InputError(f"{path}: values are nested too deeply", "nest fewer") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected keys and values at the top level", "write `key: value` lines")
    return value, Lines(path, root)


def _refuse_odd_nodes(path: Path, node: yaml.Node | None, loader: _Loader, done: dict[int, bool]) -> None:
    """Refuse keys that stand twice (PyYAML lets the last one win) or are no text, and scalars without a JSON form.

    `done` tells nodes already looked at from those being looked at: an alias may repeat a node, or lead back into it.
    """
    if node is None or done.get(id(node)):
        return
    where = f"{path}:{node.start_mark.line + 1}"
    if id(node) in done:
        raise InputError(f"{where}: the value contains itself", "write it out")
    done[id(node)] = False
    if isinstance(node, yaml.MappingNode):
        _refuse_odd_keys(path, node)
        for _, value in node.value:
            _refuse_odd_nodes(path, value, loader, done)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_odd_nodes(path, item, loader, done)
    elif isinstance(node, yaml.ScalarNode):
        try:
            canonical(loader.construct_object(node)).encode()
        except (TypeError, ValueError):
            raise InputError(
                f"{where}: {node.value!r} is no text or number", "put it in quotes if it is text"
            ) from None
    done[id(node)] = True


def _refuse_odd_keys(path: Path, node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for name, _ in node.value:
        line = f"{path}:{name.start_mark.line + 1}"
        if not isinstance(name, yaml.ScalarNode):
            raise InputError(f"{line}: a key is no text", "write `key: value`")
        if name.value in seen:
            raise InputError(f"{line}: key {name.value!r} stands twice", "keep one")
        seen.add(name.value)
