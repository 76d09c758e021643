"""Makes a version's files ready before vLLM hears of it: in the engine's own folder, whole, and of the base's shapes.

The gatekeeper asks first, so that a version that cannot be served gets a clear 4xx and vLLM never sees it; the
resolver asks again and finds what is there.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.core.errors import InputError, LabError, RatchetError
from serve.adapters import RANKS
from serve.lease import ADAPTERS
from serve.plugin.call import Refused
from serve.registry import find, parse
from serve.storage import Shelf, Source, source

FORGET_S = 10.0  # how long a refusal stands before the files are looked at again: a copy and a hash each time


class Ready:
    """One process' view of what is ready. Different versions are prepared at once, each by one thread."""

    def __init__(
        self,
        source: Source,
        folder: Path,
        base: Path | None,
        max_lora_rank: int = RANKS[-1],
        base_name: str = "",
    ) -> None:
        self.source, self._base_name = source, base_name
        self._shelf = Shelf(source, folder, base, max_lora_rank)
        self._running: dict[str, asyncio.Task[Path]] = {}
        self._refused: dict[str, tuple[float, RatchetError]] = {}

    async def check(self, model: str, loaded: Mapping[str, Any]) -> None:
        """Refused where `model` is a version that cannot be served (400), or not now (503: the disk, the storage).

        The base and what is loaded are fine.
        """
        if model in loaded or "@" not in model or model == self._base_name:
            return
        try:
            await self.folder(model)
        except LabError as error:
            message = f"{model} cannot be loaded now: {error.problem}"
            raise Refused(503, "ServiceUnavailableError", message, "model", {"retry-after": "5"}) from error
        except RatchetError as error:
            raise Refused(400, "BadRequestError", f"{model} cannot be served: {error.problem}", "model") from error

    async def folder(self, name: str) -> Path:
        """The folder of `name@vN`. RatchetError where there is none, or where it cannot be served."""
        reference = parse(name)
        if reference.version is None:
            raise InputError(f"{name[:80]!r} is no version")
        version = find(self.source.record(reference.name), reference)
        since, error = self._refused.get(name, (0.0, None))
        if error and time.monotonic() - since < FORGET_S:
            raise error
        if name not in self._running:
            work = asyncio.to_thread(self._shelf.adapter, reference.name, version)
            self._running[name] = asyncio.ensure_future(work)
            self._running[name].add_done_callback(lambda _: self._running.pop(name, None))
        try:
            found = await asyncio.shield(self._running[name])  # a client that leaves must not spoil it for the others
        except RatchetError as error:
            self._refused[name] = (time.monotonic(), error)
            raise
        self._refused.pop(name, None)
        return found


def ready_from_environment() -> Ready | None:
    """What an engine of ours says about itself; None without a registry."""
    registry, hold = os.environ.get("RATCHET_REGISTRY"), os.environ.get("RATCHET_HOLD")
    if not registry or not hold:
        return None
    base = Path(os.environ.get("RATCHET_BASE_PATH") or "")
    rank = int(os.environ.get("RATCHET_MAX_LORA_RANK") or RANKS[-1])
    return Ready(source(registry), Path(hold).parent / ADAPTERS, base if base.name and base.is_dir() else None, rank)
