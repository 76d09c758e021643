"""Supervised fine-tuning: cross-entropy on the completion, its end-of-turn token included."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from datasets import Dataset
from transformers import Trainer
from trl import SFTConfig, SFTTrainer

from harness.core.records import RunJob
from harness.train.encode import RowCounts, sft_examples
from harness.train.model import Base, trainer_on


def build_trainer(
    base: Base, job: RunJob, rows: list[dict[str, Any]], arguments: dict[str, Any]
) -> tuple[Trainer, RowCounts]:
    """A trainer over a skeleton of `base`, and what became of the rows.

    `rows` hold `prompt` and `completion`. They are tokenised here rather than by TRL, which cuts without counting.
    """
    examples, counts = sft_examples(base.tokenizer, rows, arguments.get("max_length", 1024))
    if not arguments.get("packing"):
        arguments = {**arguments, "max_length": None}  # already cut
    make = partial(
        SFTTrainer,
        args=SFTConfig(**arguments),
        train_dataset=Dataset.from_list(examples),
        processing_class=base.tokenizer,
    )
    if arguments.get("packing"):
        counts = replace(counts, longest=arguments["max_length"])
    return trainer_on(base, job, make), counts
