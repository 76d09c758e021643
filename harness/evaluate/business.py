"""Business evalsets through the served endpoint: what is scored is what apps will get.

Every item lands in exactly one bucket and in the journal as soon as its answers are there, so a killed evaluation goes
on where it stopped. The caller writes eval.json when all are in.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core.errors import EvaluationError, InputError
from harness.core.fingerprint import sha256_of
from harness.core.journal import Journal, read_all
from harness.core.records import Bucket, ItemResult, Score, Subject
from harness.data import Turn
from harness.evalset import Evalset, Item
from harness.evaluate.answer import Answer, answer_of, total
from harness.evaluate.samples import combine
from harness.evaluate.scorers import Scorer, safe_score, scorers
from harness.evaluate.talk import Talk, begin, next_ask, with_contexts
from serve.client import TIMEOUT_S, Ask, Reply, ask_many

# The request itself was refused (too long, say): asking again gives the same. Not so 429 or a wrong key.
OWN_FAULTS = ("HTTP 400", "HTTP 413", "HTTP 422")
# More failures than this share of an evalset means a broken server or set-up, not hard items.
MAX_ERRORED_SHARE = 0.5
# Somebody's server may time out on a few items for ever; they are counted as errored then. Ours is mended instead.
MAX_ENDPOINT_FAULTS = 0.1
SCORING_THREADS = 4  # scorers that start programs wait for them most of the time


@dataclass(frozen=True)
class Door:
    """Where and how a subject is asked: `chat` or plain completions, so many requests at a time, each for so long."""

    url: str
    chat: bool
    concurrency: int = 32
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = TIMEOUT_S


def evaluate(
    evalset: Evalset,
    subject: Subject,
    door: Door,
    folder: Path,
    shots: list[Turn],
    on_item: Callable[[], None],
    judged: Mapping[str, Scorer] | None = None,
) -> dict[str, int]:
    """Ask what is still missing in `folder`'s journal, score it, and return items per bucket.

    `shots` are example turns put before each prompt; `judged` are scorers of a judge's metrics, by metric name.
    `on_item` is called once an item, in order with the journal.
    Raises EvaluationError when requests fail for the server's sake (it died, timed out, answered 5xx, or what is not
    OpenAI's form), or most of them for any: the items that succeeded stay in the journal, the others are asked again
    next time. Of somebody's endpoint a tenth may fail so, and is counted as errored.
    """
    done = results(folder)
    missing = [item for item in evalset.items if item.id not in done]
    if any(item.tools for item in missing) and not door.chat:
        raise InputError(
            f"evalset {evalset.name} has tools, which only chat requests carry",
            f"{subject.label} needs a base with a chat template",
        )
    for _ in range(len(evalset.items) - len(missing)):
        on_item()
    with Journal(folder, "items", point="eval.item") as journal:
        keeper = _Keeper(evalset, scorers(evalset, judged), journal, on_item)
        talks = [talk for item in missing for talk in begin(item, evalset.definition, shots)]
        with keeper:
            while talks:
                asks = [next_ask(talk, evalset.definition, subject.model, door.chat) for talk in talks]
                now = talks

                def keep(index: int, reply: Reply, asks: list[Ask] = asks, now: list[Talk] = now) -> None:
                    keeper.add(now[index], asks[index], reply)

                ask_many(door.url, asks, door.concurrency, door.headers, door.timeout_s, keep)
                talks = [talk for talk in talks if talk.open]
        _refuse_broken(evalset, subject, keeper.failed)
        for result in keeper.failed:  # only now: an item in the journal is not asked again
            journal.append(result.model_dump(mode="json"))
    counts = Counter(result.bucket for result in [*done.values(), *keeper.failed])
    return dict(counts + keeper.counts)


def results(folder: Path) -> dict[str, ItemResult]:
    """Item results in a folder's journals, by item id; of two for one item (after a crash) the first counts."""
    found: dict[str, ItemResult] = {}
    for event in read_all(folder, "items"):
        result = ItemResult.model_validate(event)
        found.setdefault(result.item_id, result)
    return found


def decoding(evalset: Evalset, chat: bool) -> dict[str, Any]:
    """What of the request changes the answer; part of the eval id."""
    samples = {"samples": evalset.definition.samples} if evalset.definition.samples > 1 else {}
    return {**evalset.definition.sampling, **samples, "api": "chat" if chat else "completions"}


