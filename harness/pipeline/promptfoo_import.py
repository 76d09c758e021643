"""promptfoo's YAML: prompts with {{vars}}, tests with vars and assertions. One item per prompt and test."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from harness.core.errors import InputError
from harness.data import turns_of
from harness.evalset import Assertion
from harness.evaluate.scorers.assertions import why_not
from harness.yaml_lines import read_yaml

FILE = "file://"
READ = {"prompts", "tests", "defaultTest", "description"}


def promptfoo_items(source: Path, left_out: list[str]) -> list[dict[str, Any]]:
    """Items with `assert`; what has no counterpart here is counted in `left_out`. Raises InputError."""
    config, _ = read_yaml(source)
    tests, default = config.get("tests"), config.get("defaultTest") or {}
    if not isinstance(tests, list) or not isinstance(default, dict):
        raise InputError(
            f"{source}: tests is not a list", "write the tests into the file; tests in other files are not read"
        )
    prompts = [_prompt(source, prompt) for prompt in config.get("prompts") or []]
    if not prompts:
        raise InputError(f"{source}: prompts is missing", "name at least one")
    unread = sorted(set(config) - READ)
    if unread:
        left_out.append(f"keys {', '.join(unread)}")
    items: list[dict[str, Any]] = []
    lost: Counter[str] = Counter()
    for number, test in enumerate(tests, 1):
        if not isinstance(test, dict):
            lost["tests in other files"] += 1
            continue
        values = {**(default.get("vars") or {}), **(test.get("vars") or {})}
        checks = _assertions([*(default.get("assert") or []), *(test.get("assert") or [])], values, source, lost)
        if any(isinstance(value, list) for value in values.values()):
            lost["tests whose vars are lists"] += 1
        elif not checks:
            lost["tests without an assertion that could be taken over"] += 1
        else:
            items += [_item(number, place, prompt, values, checks, source) for place, prompt in enumerate(prompts, 1)]
    left_out += [f"{count} {what}" for what, count in sorted(lost.items())]
    for item in items:  # several prompts of one test are not independent
        item["cluster"] = item["id"].split("-p")[0]
    return items


def _prompt(source: Path, prompt: Any) -> str:
    text = prompt.get("raw") or prompt.get("id") if isinstance(prompt, dict) else prompt
    if not isinstance(text, str):
        raise InputError(f"{source}: a prompt is no text", "write it as text, or as file://NAME")
    if not text.startswith(FILE):
        return text
    path = source.parent / text.removeprefix(FILE)
    if not path.resolve().is_relative_to(source.parent.resolve()) or path.suffix not in (".txt", ".json", ".md"):
        raise InputError(
            f"{source}: prompt {text!r} cannot be read", "put a .txt or .json file beside the configuration"
        )
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error})", "check the prompt's file name") from None


def _item(
    number: int, place: int, prompt: str, values: dict[str, Any], checks: list[dict[str, Any]], source: Path
) -> dict[str, Any]:
    text = _rendered(prompt, values, source)
    found: str | list[Any] = text
    if text.lstrip().startswith("["):  # promptfoo's chat form
        try:
            found = json.loads(text)
            turns_of(found, "user")
        except ValueError as error:
            raise InputError(f"{source}: prompt {place} is no list of turns ({error})", "correct the prompt") from None
    return {"id": f"t{number:04}-p{place}", "prompt": found, "vars": values, "assert": checks}


def _rendered(text: str, values: dict[str, Any], source: Path) -> str:
    """promptfoo renders with Nunjucks, whose common part Jinja shares."""
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        return ImmutableSandboxedEnvironment(undefined=StrictUndefined).from_string(text).render(values)
    except TemplateError as error:
        raise InputError(f"{source}: {{{{…}}}} cannot be filled in ({error})", "give the var in every test") from None


def _assertions(raw: list[Any], values: dict[str, Any], source: Path, lost: Counter[str]) -> list[dict[str, Any]]:
    found = []
    for one in raw:
        kind = str(one.get("type") if isinstance(one, dict) else one)
        value = one.get("value") if isinstance(one, dict) else None
        if isinstance(value, str):
            value = _rendered(value, values, source)
        weight = one.get("weight", 1) if isinstance(one, dict) else 1
        usable = isinstance(weight, int | float) and weight > 0
        if not usable or why_not(Assertion(type=kind, value=value, weight=weight)):
            lost[f"assertions of type {kind}"] += 1
            continue
        found.append({"type": kind, "value": value, "weight": weight})
    return found
