"""Pretrain the tiny Llama from scratch on packed tokens. The one module here that needs torch at import."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from experiments.bases.tiny.tokenizer import CONTEXT

SEED = 11
WINDOW = 256  # long enough that a prompt with four examples lies inside what was trained
BATCH = 4
PEAK_RATE = 2e-3
FLOOR = 0.05  # of the peak rate, at the last step
WARMUP_STEPS = 100
LOG_EVERY = 100
NO_LOSS = -100  # the label that the model's loss leaves out


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained model in fp32: 3 layers, width 256, 8 heads of 32 over 4 key-value heads, tied embeddings."""
    torch.manual_seed(SEED)
    end, text_end = tokenizer.convert_tokens_to_ids(["<|end|>", "<|endoftext|>"])
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=text_end,
        eos_token_id=end,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config.eos_token_id = [end, text_end]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def windows(rows: torch.Tensor, seed: int) -> Iterator[torch.Tensor]:
    """Batches of packed windows of `rows` (length, 2: token and label) without end.

    Every epoch shuffles the windows and starts at another offset.
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        offset = int(torch.randint(WINDOW, (1,), generator=generator))
        count = (len(rows) - offset) // WINDOW
        packed = rows[offset : offset + count * WINDOW].view(count, WINDOW, 2)
        order = torch.randperm(count, generator=generator)
        for start in range(0, count - BATCH + 1, BATCH):
            yield packed[order[start : start + BATCH]]


def rate_at(step: int, steps: int) -> float:
    """Linear warm-up, then cosine to `FLOOR` of the peak."""
    if step < WARMUP_STEPS:
        return PEAK_RATE * (step + 1) / WARMUP_STEPS
    done = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    return PEAK_RATE * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done)))


def optimizer_for(model: LlamaForCausalLM) -> torch.optim.AdamW:
    """AdamW; weight decay on matrices only."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.95))


def pretrain(model: LlamaForCausalLM, rows: torch.Tensor, steps: int, seed: int) -> list[dict[str, Any]]:
    """Train in place; returns the mean loss and the seconds so far every `LOG_EVERY` steps (and at the last).

    Ends with the weights rounded to bf16, which is what gets stored: the next part starts from what a reader of the
    folder would start from.
    """
    optimizer, batches, log, recent, begun = optimizer_for(model), windows(rows, seed), [], [], time.monotonic()
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps)
        tokens, labels = (part.contiguous() for part in next(batches).unbind(-1))
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(input_ids=tokens, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        recent.append(loss.item())
        if (step + 1) % LOG_EVERY == 0 or step + 1 == steps:
            passed = round(time.monotonic() - begun)
            log.append({"step": step + 1, "loss": round(sum(recent) / len(recent), 4), "seconds": passed})
            print(log[-1], flush=True)
            recent = []
    model.to(torch.bfloat16).to(torch.float32)
    return log
