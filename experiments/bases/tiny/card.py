"""The model card of the tiny base, filled with the figures of the build that wrote it."""

from __future__ import annotations

import os
from typing import Any

TOKENS_PER_STEP = 4 * 256

CARD = """# tiny: the embedded base model

A Llama-shaped language model of {parameters:,} parameters that knows a small child's English. It exists so that
Ratchet's quickstart and tests run a whole turn (train, serve, evaluate, rate) on a laptop without a download. It is no
product.

## Shape
3 layers, width 256, 8 heads of size 32 over 4 key-value heads, MLP 512, tied embeddings, context 1,024, bf16.
Byte-level BPE of 2,048 tokens, trained on the same corpus, split by the GPT-2 rule. Turns are
`<|user|>...<|end|><|assistant|>...<|end|>`, with `<|system|>...<|end|>` before them where there is one; generation
stops at `<|end|>` and at `<|endoftext|>`. The chat template marks assistant text for assistant-only loss.

## Data
Written by `corpus.py` and the files next to it from seeds; nothing is copied from elsewhere. {characters:,} characters
and {sentences:,} distinct sentences: little stories, talk between children, facts about everyday things, questions and
answers, counting and reading problems, and chat with short tasks (repeat, list, look up an icon, fill in, swap a word,
tell a tale from words). Icon lists occur only in tasks that do not turn them into a sentence. The icon sets
of the evaluation items of `aac`, and the held-out wordings and combinations of `tiny_general`, are kept out;
`corpus.py`, `facts.py` and `quiz.py` say how. Sentences by the same grammar as the AAC data, plain and warm, do occur
as talk: the base knows how such sentences sound, not how icons become one.

## Training
Two parts, each in steps of 4 windows of 256 tokens, AdamW (0.9, 0.95), weight decay 0.1, peak rate 2e-3 after 100
warm-up steps, cosine to 5 %, clipping at 1.0, bf16 autocast over fp32 weights. The first part teaches words and
sentences, with loss on every token. The second is mostly tasks whose answer stands in the question, with loss on the
answers alone: without it the model speaks well but cannot look back, and invents the words that it should copy.
{note}

| part | documents | tokens | steps | tokens seen | passes |
|---|---|---|---|---|---|
{parts}

| part | step | mean training loss | seconds |
|---|---|---|---|
{curve}

## Rebuild
`python -m experiments.bases.tiny.build` writes all files of this folder that are not source. `--steps 20 --out DIR`
makes a quick, useless one for tests. Corpus and tokenizer come out the same everywhere; weights may differ in the last
bits between machines, since bf16 kernels do.

## Limits
It knows a few hundred words and some hundred facts, all in short sentences; it was trained on windows of 256 tokens,
so longer prompts are not what it knows. It makes things up, counts badly and cannot do anything that its corpus does
not show. English only.

## Licence
Apache-2.0, like the rest of the repository.
"""


def _curve(part: dict[str, Any]) -> list[str]:
    """About six rows of a part's log, the last one always among them."""
    log = part["log"]
    every = max(1, len(log) // 6)
    kept = [row for number, row in enumerate(log) if number == 0 or (number + 1) % every == 0 or row is log[-1]]
    return [f"| {part['name']} | {row['step']:,} | {row['loss']:.3f} | {row['seconds']:,} |" for row in kept]


def _part(part: dict[str, Any]) -> str:
    seen = part["steps"] * TOKENS_PER_STEP
    numbers = f"{part['documents']:,} | {part['tokens']:,} | {part['steps']:,} | {seen:,} | {seen / part['tokens']:.1f}"
    return f"| {part['name']} | {numbers} |"


def model_card(facts: dict[str, Any], parts: list[dict[str, Any]]) -> str:
    """README.md of the model folder. `facts` are figures of the whole build, `parts` those of each part."""
    note = f"The whole build took {facts['seconds'] / 60:.0f} minutes on {os.cpu_count()} CPU cores without a GPU."
    curve = "\n".join(row for part in parts for row in _curve(part))
    return CARD.format(**{"note": note, **facts}, parts="\n".join(map(_part, parts)), curve=curve)
