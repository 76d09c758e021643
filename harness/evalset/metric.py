"""Metrics as evalset.yaml names them, and what is known of each shipped scorer before it is loaded.

The scorers themselves are in harness.evaluate.scorers; a test holds the two lists together.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.core.records import Direction, MetricInfo

FULL_MARKS = {"share": 1.0, "points": 100.0}  # units with a best value; any other unit has none
JUDGE = "judge"  # scorers whose names begin so belong to harness.evaluate.judge


class Kind(NamedTuple):
    """What a shipped scorer gives. `needs` is the item field it cannot do without.

    `corpus` None: item values only; True or False: a corpus statistic exists, and is it the default.
    `full`: a gold answer gets full marks. `measured`: a property of any answer, so never a reason to call it scorable.
    """

    unit: str = "share"
    direction: Direction = "up"
    needs: str | None = "gold"
    corpus: bool | None = None
    full: bool = True
    measured: bool = False


KINDS: dict[str, Kind] = {
    "exact": Kind(),
    "contains": Kind(),
    "regex": Kind(needs=None),
    "numeric": Kind(),
    "accuracy": Kind(),
    "macro_f1": Kind(corpus=True),
    "json_schema": Kind(needs=None),
    "json_fields": Kind(),
    "sql": Kind(),
    "code": Kind(needs="tests"),
    "tool_call": Kind(needs="tool_calls"),
    "assertions": Kind(needs="assert"),
    "bleu": Kind("points", corpus=True),
    "chrf": Kind("points", corpus=False),
    "ter": Kind("points", "down", corpus=True),
    "rouge_l": Kind(),
    "meteor": Kind(full=False),
    "nist": Kind("nist", full=False),
    "cider": Kind("cider", full=False),
    "refusal": Kind(needs=None),
    "groundedness_overlap": Kind(needs="contexts", full=False),
    "context_relevance_overlap": Kind(needs="contexts", full=False),
    "answer_relevance_overlap": Kind(needs=None, full=False),
    "length": Kind("words", needs=None, full=False, measured=True),
    "thinking_length": Kind("words", needs=None, full=False, measured=True),
    "latency": Kind("s", "down", needs=None, full=False, measured=True),
    "cost": Kind("per 1000 requests", "down", needs=None, full=False, measured=True),
}
COUNTED = ("length", "thinking_length")  # their unit is what options.count says
UNITS = ("words", "characters", "tokens")


class Metric(BaseModel):
    """One metric of an evalset. Unit and direction are the scorer's own where they are not written."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    scorer: str
    direction: Direction = "up"
    unit: str = "share"
    chance: float | None = Field(None, description="what guessing scores, in the metric's unit")
    options: dict[str, Any] = {}
    over_samples: Literal["mean", "pass_at_k"] = "mean"
    k: int | None = Field(None, ge=1, description="of pass@k: at most `samples`")

    @model_validator(mode="before")
    @classmethod
    def _natural(cls, value: Any) -> Any:
        kind = KINDS.get(str(value.get("scorer"))) if isinstance(value, dict) else None
        if kind is None:
            return value
        return {"unit": _unit(value, kind), "direction": kind.direction, **value}

    @model_validator(mode="after")
    def _fits(self) -> Metric:
        kind = KINDS.get(self.scorer)
        if kind and self.unit != (natural := _unit({"scorer": self.scorer, "options": self.options}, kind)):
            raise ValueError(f"unit {self.unit!r}: {self.scorer} gives {natural}")
        if (self.over_samples == "pass_at_k") != (self.k is not None):
            raise ValueError("over_samples: pass_at_k and k belong together")
        if self.k and (self.unit not in FULL_MARKS or self.direction == "down" or self.aggregate != "mean"):
            raise ValueError(f"pass_at_k needs answers that are right or wrong, which {self.scorer} does not tell")
        return self

    @property
    def kind(self) -> Kind | None:
        """None for an own scorer or a judge's."""
        return KINDS.get(self.scorer)

    @property
    def info(self) -> MetricInfo:
        """As results carry it. Labels guessed at random are right once in as many times as there are labels."""
        chance, labels = self.chance, self.options.get("labels")
        if chance is None and self.scorer == "accuracy" and isinstance(labels, list) and labels:
            chance = 1 / len(labels)
        return MetricInfo(direction=self.direction, unit=self.unit, aggregate=self.aggregate, chance=chance)

    @property
    def aggregate(self) -> str:
        """'mean', or the corpus statistic of `Score.parts` (harness.stats computes it)."""
        kind = self.kind
        if kind is None or kind.corpus is None:
            return "mean"
        return self.scorer if self.options.get("corpus", kind.corpus) else "mean"

    @property
    def best(self) -> float | None:
        """The value of a perfect answer; None where the unit has no end on that side."""
        return 0.0 if self.direction == "down" else FULL_MARKS.get(self.unit)


def _unit(value: dict[str, Any], kind: Kind) -> str:
    options = value.get("options")
    if value["scorer"] in COUNTED and isinstance(options, dict):
        return str(options.get("count", kind.unit))
    return kind.unit
