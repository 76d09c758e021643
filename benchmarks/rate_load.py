"""Simulated raters for `benchmarks.rate`: each signed in, with a page of their own, voting at a stated pace over HTTP.

A rater does what the rating page does: opens it, holds Gradio's heartbeat, sends the ticket on screen with a choice,
and shows what comes back. Where no answer comes, the same ticket and choice are sent again, as a person presses again
who reads "Not saved". A vote counts as shown as saved only where the page would have said so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
import numpy as np

LEAST_LOOK_S = 0.41  # the page takes no choice sooner (dashboards.desk.MIN_LOOK_S)
AGAIN_S = 0.5  # until a rater presses again who got no answer
TIMEOUT_S = 30.0
CHOICES = {"left": 0.45, "right": 0.45, "tie": 0.07, "both_bad": 0.03}
TEXTS = Path(__file__).parents[1] / "dashboards" / "static" / "texts.en.json"
ALREADY = str(json.loads(TEXTS.read_text(encoding="utf-8"))["note_already_saved"])
# What no answer looks like: no connection, one that ended, none in time.
SILENCE = (httpx.TransportError,)


@dataclass(frozen=True)
class Press:
    """One vote shown as saved. Times are of time.monotonic(); `tries`: how often it was sent."""

    assignment: str
    choice: str
    pressed: float
    saved: float
    tries: int

    @property
    def ms(self) -> float:
        return 1000 * (self.saved - self.pressed)


@dataclass
class Tally:
    """What raters of one phase saw. `other`: what the page said where it said neither saved nor already saved."""

    presses: list[Press] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    seconds: float = 0.0
    finished: int = 0  # raters who had nothing left


class Seat(Protocol):
    """A rater's place in front of one side."""

    async def show(self) -> bool:
        """Put the next vote's pair on screen; False where there is none left."""
        ...

    async def press(self, choice: str) -> str:
        """Send it: '' where it was saved, else what was said. Raises SILENCE where nothing came back."""
        ...

    @property
    def assignment(self) -> str: ...


class Page:
    """The rating page of one signed-in rater."""

    def __init__(self, http: httpx.AsyncClient, campaign: str, rater: str) -> None:
        self._http, self._rater = http, rater
        self._path = f"/rate/{campaign}"
        self._session = f"session-{rater}"
        self._handlers: dict[str, int] = {}
        self._ticket = ""

    @property
    def assignment(self) -> str:
        return self._ticket.partition("|")[0]

    async def open(self) -> bool:
        """Load the page and its first pair; False where there is none."""
        page = await self._http.get(f"{self._path}/", headers={"accept": "text/html"})
        page.raise_for_status()
        return await self._call(0)  # its load event is the first of its handlers

    async def alive(self) -> None:
        """Ask for the page, and leave what is on screen as it is."""
        await self._http.get(f"{self._path}/", headers={"accept": "text/html"})

    async def learn(self) -> None:
        """Which handler each button has, as the page's own configuration says."""
        found = (await self._http.get(f"{self._path}/config")).raise_for_status().json()
        names = {part["id"]: part["props"].get("elem_id") for part in found["components"]}
        for handler in found["dependencies"]:
            for component, event in handler["targets"]:
                if event == "click":
                    self._handlers[str(names.get(component))] = handler["id"]

    async def show(self) -> bool:
        return bool(self._ticket) or await self._call(0)

    async def press(self, choice: str) -> str:
        before = self.assignment
        note = await self._say(self._handlers[f"choose-{choice}"], [self._ticket, "{}"])
        saved = 'class="note saved"' in note or ALREADY in note
        return "" if saved and self.assignment != before else re.sub(r"<[^>]*>", "", note) or "nothing"

    async def beat(self) -> None:
        """Hold the heartbeat's connection as long as the page is open, again after the server was gone."""
        while True:
            with contextlib.suppress(*SILENCE):
                beat = f"{self._path}/gradio_api/heartbeat/{self._session}"
                async with self._http.stream("GET", beat, timeout=None) as answer:
                    async for _ in answer.aiter_raw():
                        pass
            await asyncio.sleep(AGAIN_S)

    async def _call(self, handler: int) -> bool:
        await self._say(handler, [])
        return bool(self._ticket)

    async def _say(self, handler: int, data: list[Any]) -> str:
        """The note that comes back; the ticket of what is on screen then is kept."""
        body = {"data": data, "fn_index": handler, "session_hash": self._session}
        answer = await self._http.post(f"{self._path}/gradio_api/run/predict", json=body)
        if answer.status_code != 200:
            return f"status {answer.status_code}"
        values = answer.json()["data"]
        ticket = values[8]  # note, progress, column, prompt, left, right, why, over, ticket
        if isinstance(ticket, str):  # else the page keeps what it has
            self._ticket = ticket
        return str(values[0])


class Form:
    """A rater of the peer, which has no pages: votes are counted up."""

    def __init__(self, http: httpx.AsyncClient, rater: str) -> None:
        self._http, self._rater, self._number = http, rater, 0

    @property
    def assignment(self) -> str:
        return f"peer/{self._number}/{self._rater}"

    async def show(self) -> bool:
        return True

    async def press(self, choice: str) -> str:
        vote = {"assignment": self.assignment, "rater": self._rater, "choice": choice}
        answer = await self._http.post("/votes", json=vote)
        self._number += answer.status_code == 200
        return "" if answer.status_code == 200 else f"status {answer.status_code}"


async def sit(seat: Seat, tally: Tally, think_s: float, until: float, seed: int) -> None:
    """Vote until `until`: `think_s` in the mean between a pair on screen and the choice, exponential from LEAST_LOOK_S
    on; what is pressed by then is carried through."""
    drawn = np.random.default_rng(seed)
    await asyncio.sleep(drawn.uniform(0, think_s))  # nobody starts in step
    while time.monotonic() < until:
        try:
            if not await seat.show():
                tally.finished += 1
                return
        except SILENCE:
            await asyncio.sleep(AGAIN_S)
            continue
        await asyncio.sleep(LEAST_LOOK_S + drawn.exponential(max(think_s - LEAST_LOOK_S, 0.001)))
        await _until_saved(seat, tally, str(drawn.choice(list(CHOICES), p=list(CHOICES.values()))))


async def _until_saved(seat: Seat, tally: Tally, choice: str) -> None:
    name, pressed, tries = seat.assignment, time.monotonic(), 0
    while True:
        tries += 1
        try:
            said = await seat.press(choice)
        except SILENCE:
            await asyncio.sleep(AGAIN_S)
            continue
        if said:
            tally.other.append(said)
            return
        tally.presses.append(Press(name, choice, pressed, time.monotonic(), tries))
        return


def client(address: str) -> httpx.AsyncClient:
    """One rater's browser: a connection to vote with, and one for the heartbeat."""
    # Shorter than the 5 s after which uvicorn closes what is idle; a browser, unlike httpx, sends such a request again.
    limits = httpx.Limits(max_connections=4, max_keepalive_connections=2, keepalive_expiry=2.0)
    headers = {"accept-language": "en"}
    return httpx.AsyncClient(base_url=address, timeout=TIMEOUT_S, limits=limits, headers=headers, trust_env=False)
