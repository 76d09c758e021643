"""Training methods by name, and every argument name they take, without importing torch.

A method is one module `harness.train.<name>` with `build_trainer` (see `harness.train.sft`) and one entry in `METHODS`.
"""

from __future__ import annotations

from dataclasses import dataclass

Source = tuple[str, str, str]  # installed package, file in it, dataclass in that file

TRAINING_ARGUMENTS: tuple[Source, ...] = (
    ("trl", "trainer/base_config.py", "_BaseConfig"),
    ("transformers", "training_args.py", "TrainingArguments"),
)
LORA_CONFIG: tuple[Source, ...] = (("peft", "tuners/lora/config.py", "LoraConfig"),)


@dataclass(frozen=True)
class Method:
    """`config`: where TRL declares its arguments. `fields`: those that belong to `method` rather than to arguments."""

    config: tuple[Source, ...]
    fields: tuple[str, ...]
    sequences: int  # that one row puts into a batch
    ignored: dict[str, str]  # arguments TRL takes and then does nothing with, and what to do instead


METHODS: dict[str, Method] = {
    "sft": Method(
        config=(("trl", "trainer/sft_config.py", "SFTConfig"), *TRAINING_ARGUMENTS),
        fields=("loss_type",),
        sequences=1,
        ignored={},
    ),
    "dpo": Method(
        config=(("trl", "trainer/dpo_config.py", "DPOConfig"), *TRAINING_ARGUMENTS),
        fields=(
            "beta",
            "loss_type",
            "loss_weights",
            "label_smoothing",
            "f_divergence_type",
            "f_alpha_divergence_coef",
            "ld_alpha",
            "use_weighting",
            "discopop_tau",
        ),
        sequences=2,
        ignored={
            "padding_free": "leave it out: TRL 1.16 switches it off for DPO",
            "sync_ref_model": "leave it out: with an adapter the reference stays frozen",
            "ref_model_mixup_alpha": "leave it out: with an adapter the reference stays frozen",
            "ref_model_sync_steps": "leave it out: with an adapter the reference stays frozen",
        },
    ),
}

# DPO losses that read these fields; with any other loss TRL takes the value and ignores it.
DPO_READERS: dict[str, tuple[str, ...]] = {
    "label_smoothing": ("robust", "exo_pair", "aot", "aot_unpaired"),
    "discopop_tau": ("discopop",),
}
