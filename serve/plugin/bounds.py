"""What one request may ask for: checked before it costs anything, answered with 4xx in OpenAI's shape.

Numbers are compared as vLLM would read them: pydantic takes `"16"` and `16.0` for 16. What is no number at all is left
to vLLM, whose error says so. Lengths of texts are bounded by characters, because counting tokens would cost what the
bound shall save: no tokenizer that we know makes fewer than one token of `CHARACTERS_PER_TOKEN`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import msgspec

from harness.core.errors import InputError
from serve.plugin.call import Call, Message, Receive, Refused, Scope

MAX_BODY_BYTES = 8 * 2**20  # a prompt of 1 M tokens with room to spare
CHARACTERS_PER_TOKEN = 128
MAX_HEADER_BYTES = 64 * 2**10
DISCARDED_BYTES = 2**30  # of a body that was announced and refused, as it comes: the client shall hear why
ONCE = frozenset(
    {
        *(b"authorization", b"x-api-key", b"content-length", b"content-type", b"transfer-encoding", b"host"),
        *(b"x-request-id", b"content-encoding", b"expect"),
    }
)
# Bracket or string: what decides how deep JSON is. Strings are taken whole, so brackets in them do not count.
TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[][{}]', re.DOTALL)
# Engines that work together use these; from an app they would make ours fetch from an address of its choice.
INTERNAL = ("kv_transfer_params", "ec_transfer_params")


@dataclass(frozen=True)
class Limits:
    """What callers without the admin scope may ask for. `RATCHET_LIMITS`, a JSON object, changes single ones."""

    body_bytes: int = MAX_BODY_BYTES
    json_depth: int = 64
    prompts: int = 256  # in one request
    inputs: int = 2048  # texts in one embeddings request, as OpenAI's
    n: int = 16
    max_tokens: int | None = None  # None: what the context holds
    logprobs: int = 20
    stops: int = 16
    stop_characters: int = 256
    entries: int = 1024  # of logit_bias, bad_words and lists of token ids that sampling takes
    grammar_characters: int = 64 * 2**10  # a schema, regular expression or grammar, as JSON
    tools: int = 256
    choices: int = 16_384  # scored in one request
    context: int | None = None  # tokens; known once the engine is up

    @classmethod
    def from_environment(cls) -> Limits:
        """Raises InputError for what is no JSON object of whole numbers under these names."""
        text = os.environ.get("RATCHET_LIMITS")
        if not text:
            return cls()
        known = [field.name for field in fields(cls)]
        try:
            values = json.loads(text)
        except ValueError:
            values = None
        if not isinstance(values, dict) or any(type(value) is not int or value < 1 for value in values.values()):
            raise InputError("RATCHET_LIMITS is no JSON object of whole numbers", f"names: {', '.join(known)}")
        if unknown := sorted(set(values) - set(known)):
            raise InputError(f"RATCHET_LIMITS: there is no limit {unknown[0]!r}", f"use {', '.join(known)}")
        return cls(**values)


def check_headers(scope: Scope, call: Call, limits: Limits) -> None:
    """Refused: a header twice that may stand once (a proxy may have read the other one), too many, too large a body."""
    headers = scope["headers"]
    if sum(len(key) + len(value) for key, value in headers) > MAX_HEADER_BYTES:
        raise Refused(431, "BadRequestError", f"the headers are larger than {MAX_HEADER_BYTES} bytes")
    if len(call.headers) != len(headers):
        names = [key for key, _ in headers if key in ONCE]
        if len(names) != len(set(names)):
            raise Refused(400, "BadRequestError", "a header that may stand once stands twice")
    length = call.headers.get("content-length")
    if length is None:
        return
    if "transfer-encoding" in call.headers:
        raise Refused(400, "BadRequestError", "content-length and transfer-encoding exclude one another")
    if not (length.isascii() and length.isdigit()):
        raise Refused(400, "BadRequestError", "content-length is no number")
    if len(length) > 18 or int(length) > limits.body_bytes:
        raise too_large(limits, close=len(length) > 18 or int(length) > DISCARDED_BYTES)


def too_large(limits: Limits, close: bool = False) -> Refused:
    """413. `close`: hang up rather than take in what is still to come; the client may then miss the answer."""
    headers = {"connection": "close"} if close else {}
    return Refused(413, "BadRequestError", f"the request is larger than {limits.body_bytes} bytes", headers=headers)


def counted(receive: Receive, limits: Limits) -> Receive:
    """`receive` that refuses a body beyond the limit as it comes, for routes that read it themselves."""
    size = 0

    async def again() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limits.body_bytes:
            raise too_large(limits)
        return message

    return again


async def read_json(receive: Receive, limits: Limits) -> dict[str, Any]:
    """The body as a JSON object. Refused: too large (413), too deep, no object, numbers that JSON does not have."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "BadRequestError", "the client left before its request was read")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limits.body_bytes:
            raise too_large(limits)
        more = message.get("more_body", False)
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    if too_deep(data, limits.json_depth):
        raise Refused(400, "BadRequestError", f"the request's JSON is nested deeper than {limits.json_depth}")
    try:
        body = msgspec.json.decode(data)  # strict, and several times as fast as json: this is most of what we cost
    except (msgspec.DecodeError, RecursionError, ValueError):
        raise Refused(400, "BadRequestError", "the request is not JSON") from None
    if not isinstance(body, dict):
        raise Refused(400, "BadRequestError", "the request is not a JSON object")
    return body


def as_json(body: dict[str, Any]) -> bytes:
    """The bytes that vLLM will see: neither NaN nor halves of characters, which it would fail on later, came in."""
    return msgspec.json.encode(body)


