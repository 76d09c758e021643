"""What an item is, whatever it is called and wherever it stands: two hashes of its content.

`asked` covers what a model is asked; who has seen that has seen the item, also after its gold answer was corrected. So
burnt items are known by it. `whole` adds what is held to be right: the same prompts with other right answers (a shipped
example: `aac` and `aac_style`) measure something else. Looks are counted by it.

Neither knows the id, the split, the cluster, tags, or the metrics of the evalset: moving an item, naming it anew or
scoring it otherwise makes it no new item. Case, spacing and Unicode forms do not either.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

from harness.core.fingerprint import sha256_of
from harness.evalset import Item

LENGTH = 32  # hex digits: 128 bits, so that a register of many items stays small
# Of an lm-eval document of our own: where it belongs, and what is right.
PLACE = frozenset({"id", "split", "cluster", "kind"})
RIGHT = frozenset({"gold"})


class Content(NamedTuple):
    asked: str
    whole: str


def of_item(item: Item) -> Content:
    """The content of an item of a business evalset."""
    asked = [[(turn["role"], turn["content"]) for turn in item.turns], item.follow_ups, item.contexts, item.tools]
    calls = [call.model_dump(mode="json") for call in item.tool_calls]
    checks = [check.model_dump(mode="json") for check in item.assertions]
    return _content(asked, [item.gold, calls, checks])


def of_document(document: Mapping[str, Any]) -> Content:
    """The content of a document of an lm-eval task. Columns not known as right answers are asked."""
    known = {key: value for key, value in document.items() if key not in PLACE and value is not None}
    asked = {key: value for key, value in known.items() if key not in RIGHT}
    return _content(asked, {key: value for key, value in known.items() if key in RIGHT})


def of_text(*parts: str) -> str:
    """The hash of something that is only text: a pair of a campaign."""
    return sha256_of([_plain(part) for part in parts])[:LENGTH]


def _content(asked: Any, right: Any) -> Content:
    question = sha256_of(_plain(asked))[:LENGTH]
    return Content(question, sha256_of([question, _plain(right)])[:LENGTH])


def _plain(value: Any) -> Any:
    """Folded text, within lists and mappings; whatever JSON does not know as text."""
    if isinstance(value, str):
        return " ".join(unicodedata.normalize("NFKC", value).casefold().split())
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    plain = value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))
    return value if plain else str(value)
