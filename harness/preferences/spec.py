"""The YAML of the next DPO round, commented for the person who runs it. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from harness.core.errors import InputError
from harness.preferences.labels import MIN_COMPARISONS
from harness.preferences.rows import Preferences
from harness.spec import Baseline, Lora, as_yaml

SFT_LEARNING_RATE = 2e-4  # the usual one for LoRA
SFT_TO_DPO = 20  # 2e-4 for SFT and 1e-5 for DPO on LoRA are the usual starts; the ratio carries over to other bases
TAKEN_OVER = ("per_device_train_batch_size", "gradient_accumulation_steps", "max_length")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What of the DPO round's training is chosen for it, beside what it takes over."""

    beta: float
    learning_rate: float
    epochs: float


def next_spec(
    previous: Mapping[str, Any],
    *,
    init_adapter: str,
    dataset: str,
    primary: str,
    preferences: Preferences,
    adapter: Mapping[str, Any] | None = None,
    sft_learning_rate: float = SFT_LEARNING_RATE,
    beta: float = 0.1,
    epochs: float = 1,
) -> str:
    """The YAML of the DPO round that continues `init_adapter` on `dataset`, commented for the person who runs it.

    `previous` is the spec that made the promoted adapter, as written or resolved: name, base, evalsets, lm-eval tasks,
    baselines and guardrails are taken over. `adapter` is the promoted run's own LoRA setting (a grid has several), and
    `sft_learning_rate` the rate it was trained at: DPO starts at a twentieth of it.
    `primary` is the metric that the round must win. Raises InputError when there is nothing to train on or the raters
    do not agree beyond chance.
    """
    agreement = preferences.agreement
    if not preferences.rows:
        raise InputError("no pair has a decisive majority", "collect more votes, or widen the campaign's pool")
    if agreement.share is not None and agreement.comparisons >= MIN_COMPARISONS and agreement.flip_rate is None:
        raise InputError(agreement.note, "sharpen guidelines.md and rate again")
    if preferences.noise is not None and preferences.noise.at_chance:
        raise InputError(preferences.noise.refused)
    name = str(previous["name"])
    train: Mapping[str, Any] = previous.get("train") or {}
    lora = adapter or train.get("adapter")
    gate: Mapping[str, Any] = previous.get("gate") or {}
    guardrails = list(gate.get("guardrails") or [])
    settings = Settings(beta, sft_learning_rate / SFT_TO_DPO, epochs)
    blocks = [
        _heading(init_adapter, preferences),
        as_yaml({"name": name, "base_model": previous["base_model"]}),
        f"train:\n{_indent(_train_block(init_adapter, dataset, preferences, lora, train, settings))}",
        as_yaml({"baselines": _baselines(previous)}),
        as_yaml({"evaluate": _without_none(previous.get("evaluate") or {})}),
        f"gate:\n{_indent(_gate_block(primary, guardrails, gate))}",
    ]
    return "\n".join(block.rstrip("\n") + "\n" for block in blocks)


def _heading(init_adapter: str, preferences: Preferences) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in preferences.counts.items() if count)
    campaigns = sorted({row["campaign"] for row in preferences.rows})
    share = preferences.agreement.share
    agreed = "" if share is None else f"; raters agreed on {share:.0%}"
    return (
        f"# The round after {init_adapter}, from blind ratings ({', '.join(campaigns)}).\n"
        f"# Pairs: {counts}{agreed} ({preferences.agreement.note}).\n" + _more(preferences)
    )


def _more(preferences: Preferences) -> str:
    """What of the rows is not a majority of votes."""
    text = f"# {preferences.adjudicated} of them as a lead ruled.\n" if preferences.adjudicated else ""
    if preferences.edited:
        some = "1 edited answer" if preferences.edited == 1 else f"{preferences.edited} edited answers, each"
        text += f"# And {some} over the one that it was made from; alone in sft.jsonl.\n"
    return text


