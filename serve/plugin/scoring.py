"""Log-probabilities of given continuations, in one call for many contexts: `POST /ratchet/score`.

`/v1/completions` can score a text only by echoing it: every token comes back as text with its alternatives, one answer
choice per prompt, and the prefix cache is not read. Here choices of one token take a single forward pass over their
context, longer ones share the context through the prefix cache, and two values per choice come back. The numbers are
the engine's own: log-softmax of the raw logits, as in an echo.

Body: `{"model", "groups": [{"context": [ids], "choices": [[ids], …]}, …]}`. Answer: `{"model", "scores": [[[log-prob
in nats, greedy], …], …], "rescored": N}`, in the same order; `greedy` is whether every token of the choice was the
likeliest (ties count as such).
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from typing import Annotated, Any

from fastapi import HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field
from vllm.inputs.engine import tokens_input
from vllm.lora.request import LoRARequest
from vllm.sampling_params import MAX_LOGPROB_TOKEN_IDS, RequestOutputKind, SamplingParams

MIN_LOGPROB = -9999.0  # what vLLM's own routes say for -inf, which JSON cannot hold

# Greedy, one token, said once at the end, as ids. The raw logits are read before any penalty or temperature.
ONE_STEP: dict[str, Any] = {
    "temperature": 0.0,
    "max_tokens": 1,
    "detokenize": False,
    "output_kind": RequestOutputKind.FINAL_ONLY,
}

Tokens = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
Scored = tuple[float, bool]


class Group(BaseModel):
    model_config = ConfigDict(extra="forbid")

    context: Tokens
    choices: Annotated[list[Tokens], Field(min_length=1)]


class ScoreRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str
    groups: Annotated[list[Group], Field(min_length=1, max_length=1024)]


async def score(body: ScoreRequest, request: Request) -> dict[str, Any]:
    """The route. 400 for tokens that the base does not have or that do not fit its context; 404 for unknown models."""
    state = request.app.state
    _check(body, state.engine_client.model_config)
    scorer = Scorer(state.engine_client, await _adapter(state.openai_serving_models, body.model))
    scores = await asyncio.gather(*(scorer.group(group) for group in body.groups))
    return {"model": body.model, "scores": scores, "rescored": scorer.rescored}


def _check(body: ScoreRequest, config: Any) -> None:
    vocabulary, longest = config.get_vocab_size(), config.max_model_len - 1  # vLLM always makes one token more
    for group in body.groups:
        if len(group.context) + max(map(len, group.choices)) > longest:
            raise HTTPException(400, f"context and choice together may have {longest} tokens")
        if max(itertools.chain(group.context, *group.choices)) >= vocabulary:
            raise HTTPException(400, f"token ids must be below {vocabulary}")


async def _adapter(models: Any, name: str) -> LoRARequest | None:
    """The adapter called `name`, loaded from the registry if need be; None for the base."""
    if any(base.name == name for base in models.base_model_paths):
        return None
    found = models.lora_requests.get(name) or await models.resolve_lora(name)
    if not isinstance(found, LoRARequest):
        raise HTTPException(404, f"the model {name[:80]!r} does not exist")
    return found


class Scorer:
    """Scores choices on one model; counts the choices that the prefix cache made ask twice."""

    def __init__(self, engine: Any, adapter: LoRARequest | None) -> None:
        self._engine = engine
        self._adapter = adapter
        self._name = f"score-{uuid.uuid4().hex[:12]}"
        self._count = itertools.count()
        self.rescored = 0

    async def group(self, group: Group) -> list[Scored]:
        """The choices' scores, in order. All requests go to the engine at once, so that one step can share a prefix."""
        short = sorted({choice[0] for choice in group.choices if len(choice) == 1})
        parts = [short[i : i + MAX_LOGPROB_TOKEN_IDS] for i in range(0, len(short), MAX_LOGPROB_TOKEN_IDS)]
        long = [choice for choice in group.choices if len(choice) > 1]
        tokens, continuations = await asyncio.gather(
            asyncio.gather(*(self._next_token(group.context, ids) for ids in parts)),
            asyncio.gather(*(self._continuation(group.context, choice) for choice in long)),
        )
        next_token = {token: scored for part in tokens for token, scored in part.items()}
        in_order = iter(continuations)
        return [next_token[choice[0]] if len(choice) == 1 else next(in_order) for choice in group.choices]

    async def _next_token(self, context: list[int], ids: list[int]) -> dict[int, Scored]:
        """Each of `ids` as the token right after `context`, from one pass that reads and fills the prefix cache."""
        answer = (
            await self._ask(context, SamplingParams(**ONE_STEP, logprob_token_ids=ids, logprobs=len(ids)))
        ).outputs[0]
        values = {token: value.logprob for token, value in answer.logprobs[0].items()}
        best = values[answer.token_ids[0]]  # greedy decoding takes the likeliest
        return {token: (max(values[token], MIN_LOGPROB), values[token] >= best) for token in ids}

    async def _continuation(self, context: list[int], choice: list[int]) -> Scored:
        """`choice` after `context`, by prompt log-probs.

        vLLM leaves them unset where a position came from the prefix cache (which is why it does not read the cache for
        such requests unless told to). The context may come from there, the choice may not: where it did, say because
        the same choice was scored before, it is asked once more without the cache.
        """
        rows = None
        for skip in (False, True):
            params = SamplingParams(**ONE_STEP, prompt_logprobs=1, flat_logprobs=True, skip_reading_prefix_cache=skip)
            output = await self._ask(context + choice, params)
            if skip or output.num_cached_tokens < len(context):
                rows = _last_rows(output.prompt_logprobs, choice)
            if rows is not None:
                return sum(max(value, MIN_LOGPROB) for value, _ in rows), all(value >= best for value, best in rows)
            self.rescored += 1
        raise HTTPException(500, "the engine gave no log-probs for a choice")

    async def _ask(self, prompt: list[int], params: SamplingParams) -> Any:
        name = f"{self._name}-{next(self._count)}"
        generating = self._engine.generate(tokens_input(prompt), params, name, lora_request=self._adapter)
        return [output async for output in generating][-1]


def _last_rows(flat: Any, choice: list[int]) -> list[tuple[float, float]] | None:
    """(log-prob of the token, of the likeliest token) for each token of `choice`, the last of the prompt; None where a
    row is of another token, so never written."""
    if len(flat) < len(choice):
        return None
    rows = []
    for position, token in zip(range(len(flat) - len(choice), len(flat)), choice, strict=True):
        start, end = flat.start_indices[position], flat.end_indices[position]
        if start == end or flat.token_ids[start] != token:
            return None
        rows.append((flat.logprobs[start], max(flat.logprobs[start:end])))
    return rows
