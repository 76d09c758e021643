"""A child process: a full fine-tune of a base (every weight moved), and what transformers answers with it.

`python make_full.py BASE FOLDER PROMPT` saves the model to FOLDER, and to FOLDER-answer.json the greedy answer of eight
tokens: {"ids", "logprobs"}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

SPREAD = 0.05  # of what is added to each weight, relative to the weights' own: the answers differ from the base's


def main() -> None:
    base, folder, prompt = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    torch.manual_seed(7)
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(torch.randn_like(weights) * weights.std() * SPREAD)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    told = model.generate(ids, max_new_tokens=8, do_sample=False, output_logits=True, return_dict_in_generate=True)
    new = told.sequences[0, ids.shape[1] :]
    rows = torch.stack(told.logits)[:, 0].float().log_softmax(-1)
    answer = {"ids": new.tolist(), "logprobs": rows.gather(1, new[:, None])[:, 0].tolist()}
    Path(f"{folder}-answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
