"""A child process of benchmarks.evaluate: a random Llama and random LoRA adapters on a base, both in fp32.

`python -m benchmarks.evaluate_models FOLDER TOKENIZER_FROM [--base BASE] [--adapters N]` makes `FOLDER/base`, unless
`--base` names one, and adapters `FOLDER/a0`, `FOLDER/a1`, …. What they say is noise; what it costs to say it is not.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

# 21 M parameters: large enough that arithmetic is most of its cost, small enough for two cores.
SHAPE = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 6, "num_attention_heads": 8}
SPREAD = 0.05  # of the random B weights: adapters differ from the base and from one another by far more than rounding
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def make_base(folder: Path, tokenizer_from: Path) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=512, max_position_embeddings=512, head_dim=64, initializer_range=0.05, **SHAPE)
    LlamaForCausalLM(config).to(torch.float32).save_pretrained(folder)
    for name in TOKENIZER:
        shutil.copyfile(tokenizer_from / name, folder / name)
    return folder


def make_adapter(base: Path, folder: Path, seed: int) -> None:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(seed)
    tuned = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weights in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=SPREAD)
    tuned.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluate_models")
    parser.add_argument("folder", type=Path)
    parser.add_argument("tokenizer_from", type=Path)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--adapters", type=int, default=10)
    asked = parser.parse_args()
    base = asked.base or make_base(asked.folder / "base", asked.tokenizer_from)
    for number in range(asked.adapters):
        make_adapter(base, asked.folder / f"a{number}", number)


if __name__ == "__main__":
    main()
