"""Pairs of answers, each asked twice, in both orders. Judges prefer places: only what holds in both orders counts.

Every verdict is in the journal as soon as it is there, `judgements-*.jsonl` in the campaign's folder, so that judging
goes on where it stopped and never asks twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, ValidationError

from harness.core.errors import EngineError, LabError
from harness.core.fingerprint import sha256_of
from harness.core.journal import Journal, read_all
from harness.core.rating import Pair
from harness.core.records import Record, now
from harness.evaluate.judge import prompts
from harness.evaluate.judge.verdicts import Said, read_winner
from harness.judges import Judge
from serve.client import Ask, Reply, ask_many

JUDGEMENTS = "judgements"  # stem of the journals
Order = Literal["ab", "ba"]
ORDERS: tuple[Order, Order] = ("ab", "ba")
# So many failures before the first answer mean a server that is not there, not hard pairs.
DOWN_AFTER = 4
MAX_FAILED_SHARE = 0.5


class Judgement(Record):
    """One verdict in one order. `winner` None: the reply could not be read, `problem` says why."""

    pair_id: str
    order: Order
    judge: str
    judge_sha256: str = Field(description="of the judge and of the words that it was asked with")
    model: str
    winner: Literal["a", "b", "tie"] | None
    evidence: str
    problem: str
    characters_a: int
    characters_b: int
    at: str


class PairVerdict(NamedTuple):
    """Both orders as one: `winner` is the answer that won in both, else 'tie'; `consistent`: the orders agree."""

    winner: Literal["a", "b", "tie"]
    consistent: bool


def identity(judge: Judge, criteria: str) -> str:
    """What a judgement hangs on: the judge, and the words that it is asked with."""
    return sha256_of([judge.identity, prompts.wording(prompts.PAIRWISE, criteria)])


def judge_pairs(
    judge: Judge,
    pairs: Sequence[Pair],
    folder: Path,
    criteria: str,
    headers: Mapping[str, str],
    on_done: Callable[[int], None],
) -> None:
    """Ask for every pair and order that `folder`'s journal has no judgement of; `on_done(n)` with how many are in.

    A reply that cannot be read is a judgement without a winner, and is not asked again: at temperature 0 it would say
    the same. A request that fails is none, and is asked again next time. Raises EngineError when the judge does not
    answer at all, or fails on more than half of the requests.
    """
    known = identity(judge, criteria)
    done = {(one.pair_id, one.order) for one in read_judgements(folder) if one.judge_sha256 == known}
    todo = [(pair, order) for pair in pairs for order in ORDERS if (pair.pair_id, order) not in done]
    finished, failed = 2 * len(pairs) - len(todo), 0
    on_done(finished)
    asks = [_ask(judge, pair, order, criteria) for pair, order in todo]
    with Journal(folder, JUDGEMENTS) as journal:

        def keep(index: int, reply: Reply) -> None:
            nonlocal finished, failed
            if reply.error is None:
                finished += 1
                pair, order = todo[index]
                journal.append(_judgement(judge, known, pair, order, reply).model_dump(mode="json"))
                on_done(finished)
                return
            failed += 1
            answered = finished - (2 * len(pairs) - len(todo))
            if (not answered and failed >= min(DOWN_AFTER, len(todo))) or failed > MAX_FAILED_SHARE * len(todo):
                raise EngineError(
                    f"judge {judge.name} at {judge.base_url}: {failed} of {answered + failed} requests failed "
                    f"({reply.error})",
                    "see that it runs and that base_url, model and key are right, then run this again",
                )

        ask_many(judge.base_url, asks, concurrency=judge.concurrency, headers=headers, on_reply=keep)


def _ask(judge: Judge, pair: Pair, order: Order, criteria: str) -> Ask:
    first, second = (pair.a.text, pair.b.text) if order == "ab" else (pair.b.text, pair.a.text)
    turns = prompts.pairwise(pair.prompt, first, second, criteria)
    return Ask(model=judge.model, messages=list(turns), sampling=judge.sampling)


def _judgement(judge: Judge, known: str, pair: Pair, order: Order, reply: Reply) -> Judgement:
    said = read_winner(reply)
    return Judgement(
        pair_id=pair.pair_id,
        order=order,
        judge=judge.name,
        judge_sha256=known,
        model=reply.model,
        winner=_answer(said, order),
        evidence=said.evidence,
        problem=said.problem,
        characters_a=len(pair.a.text),
        characters_b=len(pair.b.text),
        at=now(),
    )


def _answer(said: Said, order: Order) -> Literal["a", "b", "tie"] | None:
    if said.verdict == "tie" or said.verdict is None:
        return said.verdict  # type: ignore[no-any-return]
    return "a" if (said.verdict == "first") == (order == "ab") else "b"


def read_judgements(folder: Path) -> list[Judgement]:
    """Every judgement in a folder; of two of one judge on one pair and order (after a crash) the first counts."""
    found: dict[tuple[str, str, str], Judgement] = {}
    for event in read_all(folder, JUDGEMENTS):
        try:
            one = Judgement.model_validate(event)
        except ValidationError as error:
            raise LabError(f"{folder} holds something else than a judgement", "move the journal away") from error
        found.setdefault((one.judge_sha256, one.pair_id, one.order), one)
    return list(found.values())


def combined(judgements: Iterable[Judgement]) -> dict[str, PairVerdict | None]:
    """Pair id -> its verdict; None where an order could not be read. Pairs with one order only are left out.

    `judgements` are of one judge.
    """
    by_pair: dict[str, dict[str, Judgement]] = {}
    for one in judgements:
        by_pair.setdefault(one.pair_id, {})[one.order] = one
    found: dict[str, PairVerdict | None] = {}
    for pair_id, orders in by_pair.items():
        if len(orders) < len(ORDERS):
            continue
        first, second = (orders[order].winner for order in ORDERS)
        if first is None or second is None:
            found[pair_id] = None
        else:
            found[pair_id] = PairVerdict(first if first == second else "tie", first == second)
    return found
