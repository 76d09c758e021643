"""From an item to the requests that put it to a subject, turn by turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.data import Turn
from harness.evalset import Definition, Item
from harness.evaluate.answer import split_thinking
from serve.client import Ask, Reply

CONTEXTS = "{contexts}"


@dataclass
class Talk:
    """One conversation about one item: what was said so far. An item with several samples has as many."""

    item: Item
    sample: int
    turns: list[Turn]
    replies: list[Reply] = field(default_factory=list)

    @property
    def open(self) -> bool:
        """Whether a further turn of the user is to be answered."""
        failed = bool(self.replies) and self.replies[-1].error is not None
        return not failed and len(self.replies) <= len(self.item.follow_ups)

    def add(self, reply: Reply, definition: Definition) -> None:
        """Keep a reply and, where the item has one, put the next question."""
        self.replies.append(reply)
        if self.open:
            said, _ = split_thinking(reply.text, definition.reasoning)
            question = self.item.follow_ups[len(self.replies) - 1]
            self.turns += [{"role": "assistant", "content": said}, {"role": "user", "content": question}]


def begin(item: Item, definition: Definition, shots: Sequence[Turn]) -> list[Talk]:
    """The conversations of one item, before the first request.

    System prompts (the evalset's, the subject's, the item's, in this order) become one turn at the front, since chat
    templates take one there and no other; examples follow, then the item's own turns.
    """
    turns = [*shots, *with_contexts(item)]
    system = [definition.system, *(turn["content"] for turn in turns if turn["role"] == "system")]
    first: list[Turn] = [{"role": "system", "content": "\n\n".join(filter(None, system))}] if any(system) else []
    rest = [turn for turn in turns if turn["role"] != "system"]
    return [Talk(item, sample, [*first, *rest]) for sample in range(definition.samples)]


def with_contexts(item: Item) -> list[Turn]:
    """The item's turns with its contexts, numbered: where `{contexts}` stands, else before the last turn's text."""
    passages = "\n\n".join(f"[{number}] {text}" for number, text in enumerate(item.contexts, 1))
    turns = item.turns
    if any(CONTEXTS in turn["content"] for turn in turns):
        return [{**turn, "content": turn["content"].replace(CONTEXTS, passages)} for turn in turns]
    if passages:
        turns = [*turns[:-1], {**turns[-1], "content": f"{passages}\n\n{turns[-1]['content']}"}]
    return turns


def next_ask(talk: Talk, definition: Definition, model: str, chat: bool) -> Ask:
    """The request for the next answer. Samples differ by their seed only."""
    sampling: dict[str, Any] = dict(definition.sampling)
    if definition.samples > 1:
        sampling["seed"] = int(sampling.get("seed", 0)) + talk.sample
    if not chat:
        return Ask(model=model, prompt="\n\n".join(turn["content"] for turn in talk.turns), sampling=sampling)
    if talk.item.tools:
        sampling["tools"] = talk.item.tools
    return Ask(model=model, messages=list(talk.turns), sampling=sampling)