class _Keeper:
    """Takes replies as they come, scores finished items in threads of its own and writes them to the journal.

    Scoring a program takes seconds, and the thread that the requests run in must not wait. What goes wrong while
    scoring or writing is raised at the next reply, or when the keeper is left.
    """

    def __init__(
        self, evalset: Evalset, scoring: dict[str, Scorer], journal: Journal, on_item: Callable[[], None]
    ) -> None:
        self.failed: list[ItemResult] = []
        self.counts: Counter[str] = Counter()
        self._evalset, self._scoring, self._journal, self._on_item = evalset, scoring, journal, on_item
        self._finished: dict[str, list[Talk]] = {}
        self._first_ask: dict[str, Ask] = {}
        self._running: deque[Future[None]] = deque()
        self._pool = ThreadPoolExecutor(SCORING_THREADS)
        self._lock = threading.Lock()

    def __enter__(self) -> _Keeper:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            for future in self._running:
                future.result()

    def add(self, talk: Talk, ask: Ask, reply: Reply) -> None:
        """One reply; called in one thread only."""
        while self._running and self._running[0].done():
            self._running.popleft().result()
        self._first_ask.setdefault(talk.item.id, ask)
        talk.add(reply, self._evalset.definition)
        if talk.open:
            return
        finished = self._finished.setdefault(talk.item.id, [])
        finished.append(talk)
        if len(finished) == self._evalset.definition.samples:
            self._running.append(self._pool.submit(self._score, finished))

    def _score(self, talks: list[Talk]) -> None:
        item = talks[0].item
        result = _result(self._evalset, item, self._first_ask[item.id], talks, self._scoring)
        with self._lock:
            if result.bucket == "errored":
                self.failed.append(result)
            else:
                self._journal.append(result.model_dump(mode="json"))
                self.counts[result.bucket] += 1
            self._on_item()


def _refuse_broken(evalset: Evalset, subject: Subject, failed: list[ItemResult]) -> None:
    """Raise EvaluationError where failures tell of the server rather than of the items."""
    broken = [result for result in failed if not (result.error or "").startswith(OWN_FAULTS)]
    allowed = MAX_ENDPOINT_FAULTS * len(evalset.items) if subject.kind == "endpoint" else 0
    if len(broken) > allowed or len(failed) > MAX_ERRORED_SHARE * len(evalset.items):
        shown = broken or failed
        raise EvaluationError(
            f"{subject.label} on {evalset.name}: {len(shown)} of {len(evalset.items)} items failed ({shown[0].error})",
            f"see {'its server' if subject.endpoint else 'the log of the engine'}, then run the command again",
        )


def _result(evalset: Evalset, item: Item, ask: Ask, talks: list[Talk], scoring: Mapping[str, Scorer]) -> ItemResult:
    talks = sorted(talks, key=lambda talk: talk.sample)
    answers = [answer_of(talk.replies, evalset.definition.reasoning) for talk in talks]
    error = next((talk.replies[-1].error for talk in talks if talk.replies[-1].error is not None), None)
    scores: dict[str, Score] = {}
    if error is None:
        metrics = evalset.definition.metrics
        scores = {
            name: combine(metrics.get(name), [safe_score(scorer, item, answer) for answer in answers])
            for name, scorer in scoring.items()
        }
    first = answers[0]
    return ItemResult(
        item_id=item.id,
        split=item.split,
        cluster=evalset.cluster_of(item),
        bucket="errored" if error is not None else _bucket(evalset, answers, scores),
        scores=scores,
        prompt_sha256=_prompt_sha256(item, ask),
        prompt=_transcript(item, talks[0]),
        answer=first.text,
        thinking=first.thinking,
        samples=[answer.text for answer in answers] if len(answers) > 1 else [],
        tool_calls=list(first.tool_calls),
        finish_reason=next(
            (one.finish_reason for one in answers if one.finish_reason == "length"), first.finish_reason
        ),
        prompt_tokens=total([answer.prompt_tokens for answer in answers]),
        completion_tokens=total([answer.completion_tokens for answer in answers]),
        latency_s=sum(answer.latency_s or 0.0 for answer in answers) / len(answers),
        error=error,
    )


def _prompt_sha256(item: Item, ask: Ask) -> str:
    """Of the first request and, where an item has them, of the tools and turns that follow."""
    said = ask.messages or ask.prompt
    return sha256_of([said, item.tools, item.follow_ups] if item.tools or item.follow_ups else said)


def _transcript(item: Item, talk: Talk) -> str:
    """What a person reads as the prompt: the item's turns with contexts, then what was said between follow-ups."""
    later = talk.turns[len(talk.turns) - 2 * (len(talk.replies) - 1) :] if len(talk.replies) > 1 else []
    return "\n".join(turn["content"] for turn in [*with_contexts(item), *later])


def _bucket(evalset: Evalset, answers: list[Answer], scores: dict[str, Score]) -> Bucket:
    """'unscorable' where no metric that judges the answer could; lengths and latencies judge nothing."""
    metrics = evalset.definition.metrics
    judging = [score for name, score in scores.items() if not (name in metrics and _measured(evalset, name))]
    if judging and all(score.value is None for score in judging):
        return "unscorable"
    return "truncated" if any(answer.finish_reason == "length" for answer in answers) else "scored"


def _measured(evalset: Evalset, name: str) -> bool:
    kind = evalset.definition.metrics[name].kind
    return kind is not None and kind.measured
