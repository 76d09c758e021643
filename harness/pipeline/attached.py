"""`ratchet serve --attach URL`: the registry's versions on a vLLM that somebody else runs, kept there until Ctrl-C."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.base import describe
from harness.core.errors import EngineError, InputError, RatchetError
from harness.core.paths import Lab
from harness.core.records import RegistryRecord
from harness.pipeline.context import find_adapter
from harness.progress import Progress
from serve import registry
from serve.attach import Attached

LOOK_S = 1.0  # how soon a promotion is followed
LIST_EVERY = 15  # looks until the server is asked what it has: it may have been restarted
MISSING = (
    "an unmodified server: ask for NAME@vN, as aliases are not known inside; Ratchet's keys, limits, capture, metrics "
    "and CPU kernels are not there, and stock CPU kernels answer mixed batches wrongly (vllm#48421)"
)


def attach(
    lab: Lab,
    records: Callable[[], list[RegistryRecord]],
    server: Attached,
    wait: Callable[[float], bool],
    progress: Progress,
) -> None:
    """Load what aliases serve, then follow them until `wait(seconds)` says that it is over.

    Raises EngineError when the server does not load adapters at all, or serves another base than the registry's.
    """
    seen = server.models()
    progress.say(f"attached to {server.root}: {', '.join(_bases(seen)) or 'no model'}")
    progress.say(MISSING, style="yellow")
    watch = Watch(lab, server, progress)
    watch.follow(records(), strict=True)
    progress.say("following the registry's aliases; Ctrl-C lets go, and what is loaded stays")
    looks = 0
    while not wait(LOOK_S):
        looks += 1
        if looks % LIST_EVERY == 0:
            watch.look()
        watch.follow(records())


class Watch:
    """What was loaded, so that each version is asked for once, and each alias' move is told once."""

    def __init__(self, lab: Lab, server: Attached, progress: Progress) -> None:
        self._lab, self._server, self._progress = lab, server, progress
        self._loaded: set[str] = set()
        self._serving: dict[str, str] = {}
        self._problems: dict[str, str] = {}
        self._base_sha256 = _base_sha256(lab, server)

    def look(self) -> None:
        """Ask the server what it has; what it lost in a restart is loaded again."""
        try:
            self._loaded &= {model["id"] for model in self._server.models()}
            self._problems.pop("", None)
        except EngineError as error:
            self._tell("", error.one_line())

    def follow(self, records: list[RegistryRecord], strict: bool = False) -> None:
        """Load what aliases serve now. What goes wrong is told once, or raised: `strict`, where nothing was loaded."""
        failed: RatchetError | None = None
        for record, alias in [(one, alias) for one in records for alias in one.aliases]:
            models = [f"{record.name}@v{version}" for version in registry.weights_of(record, alias)]
            for model in models:
                try:
                    self._load(model)
                    self._problems.pop(model, None)
                except RatchetError as error:
                    failed = error
                    self._tell(model, error.one_line())
            self._moved(f"{record.name}@{alias}", [model for model in models if model in self._loaded])
        if strict and failed and not self._loaded:
            raise failed

    def _moved(self, alias: str, models: list[str]) -> None:
        """Say once what an alias serves now; with weights, a client has to choose among them itself."""
        served = " or ".join(models)
        if served and self._serving.get(alias) != served:
            self._serving[alias] = served
            self._progress.say(f"{alias} is {served}: that is the model to ask {self._server.root}/v1 for")

    def _load(self, model: str) -> None:
        if model in self._loaded:
            return
        adapter = find_adapter(self._lab, model)
        if self._base_sha256 and adapter.base_sha256 != self._base_sha256:
            fix = "name what to serve: ratchet serve NAME --attach URL"
            raise InputError(f"{model} was trained on another base than {self._server.root} serves", fix)
        self._server.load(model, adapter.folder)
        self._loaded.add(model)

    def _tell(self, what: str, problem: str) -> None:
        if self._problems.get(what) != problem:
            self._problems[what] = problem
            self._progress.say(problem, style="red")


def key_header(variable: str) -> dict[str, str]:
    """The Authorization header from an environment variable; nothing where none is named."""
    if not variable:
        return {}
    key = os.environ.get(variable)
    if not key:
        raise InputError(f"environment variable {variable} is not set", "set it to the server's key")
    return {"authorization": f"Bearer {key}"}


def _bases(models: list[dict[str, Any]]) -> list[str]:
    return [str(model["id"]) for model in models if not model["parent"]]


def _base_sha256(lab: Lab, server: Attached) -> str | None:
    """The content of the base that the server names, where this machine sees the same folder; else None."""
    roots = [model["root"] for model in server.models() if not model["parent"] and model["root"]]
    if not roots or not Path(str(roots[0])).is_dir():
        return None
    return describe(str(roots[0]), lab).ref.sha256
