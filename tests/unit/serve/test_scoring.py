"""Choices scored in one call: what is asked of the engine, what is made of its answers, and what is refused.

The engine here is a few lines of Python: a token's log-prob depends on the token and its position alone. That a real
engine gives the same numbers as an echo is shown in tests/integration/test_lm_eval.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import HTTPException
from vllm.logprobs import FlatLogprobs, Logprob

from harness.core.errors import EngineError
from serve.client import SCORED_AT_ONCE, choice_logprobs
from serve.fake import Script
from serve.plugin.scoring import MIN_LOGPROB, Group, Scorer, ScoreRequest, _check

UNWRITTEN = 999  # a token id no prompt has: what memory holds where vLLM wrote nothing
MOST_LIKELY = 2


def logprob(position: int, token: int) -> float:
    """-0.1 for the likeliest token, -1 for the token 0; each position on is a little less likely."""
    return -0.1 if token == MOST_LIKELY else -1.0 - token - position / 100


class Engine:
    """Answers as vLLM does; `cached` is how many tokens of each prompt it finds in its prefix cache."""

    def __init__(self, cached: int = 0) -> None:
        self.cached = cached
        self.asked: list[tuple[list[int], Any]] = []

    async def generate(self, prompt: Any, params: Any, name: str, lora_request: Any = None) -> AsyncIterator[Any]:
        ids = prompt["prompt_token_ids"]
        self.asked.append((ids, params))
        cached = 0 if params.skip_reading_prefix_cache else self.cached
        if params.logprob_token_ids:
            values = {t: Logprob(logprob(len(ids), t)) for t in [MOST_LIKELY, *params.logprob_token_ids]}
            output = SimpleNamespace(logprobs=[values], token_ids=[MOST_LIKELY])
            yield SimpleNamespace(outputs=[output], num_cached_tokens=cached)
            return
        rows = FlatLogprobs()
        rows.append(None)
        for position, token in enumerate(ids[1:], start=1):
            known = {token: Logprob(logprob(position, token)), MOST_LIKELY: Logprob(-0.1)}
            rows.append(known if position > cached else {UNWRITTEN: Logprob(0.0)})
        yield SimpleNamespace(prompt_logprobs=rows, num_cached_tokens=cached)


def scores(engine: Engine, context: list[int], choices: list[list[int]]) -> tuple[list[tuple[float, bool]], Scorer]:
    scorer = Scorer(engine, None)
    return asyncio.run(scorer.group(Group(context=context, choices=choices))), scorer


def test_choices_of_one_token_take_one_request() -> None:
    engine = Engine()
    found, _ = scores(engine, [5, 6, 7], [[4], [MOST_LIKELY], [0], [4]])
    assert found == [(pytest.approx(-5.03), False), (-0.1, True), (pytest.approx(-1.03), False), found[0]]
    assert [ids for ids, _ in engine.asked] == [[5, 6, 7]]
    assert engine.asked[0][1].logprob_token_ids == [0, 2, 4]


def test_longer_choices_are_summed_over_their_own_tokens() -> None:
    """Positions 2 and 3 hold 3, 4: -(1 + 3 + 0.02) - (1 + 4 + 0.03) = -9.05."""
    engine = Engine()
    found, scorer = scores(engine, [5, 6], [[3, 4], [MOST_LIKELY, MOST_LIKELY], [0]])
    assert found == [(pytest.approx(-9.05), False), (pytest.approx(-0.2), True), (pytest.approx(-1.02), False)]
    assert len(engine.asked) == 3
    assert scorer.rescored == 0


def test_more_choices_than_the_engine_takes_at_once() -> None:
    engine = Engine()
    found, _ = scores(engine, [1], [[token] for token in range(300)])
    assert [len(params.logprob_token_ids) for _, params in engine.asked] == [128, 128, 44]
    assert found[299][0] == pytest.approx(logprob(1, 299))


@pytest.mark.parametrize(("cached", "asked"), [(0, 1), (2, 1), (3, 2), (4, 2)])
def test_what_the_cache_hides_is_asked_again(cached: int, asked: int) -> None:
    """The context's own tokens may come from the cache (its last one predicts the choice, so it may not)."""
    engine = Engine(cached)
    found, scorer = scores(engine, [5, 6, 7], [[3, 4]])
    assert found == [(pytest.approx(-(4.03 + 5.04)), False)]
    assert (len(engine.asked), scorer.rescored) == (asked, asked - 1)


def test_rows_never_written_are_no_scores() -> None:
    """Should the count of cached tokens ever be wrong, the row's token id still tells."""

    class Wrong(Engine):
        async def generate(self, *args: Any, **more: Any) -> AsyncIterator[Any]:
            async for output in super().generate(*args, **more):
                output.num_cached_tokens = 0
                yield output

    found, scorer = scores(Wrong(cached=3), [5, 6, 7], [[3, 4]])
    assert found == [(pytest.approx(-9.07), False)]
    assert scorer.rescored == 1


def test_minus_infinity_is_what_vllm_says_for_it() -> None:
    class Certain(Engine):
        async def generate(self, *args: Any, **more: Any) -> AsyncIterator[Any]:
            async for output in super().generate(*args, **more):
                output.prompt_logprobs.logprobs = [float("-inf")] * len(output.prompt_logprobs.logprobs)
                yield output

    assert scores(Certain(), [5], [[3, 4]])[0] == [(2 * MIN_LOGPROB, True)]


@pytest.mark.parametrize(
    ("group", "problem"),
    [
        ({"context": [1, 2, 3], "choices": [[1], [1, 2]]}, "may have 4 tokens"),
        ({"context": [1], "choices": [[10]]}, "below 10"),
        ({"context": [10], "choices": [[1]]}, "below 10"),
    ],
)
def test_what_does_not_fit_is_refused(group: dict[str, Any], problem: str) -> None:
    config = SimpleNamespace(get_vocab_size=lambda: 10, max_model_len=5)
    with pytest.raises(HTTPException, match=problem):
        _check(ScoreRequest(model="base", groups=[group]), config)
    _check(ScoreRequest(model="base", groups=[{"context": [9, 2], "choices": [[1, 2]]}]), config)


@pytest.mark.parametrize("group", [{"context": [], "choices": [[1]]}, {"context": [1], "choices": []},
                                   {"context": [1], "choices": [[]]}, {"context": [-1], "choices": [[1]]}])  # fmt: skip
def test_nothing_to_score_is_refused(group: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        ScoreRequest(model="base", groups=[group])


def test_the_client_keeps_the_order_over_many_requests(serving: Callable[[Script], str]) -> None:
    url = serving(Script())
    groups = [([n, n], [[n, 1], [2]]) for n in range(1, 3 * SCORED_AT_ONCE)]
    found = choice_logprobs(url, "tiny", groups)
    assert found == [choice_logprobs(f"{url}/v1", "tiny", [group])[0] for group in groups[:3]] + found[3:]
    assert [[greedy for _, greedy in scored] for scored in found] == [[True, False]] * len(groups)
    assert len({scored[0][0] for scored in found}) == len(groups)
    assert choice_logprobs(url, "tiny", []) == []


def test_unknown_models_are_said(serving: Callable[[Script], str]) -> None:
    url = serving(Script())
    with pytest.raises(EngineError, match="nobody: no log-probs for 1 contexts: HTTP 404"):
        choice_logprobs(url, "nobody", [([1], [[2]])])
    assert httpx.post(f"{url}/ratchet/score", json={"model": "nobody", "groups": []}).status_code == 404
