"""Tagged failures on their way back: into an evalset of their own, or into training data. Never from `release`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import InputError
from harness.core.fingerprint import sha256_of, short_id
from harness.core.paths import Lab, write_atomic
from harness.data import read_json_lines
from harness.evalset import Evalset, Item
from harness.evalset.write import create, definition_text, item_lines
from harness.evaluate.talk import with_contexts
from harness.pipeline.evalsets import prove
from harness.pipeline.failures import SEALED, evalset_of
from harness.pipeline.run import context_of
from harness.pipeline.tag_events import tags_of
from harness.yaml_lines import read_yaml

DEV_SHARE = 1 / 3  # of the clusters: the rest decides
README = """# {name}

Failures tagged `{tag}` of {source}, made by `ratchet errors export`. Its items were looked at when they were tagged: it
shows whether these failures are mended, not how good an adapter is in general.
"""


@dataclass(frozen=True)
class Exported:
    """What was written where. `left_out`: item id -> why it could not go along."""

    path: Path
    items: int
    left_out: dict[str, str]


def to_evalset(lab: Lab, plan_or_spec: str, tag: str, name: str, evalset: str = "") -> Exported:
    """Make `evalsets/NAME` of the items that a person tagged `tag`: new ids, the source's metrics and scorers.

    Clusters stay whole and go to dev or release by hash. Raises InputError for a name that is taken, a tag that nothing
    has, and one that stands on a release item.
    """
    source, items = _tagged(lab, plan_or_spec, tag, evalset)
    raw, _ = read_yaml(source.folder / "evalset.yaml")
    description = f"Failures tagged {tag} of {source.name}@{source.version}."
    definition = {**raw, "name": name, "version": 1, "description": description}
    files: dict[str, str | bytes] = {
        path.name: path.read_bytes()
        for path in source.folder.iterdir()
        if path.is_file() and not path.name.startswith(".")
    }
    files |= {
        "evalset.yaml": definition_text(definition),
        source.definition.items: item_lines(_rows(source, items, tag)),
        "README.md": README.format(name=name, tag=tag, source=f"{source.name}@{source.version}"),
    }
    return Exported(create(name, files, prove), len(items), {})


def to_data(lab: Lab, plan_or_spec: str, tag: str, path: Path, evalset: str = "") -> Exported:
    """Write rows {prompt, completion, cluster, lineage} of the items that a person tagged `tag`: the first gold answer.

    Left out are items without a gold answer and those that go on after it. Raises InputError as `to_evalset`, and for a
    file that is there already.
    """
    if path.suffix != ".jsonl":
        raise InputError(f"{path} is no .jsonl file", "name one")
    if path.exists():
        raise InputError(f"{path} exists already", "choose another name; data that runs were trained on never changes")
    source, items = _tagged(lab, plan_or_spec, tag, evalset)
    left_out = {item.id: "no gold answer" for item in items if not item.gold}
    left_out |= {item.id: "has follow-ups" for item in items if item.follow_ups}
    rows = [_training_row(source, item, tag) for item in items if item.id not in left_out]
    if not rows:
        raise InputError(f"none of the {len(items)} items tagged {tag!r} can be trained on", "they need gold answers")
    write_atomic(path, item_lines(rows).encode())
    return Exported(path, len(rows), left_out)


def _tagged(lab: Lab, plan_or_spec: str, tag: str, evalset: str) -> tuple[Evalset, list[Item]]:
    """The evalset and its items that a person tagged so."""
    source = evalset_of(context_of(lab, plan_or_spec), evalset)
    tags = tags_of(lab, source.sha256)
    items = [item for item in source.items if tags.get(item.id, {}).get(tag)]
    if not items:
        known = sorted({name for own in tags.values() for name, person in own.items() if person})
        raise InputError(
            f"no item of {source.name}@{source.version} is tagged {tag!r}", f"its tags: {', '.join(known) or 'none'}"
        )
    sealed = [item.id for item in items if item.split == SEALED]
    if sealed:
        raise InputError(
            f"{len(sealed)} of the {len(items)} items tagged {tag!r} are of release (first {sealed[0]!r})",
            "release is never exported: take the tag off them",
        )
    return source, items


def _rows(source: Evalset, items: Sequence[Item], tag: str) -> list[dict[str, Any]]:
    """Items as they were written, with new ids and splits."""
    written = {row["id"]: row for _, row in read_json_lines(source.folder / source.definition.items)}
    clusters = sorted({source.cluster_of(item) for item in items}, key=lambda name: sha256_of([source.name, name]))
    dev = set(clusters[: int(len(clusters) * DEV_SHARE)])
    return [
        {
            **written[item.id],
            "id": _new_id(source, item),
            "split": "dev" if source.cluster_of(item) in dev else "release",
            "lineage": _lineage(source, item, tag),
        }
        for item in items
    ]


def _training_row(source: Evalset, item: Item, tag: str) -> dict[str, Any]:
    turns = with_contexts(item)
    if source.definition.system:
        turns = [{"role": "system", "content": source.definition.system}, *turns]
    plain = len(turns) == 1 and turns[0]["role"] == "user"
    return {
        "id": _new_id(source, item),
        "prompt": turns[0]["content"] if plain else turns,
        "completion": item.gold[0],
        "cluster": source.cluster_of(item),
        "lineage": _lineage(source, item, tag),
    }


def _new_id(source: Evalset, item: Item) -> str:
    return short_id("f", [source.sha256, item.id])


def _lineage(source: Evalset, item: Item, tag: str) -> dict[str, str]:
    """Where an exported row comes from."""
    return {"evalset": f"{source.name}@{source.version}", "sha256": source.sha256, "item_id": item.id, "tag": tag}
