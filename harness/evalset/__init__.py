"""Evalsets: a folder with evalset.yaml, items.jsonl and, where the shipped scorers do not do, scorer.py.

`load` checks every line; whether gold answers get full marks is checked by harness.evaluate.scorers.self_check.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.core.errors import InputError
from harness.core.fingerprint import file_sha256, sha256_of
from harness.data import Turn, read_json_lines, turns_of
from harness.evalset.metric import Metric
from harness.yaml_lines import read_yaml

SPLITS = ("tune", "dev", "release")
OPEN_SPLITS = ("tune", "dev")  # whose items anyone may read; release is sealed
EVALSETS = Path("evalsets")
NO_CONTENT = ("README.md", "evalset.yaml")  # the latter counts by its values, so that its comments may change


class Reasoning(BaseModel):
    """What a model puts around its thinking, which is no part of its answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    start: str = "<think>"
    end: Annotated[str, Field(min_length=1)] = "</think>"


class ToolCall(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    arguments: dict[str, Any] = {}


class Assertion(BaseModel):
    """One check of a weighted set; the types are those of harness.evaluate.scorers.assertions."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    type: str
    value: Any = None
    weight: Annotated[float, Field(gt=0)] = 1.0


class Item(BaseModel):
    """One question, with what its scorers need. Unknown fields are kept for own scorers and left alone."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)
    id: Annotated[str, Field(min_length=1)]
    prompt: str | list[dict[str, str]]
    split: Literal["tune", "dev", "release"] = "release"
    gold: list[str] = []
    wrong: list[str] = []
    tags: list[str] = []
    follow_ups: list[str] = Field([], description="user turns asked after the answer; the last answer is scored")
    contexts: list[str] = Field([], description="frozen passages, put before the question or where {contexts} stands")
    tools: list[dict[str, Any]] = Field([], description="OpenAI's schema, sent with the request")
    tool_calls: list[ToolCall] = Field([], description="the calls that are expected")
    assertions: list[Assertion] = Field([], alias="assert")

    @property
    def turns(self) -> list[Turn]:
        return turns_of(self.prompt, "user")

    def other(self, field: str) -> Any:
        return (self.model_extra or {}).get(field)

    def has(self, field: str) -> bool:
        """Whether a field, by its name in items.jsonl, holds anything."""
        own = {"assert": self.assertions, "gold": self.gold, "contexts": self.contexts, "tool_calls": self.tool_calls}
        return bool(own[field] if field in own else self.other(field))


class Definition(BaseModel):
    """evalset.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    version: str | int
    description: str = ""
    licence: str
    kind: Literal["business", "lm_eval"] = "business"
    tasks: list[str] = []
    items: str = "items.jsonl"
    cluster: str | None = Field(None, description="item field that groups items which are not independent")
    system: str = Field("", description="system prompt before every item")
    sampling: dict[str, Any] = {"temperature": 0.0, "max_tokens": 256}
    samples: int = Field(1, ge=1, le=1000, description="answers per item, each a request with a seed of its own")
    reasoning: Reasoning | None = None
    metrics: dict[str, Metric] = {}

    @model_validator(mode="after")
    def _samples_differ(self) -> Definition:
        if self.samples > 1 and self.sampling.get("temperature") == 0:
            raise ValueError(f"samples: {self.samples} at temperature 0 are one answer {self.samples} times")
        if "n" in self.sampling:
            raise ValueError("sampling.n is `samples` here: each answer is a request of its own")
        for name, metric in self.metrics.items():
            if metric.k and metric.k > self.samples:
                raise ValueError(f"metrics.{name}.k is {metric.k}, but samples is {self.samples}")
            if self.samples > 1 and metric.scorer == "macro_f1":
                raise ValueError(f"metrics.{name}: macro_f1 reads one answer per item, but samples is {self.samples}")
        return self


class Evalset(BaseModel):
    """A definition with its items. `sha256` covers everything that changes a score."""

    model_config = ConfigDict(frozen=True)
    folder: Path
    definition: Definition
    items: list[Item]
    sha256: str

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def version(self) -> str:
        return str(self.definition.version)

    def cluster_of(self, item: Item) -> str:
        """The item's group; an item without one stands alone."""
        value = item.other(self.definition.cluster) if self.definition.cluster else None
        return item.id if value is None else str(value)


def find(name: str) -> Path:
    """The folder of an evalset: a path, or a name under `evalsets/`."""
    for folder in (Path(name), EVALSETS / name):
        if (folder / "evalset.yaml").is_file():
            return folder
    here = sorted(path.parent.name for path in EVALSETS.glob("*/evalset.yaml"))
    raise InputError(f"evalset {name!r} does not exist", f"known here: {', '.join(here) or 'none'}")


def load(name: str) -> Evalset:
    """Read and validate one evalset; InputError names file, line and key."""
    folder = find(name)
    definition = read_definition(folder / "evalset.yaml")
    items = _items(folder / definition.items) if definition.kind == "business" else []
    if definition.cluster:
        _check_clusters(folder / definition.items, definition.cluster, items)
    return Evalset(folder=folder, definition=definition, items=items, sha256=fingerprint(folder, definition))


def fingerprint(folder: Path, definition: Definition) -> str:
    """Hash of what changes a score: every file of the folder, metrics, sampling. Not README and description."""
    parts = {
        path.name: file_sha256(path)
        for path in folder.iterdir()
        if path.is_file() and path.name not in NO_CONTENT and not path.name.startswith(".")
    }
    return sha256_of([definition.model_dump(mode="json", exclude={"description"}), parts])


def read_definition(path: Path) -> Definition:
    """The definition in one evalset.yaml; InputError names the line and the key."""
    raw, lines = read_yaml(path)
    try:
        definition = Definition.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        problem = "unknown key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        fix = "correct it" if first["type"] == "value_error" else f"keys here: {', '.join(_keys(first['loc']))}"
        where = f"{key}: " if key else ""
        raise InputError(f"{lines.at(*key.split('.'))}: {where}{problem}", fix) from None
    if definition.kind == "business" and not definition.metrics:
        raise InputError(f"{path}: metrics is missing", "name at least one, e.g. exact: {scorer: exact}")
    for key, file in [("items", definition.items), *(("scorer", one.scorer) for one in definition.metrics.values())]:
        if Path(file).name != file:
            raise InputError(f"{path}: {key} {file!r} is not a file of this folder", "put it beside evalset.yaml")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", definition.name):
        raise InputError(f"{path}: name {definition.name!r} is not valid", "use a-z, 0-9, '_' and '-'")
    return definition


def _keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys that stand where an error is: in a metric, in `reasoning`, or at the top."""
    if len(location) > 2 and location[0] == "metrics":
        return list(Metric.model_fields)
    return list((Reasoning if location[0] == "reasoning" and len(location) > 1 else Definition).model_fields)


def _items(path: Path) -> list[Item]:
    items: dict[str, Item] = {}
    for number, row in read_json_lines(path):
        try:
            item = Item.model_validate(row)
            turns_of(item.prompt, "user")
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"][:1])
            raise InputError(f"{path}:{number}: {key}: {first['msg']}", "correct the line") from None
        except ValueError as error:
            raise InputError(f"{path}:{number}: prompt {error}", "correct the line") from None
        if item.id in items:
            raise InputError(f"{path}:{number}: id {item.id!r} stands twice", "give every item an id of its own")
        items[item.id] = item
    if not items:
        raise InputError(f"{path} has no items", "add some")
    return list(items.values())


def _check_clusters(path: Path, field: str, items: list[Item]) -> None:
    for item in items:
        if item.other(field) is None:
            raise InputError(f"{path}: item {item.id!r} has no {field!r}, the cluster field", "add it to every item")
