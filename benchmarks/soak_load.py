"""The soak's clients: questions to names that move, and a verdict on every answer.

An answer is right when it is the text of the version that it names, and when the name asked for meant that version at
some moment between the request's start and its first byte. Everything else that comes back is counted as what it is.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

TIMEOUT_S = 300.0
PAUSE_S = 2.0  # between tries while the engine restarts; less than Retry-After asks for, to look more often
KEPT_PROBLEMS = 20
STREAMED, BY_VERSION, BASE, CANDIDATE = 0.3, 0.2, 0.1, 0.15  # shares of requests


@dataclass
class Moves:
    """When an alias stood where, as its mover saw it: (version, when the move began, when it was done)."""

    steps: list[tuple[int, float, float]] = field(default_factory=list)

    def allowed(self, start: float, end: float) -> set[int]:
        """The versions that the alias meant at some time from `start` to `end`; while it moves it means both."""
        until = [done for _, _, done in self.steps[1:]] + [float("inf")]
        return {
            version
            for (version, began, _), gone in zip(self.steps, until, strict=True)
            if began <= end and gone >= start
        }


@dataclass
class Board:
    """What is known while the soak runs, shared by its clients and its events."""

    probes: list[str]
    answers: dict[str, list[str]]  # adapter (or "base") -> the right text per probe
    base: str
    versions: dict[str, str]  # "support@v1" -> adapter
    moves: dict[str, Moves]  # "support@prod" -> …
    candidates: dict[str, str] = field(default_factory=dict)  # offered now: name -> adapter
    waiting: Counter[str] = field(default_factory=Counter)  # requests by model that have no first byte yet
    header: str = "x-ratchet-model"  # where the version stands in an answer's headers
    named_in_body: bool = True  # False behind a router that puts the name asked for in its place
    outages: list[list[float]] = field(default_factory=list)  # [killed, ready again]
    counts: Counter[str] = field(default_factory=Counter)
    by_model: Counter[str] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def in_outage(self, start: float, end: float) -> bool:
        return any(killed <= end and start <= ready for killed, ready in self.outages)

    def wrong(self, kind: str, line: str) -> None:
        self.counts[kind] += 1
        if len(self.problems) < KEPT_PROBLEMS:
            since = [f", {time.monotonic() - killed:.1f} s after a kill" for killed, _ in self.outages[-1:]]
            self.problems.append(f"{kind}: {line}{''.join(since)}")


@dataclass(frozen=True)
class Question:
    asked: str
    probe: int
    stream: bool


@dataclass
class Heard:
    """What came back. `named` is what the body says and `header` what the header says of the version."""

    status: int
    text: str = ""
    named: str = ""
    header: str = ""
    retry_after: str = ""
    first_byte: float = 0.0
    cut: bool = False  # a stream that ended with an error event


def choose(board: Board, random_: random.Random) -> Question:
    """A name of any kind, a probe, streaming or not."""
    draw = random_.random()
    if draw < BASE:
        asked = board.base
    elif draw < BASE + BY_VERSION:
        asked = random_.choice(sorted(board.versions))
    elif board.candidates and (draw < BASE + BY_VERSION + CANDIDATE or not board.moves):
        asked = random_.choice(sorted(board.candidates))
    else:
        asked = random_.choice(sorted(board.moves))
        asked = asked.removesuffix("@prod") if random_.random() < 0.5 else asked
    return Question(asked, random_.randrange(len(board.probes)), random_.random() < STREAMED)


def judge(board: Board, question: Question, heard: Heard, start: float) -> str | None:
    """None for a right answer, else what is wrong with it."""
    if board.named_in_body and heard.named != heard.header:
        return f"the body names {heard.named}, the header {heard.header}"
    alias = question.asked if "@" in question.asked else f"{question.asked}@prod"
    if alias in board.moves:
        name = alias.partition("@")[0]
        allowed = {f"{name}@v{number}" for number in board.moves[alias].allowed(start, heard.first_byte)}
    else:
        allowed = {question.asked}
    if heard.header not in allowed:
        return f"{question.asked} answered as {heard.header}, it meant {', '.join(sorted(allowed))}"
    adapter = {**board.versions, **board.candidates, board.base: "base"}.get(heard.header, heard.header)
    if heard.text != board.answers[adapter][question.probe]:
        said_by = [name for name, texts in board.answers.items() if texts[question.probe] == heard.text]
        return f"{heard.header} said {heard.text!r}, which is {said_by[0] if said_by else 'nobody'}'s answer"
    return None


async def client(board: Board, http: httpx.AsyncClient, tokens: int, seed: int, stop: asyncio.Event) -> None:
    """One client: asks until told to stop."""
    random_ = random.Random(seed)  # noqa: S311 - which question comes next is no secret
    while not stop.is_set():
        question = choose(board, random_)
        start = time.monotonic()
        board.waiting[question.asked] += 1
        waits = [question.asked]
        try:
            heard = await ask(board, http, question, tokens, waits)
        except httpx.HTTPError as error:
            board.wrong("failed", f"{question.asked}: {type(error).__name__} {error}")
            await asyncio.sleep(PAUSE_S)
            continue
        finally:
            if waits:
                board.waiting[waits.pop()] -= 1
        await note(board, question, heard, start)


async def note(board: Board, question: Question, heard: Heard, start: float) -> None:
    """Count one finished request. A 503 is right only during an outage, and only with Retry-After."""
    end = time.monotonic()
    board.by_model[question.asked] += 1
    if heard.cut and board.in_outage(start, end):
        board.counts["streams ended by an error event"] += 1
    elif heard.status == 503 and heard.retry_after.isdecimal() and board.in_outage(start, end):
        board.counts["503 with Retry-After during an outage"] += 1
        await asyncio.sleep(min(float(heard.retry_after), PAUSE_S))
    elif heard.status != 200 or heard.cut:
        board.wrong("failed", f"{question.asked}: HTTP {heard.status} {heard.text[:200]!r}")
        await asyncio.sleep(PAUSE_S)
    elif problem := judge(board, question, heard, start):
        board.wrong("wrong", problem)
    else:
        board.counts["right"] += 1
        board.counts["right, streamed"] += question.stream
        board.latencies_s.append(end - start)


async def ask(board: Board, http: httpx.AsyncClient, question: Question, tokens: int, waits: list[str]) -> Heard:
    """One request. Raises httpx.HTTPError where no whole answer came. `waits` is emptied at the first byte."""
    turns = [{"role": "user", "content": board.probes[question.probe]}]
    body = {"model": question.asked, "messages": turns, "temperature": 0, "max_tokens": tokens}
    async with http.stream("POST", "/v1/chat/completions", json=body | {"stream": question.stream}) as response:
        heard = Heard(response.status_code, first_byte=time.monotonic())
        if waits:
            board.waiting[waits.pop()] -= 1
        heard.header = response.headers.get(board.header, "")
        heard.retry_after = response.headers.get("retry-after", "")
        if heard.status == 200 and question.stream:
            await _read_stream(response, heard)
        else:
            raw = await response.aread()
            heard.text = raw.decode(errors="replace")
            if heard.status == 200:
                answer = json.loads(raw)
                heard.named, heard.text = answer["model"], answer["choices"][0]["message"]["content"]
    return heard


async def _read_stream(response: httpx.Response, heard: Heard) -> None:
    done = False
    async for line in response.aiter_lines():
        if not line.startswith("data: "):
            continue
        if line == "data: [DONE]":
            done = True
            continue
        event: dict[str, Any] = json.loads(line.removeprefix("data: "))
        if "error" in event:
            heard.cut, heard.text = True, str(event["error"])
            return
        heard.named = event["model"]
        for choice in event["choices"]:
            heard.text += choice["delta"].get("content") or ""
    if not done:
        raise httpx.RemoteProtocolError("a stream ended without [DONE]")