def too_deep(data: bytes, limit: int) -> bool:
    """Whether `data` nests deeper than `limit`, without parsing it. Most requests have fewer brackets than that."""
    if data.count(b"[") + data.count(b"{") <= limit:
        return False
    depth = 0
    for match in TOKEN.finditer(data):
        first = data[match.start()]
        if first in b"[{":
            depth += 1
            if depth > limit:
                return True
        elif first in b"]}":
            depth -= 1
    return False


def check(call: Call, limits: Limits) -> None:
    """Refused (400) where the body asks for more than `limits` and the key allow; may fill in the key's max_tokens."""
    body, key = call.body, call.key
    for name in INTERNAL:
        if body.get(name) is not None:
            raise _bad(f"{name} is not for apps", name)
    _at_most(body, "n", limits.n)
    _at_most(body, "best_of", limits.n)
    for name in ("logprobs", "top_logprobs", "prompt_logprobs"):
        _at_most(body, name, limits.logprobs, least=0)
    most = min((one for one in (limits.max_tokens, key.max_tokens if key else None) if one), default=None)
    _tokens(body, most, limits.context, call.path)
    _stops(body.get("stop"), limits)
    for name in ("logit_bias", "bad_words", "stop_token_ids", "allowed_token_ids", "logprob_token_ids"):
        _few(body, name, limits.entries)
    _few(body, "tools", limits.tools)
    for name in ("response_format", "structured_outputs"):
        if body.get(name) is not None and len(json.dumps(body[name])) > limits.grammar_characters:
            raise _bad(f"{name} is longer than {limits.grammar_characters} characters", name)
    if call.path == "/ratchet/score":
        _scored(body, limits)
    else:
        _prompts(body, limits)


def prompt_size(body: dict[str, Any]) -> int:
    """About how many tokens the prompts have: ids counted, four characters a token. For the rates' first guess."""
    count = 0
    for prompt in _each_prompt(body):
        count += len(prompt) // 4 + 1 if isinstance(prompt, str) else len(prompt)
    return count


def _tokens(body: dict[str, Any], most: int | None, context: int | None, path: str) -> None:
    asked = False
    for name in ("max_tokens", "max_completion_tokens", "min_tokens"):
        _at_most(body, name, most or context)
        asked = asked or (name != "min_tokens" and body.get(name) is not None)
    if most and not asked and path in ("/v1/chat/completions", "/v1/completions"):
        body["max_tokens"] = most  # vLLM would fill the context


def _stops(stop: Any, limits: Limits) -> None:
    stops = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    if len(stops) > limits.stops:
        raise _bad(f"stop has more than {limits.stops} strings", "stop")
    if any(isinstance(one, str) and len(one) > limits.stop_characters for one in stops):
        raise _bad(f"a stop string is longer than {limits.stop_characters} characters", "stop")


def _prompts(body: dict[str, Any], limits: Limits) -> None:
    for name, most in (("prompt", limits.prompts), ("input", limits.inputs)):
        prompts = body.get(name)
        if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int):
            _few(body, name, most)
    if limits.context is None:
        return
    cut = body.get("truncate_prompt_tokens") is not None
    for prompt in _each_prompt(body):
        text = isinstance(prompt, str)
        if len(prompt) > limits.context * (CHARACTERS_PER_TOKEN if text else 1) and not (cut and not text):
            size = f"{len(prompt)} {'characters' if text else 'tokens'}"
            name = next(name for name in ("messages", "prompt", "input", "tokens") if name in body)
            raise _bad(f"{size} do not fit the context of {limits.context} tokens", name)


def _each_prompt(body: dict[str, Any]) -> Iterable[Sequence[Any]]:
    """Each prompt's text or token ids, wherever the protocols put them; what is neither is vLLM's to refuse."""
    for name in ("prompt", "input", "tokens"):
        value = body.get(name)
        if isinstance(value, str) or (isinstance(value, list) and value and isinstance(value[0], int)):
            yield value
        elif isinstance(value, list):
            yield from (one for one in value if isinstance(one, str | list))
    messages = body.get("messages")
    if isinstance(messages, list):
        yield "".join(_texts(messages))


def _texts(messages: list[Any]) -> Iterable[str]:
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str):
            yield content
        elif isinstance(content, list):
            for part in content:
                if isinstance(part, dict) and isinstance(part.get("text"), str):
                    yield part["text"]


def _scored(body: dict[str, Any], limits: Limits) -> None:
    groups = body.get("groups")
    if not isinstance(groups, list):
        return
    choices = [group.get("choices") for group in groups if isinstance(group, dict)]
    if sum(len(one) for one in choices if isinstance(one, list)) > limits.choices:
        raise _bad(f"more than {limits.choices} choices in one request", "groups")


def _few(body: dict[str, Any], name: str, most: int) -> None:
    value = body.get(name)
    if isinstance(value, list | dict) and len(value) > most:
        raise _bad(f"{name} has more than {most} entries", name)


def _at_most(body: dict[str, Any], name: str, most: int | None, least: int | None = None) -> None:
    value = _number(body.get(name))
    if value is None:
        return
    if most is not None and value > most:
        raise _bad(f"{name} may be at most {most}", name)
    if least is not None and value < least:
        raise _bad(f"{name} must be at least {least}", name)


def _number(value: Any) -> float | None:
    if isinstance(value, int | float | str):
        try:
            return float(value)
        except (ValueError, OverflowError):  # an int beyond any float is beyond any limit too
            return float("inf") if isinstance(value, int) else None
    return None


def _bad(message: str, param: str) -> Refused:
    return Refused(400, "BadRequestError", message, param)
