"""Rows to token ids: where the completion begins, and what had to be cut."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.core.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Text = str | list[dict[str, str]]
IGNORED = -100  # the label that carries no loss


@dataclass(frozen=True)
class RowCounts:
    """What became of the rows: `used` are trained on, `cut` of them lost their end, `dropped` had no room to answer.

    `longest` counts the tokens of the longest row as it is trained on.
    """

    used: int
    cut: int
    dropped: int
    longest: int


def encode(tokenizer: PreTrainedTokenizerBase, prompt: Text, completion: Text) -> tuple[list[int], int]:
    """Token ids of prompt and completion as the server would see them, and how many belong to the prompt.

    Chat turns go through the base's template; text is joined as it is and ends with the EOS token, so that the model
    learns to stop. The completion begins where the prompt alone and the whole part ways (as in TRL's
    `common_prefix_length`): some templates render the prompt alone differently.
    """
    if isinstance(prompt, str) and isinstance(completion, str):
        end = str(tokenizer.eos_token)
        alone = tokenizer(prompt)["input_ids"]
        whole = tokenizer(prompt + completion.removesuffix(end) + end)["input_ids"]
    else:
        alone = _render(tokenizer, prompt, add_generation_prompt=True)
        whole = _render(tokenizer, [*prompt, *completion])
    shared = 0
    for left, right in zip(alone, whole, strict=False):
        if left != right:
            break
        shared += 1
    return whole, shared


def _render(tokenizer: PreTrainedTokenizerBase, turns: Any, **options: bool) -> list[int]:
    return list(tokenizer.apply_chat_template(turns, tokenize=True, return_dict=True, **options)["input_ids"])


def sft_examples(
    tokenizer: PreTrainedTokenizerBase, rows: Iterable[dict[str, Any]], max_length: int | None
) -> tuple[list[dict[str, list[int]]], RowCounts]:
    """`input_ids` and `labels` (IGNORED on the prompt) of every row, cut to `max_length` tokens.

    A row whose prompt alone fills `max_length` is dropped. InputError when none is left.
    """
    examples, cut, dropped = [], 0, 0
    for row in rows:
        ids, prompt = encode(tokenizer, row["prompt"], row["completion"])
        limit = max_length or len(ids)
        if prompt >= min(limit, len(ids)):
            dropped += 1
            continue
        cut += len(ids) > limit
        examples.append({"input_ids": ids[:limit], "labels": ([IGNORED] * prompt + ids[prompt:])[:limit]})
    refuse_empty(len(examples), max_length)
    longest = max(len(example["input_ids"]) for example in examples)
    return examples, RowCounts(used=len(examples), cut=cut, dropped=dropped, longest=longest)


def refuse_empty(used: int, max_length: int | None) -> None:
    if not used:
        raise InputError(f"no row is left: every prompt fills max_length {max_length}", "raise train.max_length")


def for_base(rows: list[dict[str, Any]], has_chat_template: bool) -> list[dict[str, Any]]:
    """Rows as the base can take them: without a chat template, one turn each becomes its text.

    InputError for rows of several turns, which only a chat template can join.
    """
    return rows if has_chat_template else [{key: _as_text(value) for key, value in row.items()} for row in rows]


def _as_text(text: Text) -> str:
    if isinstance(text, str):
        return text
    if len(text) != 1:
        raise InputError(
            "a row has several turns and the base has no chat template",
            "use a base with a chat template, or rows of one prompt and one answer",
        )
    return text[0]["content"]
