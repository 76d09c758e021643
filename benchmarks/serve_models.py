"""A child process of benchmarks.serve: a random Llama of 58 M parameters, and random rank-16 adapters on a base.

`python -m benchmarks.serve_models FOLDER TOKENIZER_FROM ADAPTERS [--base BASE]` makes `FOLDER/base`, unless `--base`
names one, and adapters `FOLDER/a0`, `FOLDER/a1`, … on all linear layers. What they say is noise; what it costs is not.
"""

from __future__ import annotations

import argparse
import math
import shutil
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from benchmarks.evaluate_models import SPREAD, TOKENIZER

SHAPE = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 8, "num_attention_heads": 12}


def make_base(folder: Path, tokenizer_from: Path) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=512, max_position_embeddings=512, head_dim=64, initializer_range=0.05, **SHAPE)
    LlamaForCausalLM(config).to(torch.float32).save_pretrained(folder)
    for name in TOKENIZER:
        shutil.copyfile(tokenizer_from / name, folder / name)
    return folder


def make_adapters(base: Path, folder: Path, adapters: int) -> None:
    """One model; its adapter's weights are drawn anew for each. Adapters change answers far more than rounding does."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tuned = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    for number in range(adapters):
        torch.manual_seed(number)
        for name, weights in tuned.named_parameters():
            if "lora_A" in name:
                torch.nn.init.kaiming_uniform_(weights, a=math.sqrt(5))
            elif "lora_B" in name:
                torch.nn.init.normal_(weights, std=SPREAD)
        tuned.save_pretrained(folder / f"a{number}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve_models")
    parser.add_argument("folder", type=Path)
    parser.add_argument("tokenizer_from", type=Path)
    parser.add_argument("adapters", type=int)
    parser.add_argument("--base", type=Path)
    asked = parser.parse_args()
    make_adapters(asked.base or make_base(asked.folder / "base", asked.tokenizer_from), asked.folder, asked.adapters)


if __name__ == "__main__":
    main()
