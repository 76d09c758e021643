"""Pairs of answers that are worth a person's time, and why the others are not. Pure."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from harness.core.errors import InputError
from harness.core.fingerprint import short_id
from harness.core.rating import Answer, Pair
from harness.core.records import Subject

REFUSALS = ("missing", "truncated", "names_itself", "identical", "near_identical")

# Share of words in common from which a rater compares typing, not answers: one word in about 33 differs.
NEAR_IDENTICAL = 0.97

_WORDS = re.compile(r"\w+|[^\w\s.,;:!'\"]")  # '?', '-', emoji count: they change what a sentence says
_ASSISTANTS = (
    "chatgpt|gpt|claude|gemini|gemma|llama|mistral|mixtral|qwen|deepseek|grok|olmo|smollm|"
    "openai|anthropic|deepmind|alibaba cloud|meta ai|mistral ai|xai"
)
_SELF_NAMING = re.compile(
    rf"\b(?:i am|i'm|i’m|my name is|call me|this is|as|trained by|developed by|created by|made by)"
    rf"\s+(?:\w+\s+){{0,2}}(?:{_ASSISTANTS})\b",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class PoolItem:
    """One prompt that the subjects answered. `prompt` is chat turns, the last by the user.

    `disagreement`, 0 or more, is what somebody's judge or log-probs say of how informative a vote on it is.
    """

    item_id: str
    cluster: str
    prompt: list[dict[str, str]]
    disagreement: float | None = None


def make_pairs(
    items: Iterable[PoolItem],
    answers_a: Mapping[str, Answer | None],
    answers_b: Mapping[str, Answer | None],
    subjects: tuple[Subject, Subject],
    seed: int,
) -> tuple[list[Pair], dict[str, int]]:
    """Pairs worth a person's time, in an order drawn from `seed`, and how many were refused for each of REFUSALS.

    Answers are looked up by item id; None, absent and empty answers count as missing. Pure. Raises InputError for an
    item id that occurs twice.
    """
    return combine(items, [answers_a, answers_b], subjects, seed)


def combine(
    items: Iterable[PoolItem],
    answers: Sequence[Mapping[str, Answer | None]],
    subjects: Sequence[Subject],
    seed: int,
    chosen: Sequence[tuple[int, int]] | None = None,
) -> tuple[list[Pair], dict[str, int]]:
    """`make_pairs` for two or more subjects: each item once for each of the `chosen` places of two subjects (all)."""
    refused = Counter(dict.fromkeys(REFUSALS, 0))
    pairs: dict[str, Pair] = {}
    seen: set[str] = set()
    of_two = list(itertools.combinations(range(len(subjects)), 2)) if chosen is None else chosen
    for item in items:
        if item.item_id in seen:
            raise InputError(f"item {item.item_id!r} occurs twice in the pool", "give every item an id of its own")
        seen.add(item.item_id)
        for first, second in of_two:
            a, b = answers[first].get(item.item_id), answers[second].get(item.item_id)
            reason = refusal(a, b, subjects)
            if reason or a is None or b is None:
                refused[reason or "missing"] += 1
                continue
            pair_id = short_id("pair", [item.item_id, item.prompt, a.model_dump(), b.model_dump()])
            pairs[pair_id] = Pair(
                pair_id=pair_id, item_id=item.item_id, cluster=item.cluster, prompt=item.prompt, a=a, b=b
            )
    order = sorted(pairs, key=lambda pair_id: draw(seed, "order", pair_id))
    return [pairs[pair_id] for pair_id in order], dict(refused)


def drafts(
    items: Iterable[PoolItem], answers: Mapping[str, Answer | None], subject: Subject, seed: int
) -> tuple[list[Pair], dict[str, int]]:
    """Pairs of kind 'write': each answer as a draft, standing in a and in b, and what was refused, as `make_pairs`."""
    refused = Counter(dict.fromkeys(REFUSALS, 0))
    pairs: dict[str, Pair] = {}
    for item in items:
        answer = answers.get(item.item_id)
        reason = unusable(answer, [subject])
        if reason or answer is None:
            refused[reason or "missing"] += 1
            continue
        pair_id = short_id("pair", [item.item_id, item.prompt, answer.model_dump(), "draft"])
        pairs[pair_id] = Pair(
            pair_id=pair_id, item_id=item.item_id, cluster=item.cluster, prompt=item.prompt, a=answer, b=answer
        )
    order = sorted(pairs, key=lambda pair_id: draw(seed, "order", pair_id))
    return [pairs[pair_id] for pair_id in order], dict(refused)


def refusal(a: Answer | None, b: Answer | None, subjects: Sequence[Subject]) -> str | None:
    """The first of REFUSALS that applies, or None."""
    reasons = {unusable(a, subjects), unusable(b, subjects)}
    found = next((reason for reason in REFUSALS if reason in reasons), None)
    if found or a is None or b is None:
        return found
    if _folded(a.text) == _folded(b.text):
        return "identical"
    words_a, words_b = (_WORDS.findall(answer.text.casefold()) for answer in (a, b))
    if difflib.SequenceMatcher(None, words_a, words_b, autojunk=False).ratio() >= NEAR_IDENTICAL:
        return "near_identical"
    return None


def unusable(answer: Answer | None, subjects: Sequence[Subject]) -> str | None:
    """Why one answer is not worth showing, whatever stands beside it: one of REFUSALS, or None."""
    if answer is None or not answer.text.strip():
        return "missing"
    if answer.finish_reason == "length":
        return "truncated"
    return "names_itself" if _names_itself(answer.text, subjects) else None


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _names_itself(text: str, subjects: Sequence[Subject]) -> bool:
    """Whether an answer tells who wrote it: by an assistant's name, or by a label that is no ordinary word."""
    if _SELF_NAMING.search(text):
        return True
    names = {name for subject in subjects for name in (subject.label, subject.model, subject.run_id) if name}
    telling = [re.escape(name) for name in names if re.search(r"[0-9@_/-]", name) and len(name) > 3]
    return bool(telling) and re.search(rf"(?<!\w)(?:{'|'.join(telling)})(?!\w)", text, re.IGNORECASE) is not None


def draw(*parts: object) -> bytes:
    """32 bytes that anyone can draw again from the same parts."""
    return hashlib.sha256(json.dumps(parts).encode()).digest()


def share(*parts: object) -> float:
    """A number from 0 up to 1, evenly spread over different `parts`, the same for the same ones."""
    return int.from_bytes(draw(*parts)[:7], "big") / 2**56