def _train_block(
    init_adapter: str,
    dataset: str,
    preferences: Preferences,
    lora: Mapping[str, Any] | None,
    train: Mapping[str, Any],
    settings: Settings,
) -> str:
    smoothing, noise = preferences.label_smoothing, preferences.noise
    if smoothing:  # the default loss ignores label_smoothing, "robust" reads it (facts, TRL)
        method: dict[str, Any] = {
            "type": "dpo",
            "beta": settings.beta,
            "loss_type": "robust",
            "label_smoothing": smoothing,
        }
        source = (
            "the raters' agreement" if not noise or noise.error is None else "gold pairs and repeats, ambiguity apart"
        )
        why = f"label_smoothing: expected share of wrong majorities, from {source}"
    else:
        method = {"type": "dpo", "beta": settings.beta, "loss_type": "sigmoid"}
        why = "beta: how closely to stay to the reference; larger is closer"
    lines = [
        f"init_adapter: {init_adapter}  # trained further, and DPO's frozen reference\n",
        f"# {why}\n",
        as_yaml({"method": method}),
        f"dataset: {json.dumps(dataset)}  # {len(preferences.rows)} preferences\n",
        as_yaml({"adapter": _said_lora(lora)}) if lora else "",
        as_yaml({"quantization": train.get("quantization") or "none"}),
        f"learning_rate: {settings.learning_rate:.1e}  # SFT's / {SFT_TO_DPO}; watch rewards/margins, logps/chosen\n",
        as_yaml({"num_train_epochs": settings.epochs}),
        as_yaml({key: train[key] for key in TAKEN_OVER if key in train} | {"seed": int(train.get("seed") or 0)}),
    ]
    return "".join(lines)


def _gate_block(primary: str, guardrails: list[Any], gate: Mapping[str, Any]) -> str:
    incumbent = gate.get("incumbent")
    before = (gate.get("primary") or {}).get("metric")
    text = as_yaml({"incumbent": incumbent}) if incumbent else ""
    text += "# what this round must win: the raters' wish, as a metric\n"
    text += as_yaml({"primary": {"metric": primary, "better_than": ["incumbent", "best_baseline"], "min_gain": 0}})
    if guardrails:
        text += "# taken over: what must not get worse\n" + as_yaml({"guardrails": guardrails})
    if before and before != primary and all(rail.get("metric") != before for rail in guardrails):
        text += (
            f"# {before} was the primary until now and nothing guards it here. To keep it, add to guardrails:\n"
            f"#   - {{metric: {before}, against: [base, incumbent], max_loss: <how much you can bear>}}\n"
        )
    return text


def _baselines(previous: Mapping[str, Any]) -> list[Any]:
    """The same rows to beat. Few-shot examples keep coming from the data they came from: pairs.jsonl has none."""
    dataset = (previous.get("train") or {}).get("dataset")
    first = dataset[0] if isinstance(dataset, list) and dataset else dataset
    source = first.get("path") if isinstance(first, Mapping) else first
    entries: list[Any] = []
    for written in previous.get("baselines") or ["zero_shot"]:
        baseline = Baseline.model_validate(written)
        if baseline.kind == "few_shot":
            examples = baseline.examples or source
            entries.append({"few_shot": baseline.shots} | ({"examples": examples} if examples else {}))
        else:
            entries.append({"adapter": baseline.adapter} if baseline.kind == "adapter" else "zero_shot")
    return entries


def _said_lora(lora: Mapping[str, Any]) -> dict[str, Any]:
    """The adapter's settings without those that stand at their defaults, as a person would write them."""
    defaults = Lora().model_dump(exclude={"type", "r", "lora_alpha", "target_modules"})
    return {key: value for key, value in lora.items() if key not in defaults or value != defaults[key]}


def _indent(text: str) -> str:
    return "".join(f"  {line}\n" if line else "\n" for line in text.splitlines())


def _without_none(value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(inner) if isinstance(inner, Mapping) else inner
        for key, inner in value.items()
        if inner is not None
    }
