"""What an engine should be started with for the versions that a registry serves: slots, cache and rank. Pure.

vLLM gives every slot the largest rank (`--max-lora-rank`): memory per slot, and on GPUs the work per token too, grow
with it whatever the adapter in the slot needs. One version of rank 256 among ones of rank 8 makes every slot 32 times
as large; then it is better off in an engine of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from harness.core.records import RegistryRecord
from serve.adapters import rank_bucket
from serve.registry import living, weights_of

MIN_RANK = 16  # so that the first adapters of a lab do not need another engine for each rank
MIN_SLOTS, MAX_SLOTS = 4, 64  # adapters in one batch; more slots cost memory, fewer make adapters take turns
MIN_CACHED, MAX_CACHED = 64, 1024  # adapters kept parsed in main memory; one that falls out is read from disk again
MUCH_LARGER = 4  # times the rank that all others fit: then it is cheaper to serve it apart
UNKNOWN_RANK = 16  # of versions recorded before ranks were


class Served(NamedTuple):
    """One version that an engine is to serve; `asked` when an alias, weight or shadow points to it now."""

    label: str
    rank: int
    asked: bool


class Limits(NamedTuple):
    """`left_out`: versions that this engine will refuse as too large; `warnings`: one line each, with the fix."""

    max_loras: int
    max_cpu_loras: int
    max_lora_rank: int
    left_out: list[str]
    warnings: list[str]


def served(records: Iterable[RegistryRecord], base_sha256: str) -> list[Served]:
    """The living versions of one base, and which of them apps ask for by an alias."""
    found = []
    for record in records:
        pointed = {version for alias in record.aliases for version in weights_of(record, alias)}
        pointed |= {shadow.version for shadow in record.shadows.values()}
        for one in living(record):
            if one.base_sha256 == base_sha256 and one.kind == "lora":
                label = f"{record.name}@v{one.version}"
                found.append(Served(label, one.rank or UNKNOWN_RANK, one.version in pointed))
    return found


def limits(versions: Iterable[Served], also_ranks: Iterable[int] = (), max_rank: int | None = None) -> Limits:
    """What to start an engine with. `also_ranks`: of adapters outside the registry that it has to serve as well.

    As many slots as versions that are asked for, and one free for another; every living version stays in main memory,
    as far as the bounds go. The rank is that of everything that is asked for, up to `max_rank` where given. A version
    that no alias points to and that alone would make the slots much larger is left out.
    """
    versions = list(versions)
    asked = [one for one in versions if one.asked and one.rank <= (max_rank or one.rank)]
    top = rank_bucket(max([MIN_RANK, *(one.rank for one in asked), *also_ranks]))
    kept = [
        one for one in versions if one.rank <= (max_rank or one.rank) and (one.asked or one.rank < MUCH_LARGER * top)
    ]
    rank = rank_bucket(max([top, *(one.rank for one in kept)]))
    left_out = [one for one in versions if one.rank > rank]
    return Limits(
        max_loras=min(max(MIN_SLOTS, len(asked) + 1), MAX_SLOTS),
        max_cpu_loras=min(max(MIN_CACHED, len(kept) + 1), MAX_CACHED),
        max_lora_rank=rank,
        left_out=[one.label for one in left_out],
        warnings=[
            *(
                f"{one.label} has rank {one.rank}, this engine serves {rank}: it needs an engine of its own"
                for one in left_out
            ),
            *_lonely(asked),
        ],
    )


def _lonely(asked: list[Served]) -> list[str]:
    """A line where a few versions of much larger rank make every slot pay for them."""
    ranks = sorted(max(MIN_RANK, one.rank) for one in asked)
    for place, (low, high) in enumerate(pairwise(ranks), start=1):
        below, above = rank_bucket(low), rank_bucket(high)
        if above >= MUCH_LARGER * below and len(ranks) - place < place:
            few = [one.label for one in asked if one.rank >= high]
            times = rank_bucket(ranks[-1]) // below
            return [
                f"{', '.join(few)}: rank {ranks[-1]}, the other {place} fit {below}; each LoRA slot is {times} times "
                f"as large for it. Start this engine with --max-lora-rank {below}, and another one for it"
            ]
    return []
