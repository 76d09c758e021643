"""lm-eval's model for engines of ours: its `local-completions`, with log-likelihoods asked for in a better way.

Tokens, truncation, prompts and numbers are those of `local-completions` (a test compares them); what differs is how
many requests there are and what comes back (serve.plugin.scoring). Imported in the lm-eval child only: lm-eval is slow
to import and seeds this process's random numbers.
"""

from __future__ import annotations

import copy
from array import array
from typing import Any, Self

from lm_eval import utils
from lm_eval.api.registry import register_model
from lm_eval.models.openai_completions import LocalCompletionsAPI

from harness.core.errors import EvaluationError
from serve.client import choice_logprobs

CONCURRENCY = 64  # generations under way; the engine batches them
TOKENISED_AT_ONCE = 1024  # texts per call of the tokenizer, which spreads them over its threads
TEXTS_REMEMBERED = 200_000  # of 1,000 tokens each they take 800 MB; what is beyond is tokenised as it comes

Pair = tuple[str, str]
Scored = tuple[float, bool]


@register_model("ratchet-completions")
class RatchetCompletions(LocalCompletionsAPI):
    """`url` is an engine's root, `tokenizer` the base's folder, `max_length` the engine's context in tokens.

    Answers are remembered by (context, continuation) for one model name, so that the documents on which a template was
    chosen are not asked again. `cut` counts the texts that had to lose tokens on the left to fit, as they do in
    `local-completions`.
    """

    def __init__(self, url: str, model: str, tokenizer: str, max_length: int, **kwargs: Any) -> None:
        super().__init__(
            base_url=f"{url}/v1/completions",
            model=model,
            tokenizer=tokenizer,
            tokenizer_backend="huggingface",
            max_length=max_length,
            num_concurrent=CONCURRENCY,
            max_retries=3,
            **kwargs,
        )
        self._url = url
        self._headers: dict[str, str] | None = None
        self._ids: dict[str, array[int]] = {}  # shared by all models of one base
        self._known: dict[Pair, Scored] = {}
        self.cut: set[Pair] = set()

    def sign(self, token: str) -> None:
        """Send `token`, if it is one, with every request: the engine's own, let in whatever keys are in force."""
        if token:
            self._header = self._headers = {"Authorization": f"Bearer {token}"}

    def named(self, model: str) -> Self:
        """The same tokenizer and tokens for another model of the same engine; it starts with no answers."""
        other = copy.copy(self)
        other.model, other._known, other.cut = model, {}, set()
        return other

    @property
    def has_chat_template(self) -> bool:
        return bool(getattr(self.tokenizer, "chat_template", None))

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[Scored]:
        new = {request.args: request for request in requests if request.args not in self._known}
        self._tokenise([text for context, continuation in new for text in _texts(context, continuation)])
        answers = super().loglikelihood(list(new.values()), disable_tqdm=True) if new else []
        self._known |= dict(zip(new, answers, strict=True))
        return [self._known[request.args] for request in requests]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
        """All windows of all documents at once; `local-completions` asks document by document."""
        texts = [text for (text,) in (request.args for request in requests)]
        self._tokenise(texts)
        windows = [
            (index, utils.make_disjoint_window(window))
            for index, text in enumerate(texts)
            for window in utils.get_rolling_token_windows(
                token_list=self.tok_encode(text),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length - 1,
                context_len=1,
            )
        ]
        scores = self._loglikelihood_tokens([(None, *window) for _, window in windows])
        totals = [0.0] * len(texts)
        for (index, _), (value, _greedy) in zip(windows, scores, strict=True):
            totals[index] += value
        return totals

    def tok_encode(self, string: Any, *args: Any, **kwargs: Any) -> Any:
        """`local-completions`' tokens, from memory where they were made before."""
        known = self._ids.get(string) if isinstance(string, str) and not args and not kwargs else None
        return super().tok_encode(string, *args, **kwargs) if known is None else known.tolist()

    def _tokenise(self, texts: list[str]) -> None:
        """Tokenise many texts at once: one call of the tokenizer per text costs more than its work."""
        new = [text for text in dict.fromkeys(texts) if text and text not in self._ids]
        for start in range(0, min(len(new), TEXTS_REMEMBERED - len(self._ids)), TOKENISED_AT_ONCE):
            part = new[start : start + TOKENISED_AT_ONCE]
            self._ids |= zip(part, (array("i", ids) for ids in super().tok_encode(part)), strict=True)

    def _loglikelihood_tokens(self, requests: list[tuple[Any, list[int], list[int]]], **kwargs: Any) -> list[Scored]:
        """Continuations of one context are asked for together, contexts with a common beginning one after another."""
        scores: list[Scored] = [(0.0, True)] * len(requests)  # of nothing: what an empty sum and an empty `all` give
        groups: dict[tuple[int, ...], list[tuple[int, list[int]]]] = {}
        for index, (pair, before, continuation) in enumerate(requests):
            if not continuation:
                continue
            # `local-completions` keeps one token free, for the one that vLLM generates
            whole = (before + continuation)[-self.max_length :]
            kept = len(whole) - len(continuation)
            if kept < 1:
                raise EvaluationError(
                    f"a continuation of {len(continuation)} tokens does not fit the engine's context of "
                    f"{self.max_length + 1}",
                    "leave the task out, or use a base with a longer context",
                )
            if kept < len(before) and pair is not None:
                self.cut.add(pair)
            groups.setdefault(tuple(whole[:kept]), []).append((index, whole[kept:]))
        contexts = sorted(groups)
        asked = [(list(context), [choice for _, choice in groups[context]]) for context in contexts]
        answers = choice_logprobs(self._url, self.model, asked, headers=self._headers)
        for context, found in zip(contexts, answers, strict=True):
            for (index, _), score in zip(groups[context], found, strict=True):
                scores[index] = score
        return scores


def _texts(context: str, continuation: str) -> tuple[str, str]:
    """What lm-eval tokenises for a pair: spaces at the context's end count to the continuation."""
    return context.rstrip(), context + continuation
