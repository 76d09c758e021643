"""A judge proposes what is wrong with each failed item; nothing counts until a person confirms it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import EngineError
from harness.core.paths import Lab
from harness.error_analysis import Difference
from harness.evaluate.judge.prompts import tagging
from harness.evaluate.judge.verdicts import read_tags
from harness.judges import JUDGES, RATER_PREFIX, Judge, load_judge
from harness.pipeline.failures import Question, failures, suggest_tags
from harness.pipeline.subjects import key_headers
from harness.pipeline.tag_events import tags_of
from harness.progress import Progress
from serve.client import Ask, ask_many

FAILED = ("broke", "failed")


@dataclass(frozen=True)
class Suggested:
    """How many tags were proposed, for how many failed items, and how many replies could not be read."""

    tags: int
    items: int
    unread: int


def suggest(
    lab: Lab, plan_or_spec: str, question: Question, name: str, progress: Progress, judges: Path = JUDGES
) -> Suggested:
    """Ask the judge `name` about every failed item of the question's splits. Again proposes nothing twice.

    Raises InputError for an unknown judge or sealed items, EngineError when the judge answers nothing at all.
    """
    judge = load_judge(name, judges)
    found = failures(lab, plan_or_spec, question)
    items = [item for item in found.items if item.outcome in FAILED]
    known = sorted({tag for tags in tags_of(lab, found.evalset_sha256).values() for tag in tags})
    said: dict[str, list[tuple[str, str]]] = {}
    unread = []
    done = itertools.count(1)
    with progress.bar(f"{judge.name} on {len(items)} failures", len(items)) as advance:
        replies = ask_many(
            judge.base_url,
            [_ask(judge, item, known) for item in items],
            concurrency=judge.concurrency,
            headers=key_headers(judge.endpoint),
            on_reply=lambda index, reply: advance(next(done), ""),
        )
    for item, reply in zip(items, replies, strict=True):
        verdict = read_tags(reply)
        if verdict.problem:
            unread.append(verdict.problem)
        else:
            said[item.item_id] = [(tag, verdict.evidence) for tag in dict.fromkeys(verdict.verdict)]
    if items and all(reply.error for reply in replies):
        raise EngineError(f"judge {judge.name} did not answer ({replies[0].error})", "check its base_url and key")
    made = suggest_tags(lab, found, lambda item: said.get(item.item_id, []), f"{RATER_PREFIX}{judge.name}")
    return Suggested(made, len(items), len(unread))


def _ask(judge: Judge, item: Difference, known: list[str]) -> Ask:
    parts = {"REQUEST": item.prompt, "ANSWER": item.candidate.answer}
    if item.gold:
        parts["RIGHT ANSWER"] = item.gold[0]
    return Ask(model=judge.model, messages=[*tagging(parts, known)], sampling=judge.sampling)
