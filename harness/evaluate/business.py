"""Business evalsets through the served endpoint: what is scored is what apps will get.

Every item lands in exactly one bucket and in the journal as soon as its answer is there, so a killed evaluation goes
on where it stopped. The caller writes eval.json when all are in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.core.errors import EvaluationError
from harness.core.fingerprint import sha256_of
from harness.core.journal import Journal, read_all
from harness.core.records import ItemResult, Score, Subject
from harness.data import Turn
from harness.evalset import Evalset, Item
from harness.evaluate.scorers import Scorer, safe_score, scorers
from serve.client import Ask, Reply, ask_many

# More failures than this share of an evalset means a broken server or set-up, not hard items.
OWN_FAULT = "HTTP 4"  # the request itself was refused (too long, say): asking again gives the same
MAX_ERRORED_SHARE = 0.5


def evaluate(
    evalset: Evalset,
    subject: Subject,
    url: str,
    folder: Path,
    shots: list[Turn],
    chat: bool,
    concurrency: int,
    on_item: Callable[[], None],
) -> dict[str, int]:
    """Ask what is still missing in `folder`'s journal, score it, and return items per bucket.

    `shots` are example turns put before each prompt; `chat` chooses chat or plain completions.
    Raises EvaluationError when requests fail for the server's sake (it died, timed out, answered 5xx), or most of them
    for any: the items that succeeded stay in the journal, the others are asked again next time.
    """
    done = results(folder)
    missing = [item for item in evalset.items if item.id not in done]
    for _ in range(len(evalset.items) - len(missing)):
        on_item()
    scoring = scorers(evalset)
    sampling = evalset.definition.sampling
    asks = [_ask(item, subject.model, shots, chat, sampling) for item in missing]
    failed: list[ItemResult] = []
    with Journal(folder, "items", point="eval.item") as journal:

        def keep(index: int, reply: Reply) -> None:
            result = _result(missing[index], evalset, asks[index], reply, scoring)
            if result.bucket == "errored":
                failed.append(result)
            else:
                journal.append(result.model_dump(mode="json"))
            done[result.item_id] = result
            on_item()

        ask_many(url, asks, concurrency=concurrency, on_reply=keep)
        broken = [result for result in failed if not (result.error or "").startswith(OWN_FAULT)]
        if broken or len(failed) > MAX_ERRORED_SHARE * len(evalset.items):
            failed = broken or failed
            raise EvaluationError(
                f"{subject.label} on {evalset.name}: {len(failed)} of {len(evalset.items)} items failed "
                f"({failed[0].error})",
                "see the engine's log, then run the command again",
            )
        for result in failed:  # only now: an item in the journal is not asked again
            journal.append(result.model_dump(mode="json"))
    return dict(Counter(result.bucket for result in done.values()))


def results(folder: Path) -> dict[str, ItemResult]:
    """Item results in a folder's journals, by item id; of two for one item (after a crash) the first counts."""
    found: dict[str, ItemResult] = {}
    for event in read_all(folder, "items"):
        result = ItemResult.model_validate(event)
        found.setdefault(result.item_id, result)
    return found


def decoding(evalset: Evalset, chat: bool) -> dict[str, Any]:
    """What of the request changes the answer; part of the eval id."""
    return {**evalset.definition.sampling, "api": "chat" if chat else "completions"}


def _ask(item: Item, model: str, shots: list[Turn], chat: bool, sampling: dict[str, Any]) -> Ask:
    turns = [*shots, *item.turns]
    if chat:
        return Ask(model=model, messages=turns, sampling=sampling)
    return Ask(model=model, prompt="\n\n".join(turn["content"] for turn in turns), sampling=sampling)


def _result(item: Item, evalset: Evalset, ask: Ask, reply: Reply, scoring: dict[str, Scorer]) -> ItemResult:
    scores: dict[str, Score] = {}
    if reply.error is None:
        scores = {name: safe_score(scorer, item, reply.text) for name, scorer in scoring.items()}
    return ItemResult(
        item_id=item.id,
        split=item.split,
        cluster=evalset.cluster_of(item),
        bucket=_bucket(reply, scores),
        scores=scores,
        prompt_sha256=sha256_of(ask.messages or ask.prompt),
        prompt="\n".join(turn["content"] for turn in item.turns),
        answer=reply.text,
        finish_reason=reply.finish_reason,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        latency_s=reply.latency_s,
        error=reply.error,
    )


def _bucket(reply: Reply, scores: dict[str, Score]) -> Any:
    if reply.error is not None:
        return "errored"
    if all(score.value is None for score in scores.values()):
        return "unscorable"
    return "truncated" if reply.finish_reason == "length" else "scored"
