"""A child process: random LoRA adapters on a base, and what in-process PEFT says of some sequences.

`python make_adapters.py JOB.json` with {"base", "folder", "adapters": {name: {"r", "seed", …}}, "sequences": [[ids]]}
saves each adapter to `folder/name` and writes `folder/logprobs.json`: {name or "base": [[log p of tokens 2, 3, …]]}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

SPREAD = 0.15  # of the random B weights: large enough that greedy answers differ from the base's


def logprobs(model: torch.nn.Module, sequences: list[list[int]]) -> list[list[float]]:
    found = []
    for ids in sequences:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0].float()
        found.append(logits.log_softmax(-1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist())
    return found


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    folder, result = Path(job["folder"]), {}
    for name, settings in job["adapters"].items():
        seed = settings.pop("seed")
        model = AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float32)
        if "base" not in result:
            result["base"] = logprobs(model.eval(), job["sequences"])
        torch.manual_seed(seed)
        tuned = get_peft_model(model, LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM", **settings))
        for key, weights in tuned.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(weights, std=SPREAD)
        result[name] = logprobs(tuned.eval(), job["sequences"])
        tuned.save_pretrained(folder / name)
    (folder / "logprobs.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
