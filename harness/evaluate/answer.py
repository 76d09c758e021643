"""What a subject said, as scorers see it: the text, and apart from it what it thought, called and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.evalset import Reasoning
from serve.client import Reply


@dataclass(frozen=True)
class Answer:
    """One answer to one item. `tool_calls` are {"name", "arguments"}; tokens and seconds None where nobody told."""

    text: str
    thinking: str = ""
    tool_calls: tuple[dict[str, Any], ...] = ()
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_s: float | None = None


def answer_of(replies: Sequence[Reply], reasoning: Reasoning | None) -> Answer:
    """The last of a conversation's replies as the answer; tokens and seconds are those of all of them."""
    last = replies[-1]
    text, thought = split_thinking(last.text, reasoning)
    return Answer(
        text=text,
        thinking="\n".join(part for part in (last.thinking, thought) if part),
        tool_calls=last.tool_calls,
        finish_reason=last.finish_reason,
        prompt_tokens=total([reply.prompt_tokens for reply in replies]),
        completion_tokens=total([reply.completion_tokens for reply in replies]),
        latency_s=sum(reply.latency_s for reply in replies),
    )


def split_thinking(text: str, reasoning: Reasoning | None) -> tuple[str, str]:
    """(answer, thinking). Templates may open the thinking in the prompt, so `end` alone divides too; thinking that
    never ended leaves no answer."""
    if reasoning is None:
        return text, ""
    before, end, after = text.rpartition(reasoning.end)
    if end:
        head, start, thought = before.partition(reasoning.start) if reasoning.start else ("", "", before)
        return ((head + after).strip(), thought.strip()) if start else (after.strip(), before.strip())
    head, start, thought = text.partition(reasoning.start) if reasoning.start else (text, "", "")
    return (head.strip(), thought.strip()) if start else (text, "")


def total(values: list[int | None]) -> int | None:
    """The sum; None where one of them is not known."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
