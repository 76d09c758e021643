"""Where the loss lies, token by token, with a tokenizer whose tokens are words."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.errors import InputError
from harness.train.encode import IGNORED, RowCounts, encode, for_base, sft_examples


class Words:
    """A tokenizer: every word is a token, its id the order of appearance."""

    eos_token = " </s>"

    def __init__(self, prompt_end: str = "<bot>") -> None:
        self.words: list[str] = []
        self.prompt_end = prompt_end

    def __call__(self, text: str) -> dict[str, list[int]]:
        self.words += [word for word in dict.fromkeys(text.split()) if word not in self.words]
        return {"input_ids": [self.words.index(word) for word in text.split()]}

    def apply_chat_template(self, turns: Any, add_generation_prompt: bool = False, **_: Any) -> dict[str, list[int]]:
        text = "".join(
            f"<bot> {turn['content']} <end> " if turn["role"] == "assistant" else f"<user> {turn['content']} <end> "
            for turn in turns
        )
        return self(text + (self.prompt_end if add_generation_prompt else ""))

    def decode(self, ids: list[int]) -> list[str]:
        return [self.words[number] for number in ids]


def turn(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def row(prompt: str, completion: str) -> dict[str, Any]:
    return {"prompt": turn("user", prompt), "completion": turn("assistant", completion)}


def with_loss(words: Words, example: dict[str, list[int]]) -> list[str]:
    kept = [label for label in example["labels"] if label != IGNORED]
    return words.decode(kept)


def test_loss_is_on_the_answer_and_its_end_of_turn() -> None:
    words = Words()
    examples, counts = sft_examples(words, [row("what is it", "a cat")], None)  # type: ignore[arg-type]
    assert with_loss(words, examples[0]) == ["a", "cat", "<end>"]
    assert " ".join(words.decode(examples[0]["input_ids"])) == "<user> what is it <end> <bot> a cat <end>"
    assert counts == RowCounts(used=1, cut=0, dropped=0, longest=9)


def test_plain_text_ends_with_eos_once() -> None:
    words = Words()
    for completion in ("b", "b </s>"):
        ids, prompt = encode(words, "a ", completion)  # type: ignore[arg-type]
        assert words.decode(ids) == ["a", "b", "</s>"]
        assert prompt == 1


def test_template_that_renders_the_prompt_alone_differently() -> None:
    """The prompt alone ends `<bot> <think>`, the whole has no `<think>`: the completion begins where they part."""
    words = Words(prompt_end="<bot> <think>")
    ids, prompt = encode(words, turn("user", "hi"), turn("assistant", "ho"))  # type: ignore[arg-type]
    assert words.decode(ids[prompt:]) == ["ho", "<end>"]


def test_cut_and_dropped_rows_are_counted() -> None:
    """4 tokens of template and prompt, then answer and <end>. At 6: 4+2 fits, 4+4 is cut, 6+2 leaves no room."""
    words = Words()
    rows = [row("p", "a"), row("p", "a b c"), row("p q r", "a")]
    examples, counts = sft_examples(words, rows, 6)  # type: ignore[arg-type]
    assert counts == RowCounts(used=2, cut=1, dropped=1, longest=6)
    assert [len(example["input_ids"]) for example in examples] == [6, 6]
    assert with_loss(words, examples[1]) == ["a", "b"]
    with pytest.raises(InputError, match=r"raise train\.max_length"):
        sft_examples(words, rows, 4)  # type: ignore[arg-type]


def test_base_without_chat_template_takes_text() -> None:
    assert for_base([row("a", "b")], has_chat_template=False) == [{"prompt": "a", "completion": "b"}]
    assert for_base([row("a", "b")], has_chat_template=True) == [row("a", "b")]
    talk = {"prompt": turn("system", "a") + turn("user", "b"), "completion": turn("assistant", "c")}
    with pytest.raises(InputError, match="several turns"):
        for_base([talk], has_chat_template=False)
