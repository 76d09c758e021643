"""What a report can show beside its comparisons, gathered by whoever has the lab at hand. Every part may be empty."""

from __future__ import annotations

from pydantic import Field

from harness.core.records import Record
from harness.error_analysis import Difference, TagCount


class Curve(Record):
    """One number that training logged, step by step."""

    run_id: str
    label: str
    name: str = Field(description="as logged: 'loss', 'eval_loss', 'rewards/accuracies', …")
    steps: list[int]
    values: list[float]


class RunCost(Record):
    """What one run cost and made."""

    run_id: str
    label: str
    trainable_parameters: int
    bytes: int = Field(description="of the adapter on disk")
    seconds: float = Field(description="of training")
    tokens: int = Field(description="trained on")


class Speed(Record):
    """How fast and how long one subject answered on one evalset, over the items with an answer."""

    subject: str
    evalset: str
    items: int
    median_s: float
    p95_s: float
    median_tokens: float | None


class Extras(Record):
    """All of it. `provenance`: what was compared and with what, as (name, value) pairs; `alias`: what is decided on."""

    alias: str | None = None
    serving: str | None = Field(None, description="what the alias serves now: 'aac@v1 (r=16)'")
    curves: list[Curve] = Field([])
    costs: list[RunCost] = Field([])
    speeds: list[Speed] = Field([])
    metric: str = Field("", description="what the examples and tags are about: 'aac/chrf'")
    examples: list[Difference] = Field([], description="items of `tune` and `dev`: those of release are never shown")
    tags: list[TagCount] = Field([])
    provenance: list[tuple[str, str]] = Field([])


NOTHING = Extras()
