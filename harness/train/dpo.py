"""Direct preference optimisation (Rafailov et al., 2023; arXiv:2305.18290) against a frozen reference."""

from __future__ import annotations

from functools import partial
from typing import Any

from datasets import Dataset
from transformers import Trainer
from trl import DPOConfig, DPOTrainer

from harness.core.records import RunJob
from harness.train.encode import RowCounts, refuse_empty
from harness.train.model import Base, trainer_on


def build_trainer(
    base: Base, job: RunJob, rows: list[dict[str, Any]], arguments: dict[str, Any]
) -> tuple[Trainer, RowCounts]:
    """A trainer over a skeleton of `base`, and what became of the rows (`prompt`, `chosen`, `rejected`).

    The reference is a frozen copy of `job.init_adapter`, which the run continues; without one it is the bare base.
    TRL makes the copy when it gets a PeftModel and no `peft_config`; both at once would stack adapters.
    """
    config = DPOConfig(**arguments)
    make = partial(DPOTrainer, args=config, train_dataset=Dataset.from_list(rows), processing_class=base.tokenizer)
    trainer = trainer_on(base, job, make)
    used = trainer.train_dataset
    refuse_empty(len(used), config.max_length)
    lengths = [len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in used]
    limit = config.max_length or max(lengths)
    cut = sum(length > limit for length in lengths)
    longest = min(limit, max(lengths))
    return trainer, RowCounts(used=len(used), cut=cut, dropped=len(rows) - len(used), longest=longest)
