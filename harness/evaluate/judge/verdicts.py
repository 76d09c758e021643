"""What a judge says, read strictly. What does not fit is no verdict: guessing at one would be a judge of our own."""

from __future__ import annotations

import json
import re
from typing import Any, Literal, NamedTuple

from harness.evalset import Reasoning
from harness.evaluate.answer import split_thinking
from serve.client import Reply

Place = Literal["first", "second", "tie"]
EVIDENCE_CHARACTERS = 500
MOST_TAGS = 2
TAG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+){0,3}")
FENCED = re.compile(r"\A```(?:json)?\s*\n(.*)\n```\Z", re.DOTALL)


class Said(NamedTuple):
    """A verdict, or None with the reason why there is none."""

    verdict: Any
    evidence: str
    problem: str = ""


def read_winner(reply: Reply) -> Said:
    """The place that won; `verdict` is a Place or None."""
    said = _read(reply, "winner")
    if said.problem or said.verdict in ("first", "second", "tie"):
        return said
    return Said(None, said.evidence, "winner is not first, second or tie")


def read_grade(reply: Reply, scale: tuple[float, float]) -> Said:
    """The grade; `verdict` is a float within `scale` or None."""
    said = _read(reply, "score")
    if said.problem:
        return said
    if isinstance(said.verdict, bool) or not isinstance(said.verdict, int | float):
        return Said(None, said.evidence, "score is not a number")
    if not scale[0] <= said.verdict <= scale[1]:  # NaN is not, either
        return Said(None, said.evidence, f"score {said.verdict:g} is not within {scale[0]:g} to {scale[1]:g}")
    return Said(float(said.verdict), said.evidence)


def read_tags(reply: Reply) -> Said:
    """What is wrong, as tags; `verdict` is a list of at most MOST_TAGS names or None."""
    said = _read(reply, "tags")
    if said.problem:
        return said
    named = said.verdict
    if not isinstance(named, list) or len(named) > MOST_TAGS or not all(isinstance(tag, str) for tag in named):
        return Said(None, said.evidence, "tags is not a short list of names")
    if not all(TAG.fullmatch(tag) for tag in named):
        return Said(None, said.evidence, "a tag is not lower-case words joined by '-'")
    return said


def _read(reply: Reply, key: str) -> Said:
    """The one JSON object of the reply, alone or in one fence; thinking before it is left away."""
    if reply.error is not None:
        return Said(None, "", reply.error)
    text = split_thinking(reply.text, Reasoning())[0].strip()
    fenced = FENCED.match(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return Said(None, "", "cut before its end" if reply.finish_reason == "length" else "not one JSON object")
    if not isinstance(value, dict) or set(value) != {"evidence", key} or not isinstance(value["evidence"], str):
        return Said(None, "", f"not an object of evidence and {key}")
    evidence = " ".join(value["evidence"].split())[:EVIDENCE_CHARACTERS]
    return Said(value[key], evidence)
