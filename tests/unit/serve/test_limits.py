"""What an engine is started with, from what the registry serves."""

from __future__ import annotations

from pathlib import Path

from harness.core.paths import Lab
from harness.core.records import Shadow
from serve import registry
from serve.limits import Served, limits, served
from tests.unit.serve.versions import BASE, add


def versions(*ranks: int, asked: bool = True, name: str = "a") -> list[Served]:
    return [Served(f"{name}@v{number}", rank, asked) for number, rank in enumerate(ranks, 1)]


def test_an_empty_registry_gets_the_least() -> None:
    assert limits([])[:4] == (4, 64, 16, [])


def test_slots_follow_what_is_asked_for_and_the_cache_what_lives() -> None:
    found = limits(versions(*[8] * 10) + versions(*[8] * 100, asked=False, name="b"))
    assert (found.max_loras, found.max_cpu_loras, found.max_lora_rank) == (11, 111, 16)
    found = limits(versions(*[8] * 500) + versions(*[8] * 1000, asked=False, name="b"))
    assert (found.max_loras, found.max_cpu_loras) == (64, 1024)


def test_the_rank_is_the_largest_that_is_served() -> None:
    assert limits(versions(8, 20)).max_lora_rank == 32
    assert limits(versions(8), also_ranks=[64]).max_lora_rank == 64
    assert limits(versions(8) + versions(32, asked=False, name="b")).max_lora_rank == 32


def test_one_large_version_is_served_and_said() -> None:
    """Rank 256 among ones that fit 16: each slot is 256 / 16 = 16 times as large."""
    found = limits(versions(8, 8, 16, 256))
    assert (found.max_lora_rank, found.left_out) == (256, [])
    (line,) = found.warnings
    assert line.startswith("a@v4: rank 256, the other 3 fit 16; each LoRA slot is 16 times as large")
    assert "--max-lora-rank 16" in line
    capped = limits(versions(8, 8, 16, 256), max_rank=16)
    assert (capped.max_lora_rank, capped.left_out, capped.max_loras) == (16, ["a@v4"], 4)
    assert "a@v4 has rank 256, this engine serves 16" in capped.warnings[0]


def test_half_of_them_large_is_no_exception() -> None:
    assert limits(versions(8, 256)).warnings == []
    assert limits(versions(8, 8, 64, 64)).warnings == []
    assert limits(versions(8, 8, 32)).warnings == [], "twice as large is no reason for another engine"


def test_an_old_large_version_does_not_slow_the_rest() -> None:
    found = limits(versions(8, 16) + versions(256, asked=False, name="old"))
    assert (found.max_lora_rank, found.left_out) == (16, ["old@v1"])
    assert len(found.warnings) == 1


def test_what_is_asked_for(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab")
    for mark, rank in ((1, 1), (2, 2), (3, 3), (4, 4), (5, 5)):
        add(lab, "aac", mark, tmp_path, rank=rank)
    add(lab, "other", 6, tmp_path, base="c" * 64)
    registry.set_weights(lab, "aac", "prod", {1: 9, 2: 1}, who="t", why="t")
    registry.set_shadow(lab, "aac", "prod", Shadow(version=3), who="t", why="t")
    current = registry.read(lab, "aac")
    gone = current.versions[3].model_copy(update={"removed": "2026-11-20T10:00:00+00:00"})
    unknown = current.versions[4].model_copy(update={"rank": None})
    registry.write(lab, current.model_copy(update={"versions": [*current.versions[:3], gone, unknown]}))
    found = served(registry.every(lab.registry), BASE)
    assert found == [
        Served("aac@v1", 1, True),
        Served("aac@v2", 2, True),
        Served("aac@v3", 3, True),
        Served("aac@v5", 16, False),
    ]
