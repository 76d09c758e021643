"""Answers with a form: JSON documents and tool calls."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from harness.core.errors import InputError, RatchetError
from harness.core.paths import read_json
from harness.core.records import Score
from harness.evalset import Evalset, Item, ToolCall
from harness.evalset.metric import Metric
from harness.evaluate.answer import Answer
from harness.evaluate.scorers.base import EXPLAINED, Options, Scorer, folded, json_of, options_of, yes_no

TAGGED_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


class SchemaOptions(Options):
    file: str = ""


def json_schema(evalset: Evalset, metric: Metric) -> Scorer:
    """1 if the answer's JSON is valid by the item's `json_schema`, else by the schema in options.file (jsonschema)."""
    file = options_of(SchemaOptions, metric).file
    shared = _schema_file(evalset.folder, file) if file else None
    validators: dict[str, Any] = {}

    def score(item: Item, answer: Answer) -> Score:
        schema = item.other("json_schema") or shared
        if schema is None:
            raise ValueError("neither the item (json_schema) nor options.file gives a schema")
        key = json.dumps(schema, sort_keys=True)
        if key not in validators:
            validators[key] = validator_of(schema)
        try:
            value = json_of(answer.text)
        except ValueError as error:
            return yes_no(False, str(error))
        problem = next(iter(validators[key].iter_errors(value)), None)
        return yes_no(problem is None, f"{problem.json_path}: {problem.message}" if problem else "")

    return score


def _schema_file(folder: Path, file: str) -> Any:
    if Path(file).name != file:
        raise InputError(f"options.file: {file!r} is not a file of the evalset's folder", "put it beside evalset.yaml")
    try:
        schema = read_json(folder / file)
        validator_of(schema)
    except RatchetError as error:
        raise InputError(f"options.file: {error.problem}", "give a JSON Schema") from None
    except ValueError as error:
        raise InputError(f"options.file: {error}", "correct the schema") from None
    return schema


def validator_of(schema: Any) -> Any:
    """A validator that fetches nothing; ValueError for what is no schema."""
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for
    from referencing.jsonschema import EMPTY_REGISTRY

    kind = validator_for(schema)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"not a JSON Schema ({error.message})") from None
    return kind(schema, registry=EMPTY_REGISTRY)


class FieldOptions(Options):
    fields: tuple[str, ...] = ()
    tolerance: float = 0.0


def json_fields(evalset: Evalset, metric: Metric) -> Scorer:
    """Share of the gold document's fields that the answer's JSON holds with the same value; more fields do no harm.

    Fields are leaves, named by their path (`address.city`, `lines.0.price`); `fields` chooses some. Texts are compared
    folded, numbers within `tolerance`. The nearest gold document counts.
    """
    options = options_of(FieldOptions, metric)

    def share(gold: dict[str, Any], said: dict[str, Any]) -> tuple[float, str]:
        names = options.fields or list(gold)
        wrong = [name for name in names if name not in said or not _same(gold.get(name), said[name], options.tolerance)]
        return 1 - len(wrong) / len(names), f"not matched: {', '.join(wrong)}" if wrong else ""

    def score(item: Item, answer: Answer) -> Score:
        golds = [dict(_leaves(json.loads(gold))) for gold in item.gold]
        try:
            said = dict(_leaves(json_of(answer.text)))
        except ValueError as error:
            return yes_no(False, str(error))
        value, explanation = max((share(gold, said) for gold in golds), key=lambda pair: pair[0])
        return Score(value=value, explanation=explanation[:EXPLAINED])

    return score


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if pairs is None or not value:
        yield path, value
        return
    for key, inner in pairs:
        yield from _leaves(inner, f"{path}.{key}" if path else str(key))


def _same(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return abs(a - b) <= tolerance
    return folded(a) == folded(b) if isinstance(a, str) and isinstance(b, str) else bool(a == b)


class CallOptions(Options):
    arguments: Literal["exact", "subset", "ignore"] = "exact"
    ordered: bool = False


def tool_call(evalset: Evalset, metric: Metric) -> Scorer:
    """1 if the answer makes the expected calls and no others: same names, same arguments.

    `arguments: subset` lets a call have more than the expected arguments, `ignore` looks at names only. Where the
    server parsed no calls, calls written in the text are read: `<tool_call>{"name", "arguments"}</tool_call>`, or one
    JSON object or list.
    """
    options = options_of(CallOptions, metric)

    def matches(wanted: ToolCall, made: dict[str, Any]) -> bool:
        if wanted.name != made["name"] or options.arguments == "ignore":
            return bool(wanted.name == made["name"])
        given = made["arguments"]
        if not isinstance(given, dict):
            return False
        enough = all(name in given and _same(value, given[name], 0.0) for name, value in wanted.arguments.items())
        return enough and (options.arguments == "subset" or set(given) == set(wanted.arguments))

    def score(item: Item, answer: Answer) -> Score:
        made = list(answer.tool_calls) or calls_in(answer.text)
        extracted = json.dumps(made, ensure_ascii=False)[:EXPLAINED] if made else None
        if len(made) != len(item.tool_calls):
            return yes_no(False, f"{len(made)} calls instead of {len(item.tool_calls)}", extracted)
        right = _all_paired(item.tool_calls, made, matches, options.ordered)
        return yes_no(right, "" if right else "name or arguments differ", extracted)

    return score


def _all_paired(
    wanted: list[ToolCall],
    made: list[dict[str, Any]],
    matches: Callable[[ToolCall, dict[str, Any]], bool],
    ordered: bool,
) -> bool:
    """Whether every call has a partner of its own. With subsets a greedy choice can be wrong, so all are tried."""
    if ordered:
        return all(matches(one, other) for one, other in zip(wanted, made, strict=True))
    if not wanted:
        return True
    return any(
        matches(wanted[0], other) and _all_paired(wanted[1:], made[:place] + made[place + 1 :], matches, ordered)
        for place, other in enumerate(made)
    )


def calls_in(text: str) -> list[dict[str, Any]]:
    """Tool calls written in a text, or none."""
    try:
        found = [json.loads(inner) for inner in TAGGED_CALL.findall(text)] or json_of(text)
    except ValueError:
        return []
    calls = found if isinstance(found, list) else [found]
    if not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
        return []
    return [{"name": call["name"], "arguments": call.get("arguments", {})} for call in calls]
