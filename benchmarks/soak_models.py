"""A child process: random adapters on a base, and what each of them must answer, by in-process PEFT in fp32.

`python -m benchmarks.soak_models JOB.json` with {"base", "folder", "adapters": {name: seed}, "candidates": [question],
"probes": n, "tokens": n} saves each adapter to `folder/name` and writes `folder/answers.json`:
{"probes": [question], "answers": {name or "base": [text per probe]}}. A question becomes a probe only where every model
gives another answer, and where no token of any answer is nearly a tie: which one wins there may depend on the batch.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

SPREAD = 0.15  # of the random B weights: large enough that greedy answers differ from the base's
SMALLEST_GAP = 0.02  # nats between the best token and the next; served log-probs agree with PEFT's within 1e-3
RANK = 8


def main() -> None:
    torch.set_num_threads(1)  # the models are small; more threads wait for one another on a busy machine
    job = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(job["folder"])
    tokenizer = AutoTokenizer.from_pretrained(job["base"])
    found: dict[str, list[tuple[str, float]]] = {}
    for name, seed in {"base": 0, **job["adapters"]}.items():
        model: Any = AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float32)
        if name != "base":
            model = adapter(model, seed)
            model.save_pretrained(folder / name)
        model.eval()
        found[name] = greedy(model, tokenizer, job["candidates"], job["tokens"])
    chosen = [index for index in range(len(job["candidates"])) if is_clear([of[index] for of in found.values()])]
    if len(chosen) < job["probes"]:
        sys.exit(f"only {len(chosen)} of {len(job['candidates'])} questions tell all {len(found)} models apart")
    chosen = chosen[: job["probes"]]
    answers = {name: [of[index][0] for index in chosen] for name, of in found.items()}
    result = {"probes": [job["candidates"][index] for index in chosen], "answers": answers}
    (folder / "answers.json").write_text(json.dumps(result))


def adapter(model: Any, seed: int) -> Any:
    """A LoRA on all linear layers whose every weight comes from `seed`."""
    torch.manual_seed(seed)
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    tuned = get_peft_model(model, config)
    for key, weights in tuned.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(weights, std=SPREAD)
    return tuned


def is_clear(answers: list[tuple[str, float]]) -> bool:
    texts = [text for text, _ in answers]
    return (
        len(set(texts)) == len(texts) and all(text for text in texts) and min(gap for _, gap in answers) > SMALLEST_GAP
    )


@torch.no_grad()
def greedy(model: Any, tokenizer: Any, questions: list[str], tokens: int) -> list[tuple[str, float]]:
    """Per chat turn: (the answer, the smallest gap in nats between a token taken and the next best)."""
    turns = [[{"role": "user", "content": question}] for question in questions]
    prompts = [tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False) for turn in turns]
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])  # padded on the left
    seen = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    smallest = torch.full((len(prompts),), float("inf"))
    going = torch.ones(len(prompts), dtype=torch.bool)
    fed, cache, answer = ids, None, []
    for _ in range(tokens):
        positions = (seen.cumsum(1) - 1).clamp(min=0)[:, -fed.shape[1] :]
        step = model(
            input_ids=fed, attention_mask=seen, position_ids=positions, past_key_values=cache, logits_to_keep=1
        )
        best = step.logits[:, -1].float().log_softmax(-1).topk(2)
        smallest = torch.where(going, torch.minimum(smallest, best.values[:, 0] - best.values[:, 1]), smallest)
        chosen = torch.where(going, best.indices[:, 0], tokenizer.eos_token_id)
        going &= chosen != tokenizer.eos_token_id
        fed, cache = chosen[:, None], step.past_key_values
        seen = torch.cat([seen, torch.ones_like(fed)], 1)
        answer.append(fed)
    texts = tokenizer.batch_decode(torch.cat(answer, 1), skip_special_tokens=True)
    return list(zip(texts, smallest.tolist(), strict=True))


if __name__ == "__main__":
    main()
