"""Time from `promote` (the alias moves in the registry) to the first token of the version that it now names."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.serve_sides import Side, first_token
from harness.core.paths import Lab
from harness.core.records import Version, now
from serve import adapter_files, adapters, registry
from serve.engine import Engine

NAME, ALIAS = "bench", "prod"
GIVE_UP_S = 60


def add_versions(lab: Lab, folders: list[Path], base_sha256: str) -> list[int]:
    """Every folder as a version of `NAME`; their numbers."""
    return [
        registry.add_version(
            lab,
            NAME,
            Version(
                version=0,
                run_id=folder.name,
                adapter_sha256=adapter_files.content_sha256(folder),
                base_sha256=base_sha256,
                base_path="unused",
                verdict=None,
                plan_id=None,
                created=now(),
            ),
            folder,
        ).version
        for folder in folders
    ]


def measure(lab: Lab, side: Side, versions: list[int], ahead: Engine | None = None) -> list[float]:
    """Milliseconds for each version, none of which the engine has served before.

    With an engine as `ahead` it is made to load the version first, as `ratchet promote` does, outside the time. The
    client that asks is made before, as an app's is.
    """
    took = []
    with httpx.Client(trust_env=False) as client:
        for version in versions:
            if ahead and (refused := adapters.warm(ahead.lease, f"{NAME}@v{version}")):
                raise RuntimeError(f"{NAME}@v{version}: {refused}")
            started = time.monotonic()
            registry.move(lab, NAME, ALIAS, version, who="benchmark", why="measured")
            while (served := first_token(side.url, side.headers, NAME, client)) != f"{NAME}@v{version}":
                if time.monotonic() > started + GIVE_UP_S:
                    raise RuntimeError(f"{NAME} still answers as {served}, {GIVE_UP_S} s after it moved to v{version}")
            took.append((time.monotonic() - started) * 1e3)
    return took


def summary(took: list[float]) -> dict[str, Any]:
    ordered = sorted(took)
    return {
        "moves": len(ordered),
        "p50_ms": statistics.median(ordered),
        "p99_ms": ordered[min(int(0.99 * len(ordered)), len(ordered) - 1)],
        "max_ms": ordered[-1],
    }
