"""Make the tiny base model from nothing: corpus, tokenizer, pretraining in two parts, model card.

python -m experiments.bases.tiny.build [--steps N] [--out DIR]
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.bases.tiny.card import model_card
from experiments.bases.tiny.corpus import FIRST_MIX, SECOND_MIX, distinct_sentences, documents
from experiments.bases.tiny.tokenizer import dress, train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

STEPS = 5000
TOKENIZER_DOCUMENTS = 12_000
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Part:
    """One part of the pretraining. `share` of all steps; `answers_only` leaves the user's turns out of the loss."""

    name: str
    mix: dict[str, int]
    share: float
    documents_per_step: int
    corpus_seed: int
    order_seed: int
    answers_only: bool


# What a question says cannot be foretold where it is drawn by chance: in the second part its loss would only be noise
# (with it, copying had not begun after 750 steps; without it, it began before 500).
PARTS = (
    Part("words and sentences", FIRST_MIX, 0.6, 10, corpus_seed=7, order_seed=11, answers_only=False),
    Part("looking back", SECOND_MIX, 0.4, 5, corpus_seed=8, order_seed=1, answers_only=True),
)


def write_corpus(part: Part, steps: int) -> list[str]:
    """The documents of one part; a quick build gets fewer of the same."""
    return list(itertools.islice(documents(part.mix, part.corpus_seed), max(2_000, steps * part.documents_per_step)))


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[int]:
    """All documents as one row of token ids, each followed by the end-of-text token."""
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    rows = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [token for row in rows for token in (*row, end)]


def answer_labels(tokenizer: PreTrainedTokenizerFast, tokens: list[int], no_loss: int) -> list[int]:
    """The tokens as labels, with `no_loss` from each user or system turn up to its answer. Raw documents keep all."""
    questions = tokenizer.convert_tokens_to_ids(["<|user|>", "<|system|>"])
    answers = tokenizer.convert_tokens_to_ids(["<|assistant|>", "<|endoftext|>"])
    labels, counts = [], True
    for token in tokens:
        counts = counts and token not in questions
        labels.append(token if counts else no_loss)
        counts = counts or token in answers
    return labels


def train_part(
    model: Any, tokenizer: PreTrainedTokenizerFast, part: Part, texts: list[str], steps: int
) -> dict[str, Any]:
    """Train one part and return its figures for the model card."""
    import torch

    from experiments.bases.tiny.pretrain import NO_LOSS, pretrain

    tokens = encode(tokenizer, texts)
    labels = answer_labels(tokenizer, tokens, NO_LOSS) if part.answers_only else tokens
    rows = torch.tensor([tokens, labels], dtype=torch.long).T.contiguous()
    print(f"{part.name}: {len(texts)} documents, {len(tokens)} tokens, {steps} steps", flush=True)
    log = pretrain(model, rows, steps, part.order_seed)
    return {"name": part.name, "documents": len(texts), "tokens": len(tokens), "steps": steps, "log": log}


def build(out: Path, steps: int) -> None:
    """Write tokenizer, weights (bf16) and README.md below `out`."""
    # Threads that spin while they wait for one another waste most of a shared CPU. Must be set before torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    from experiments.bases.tiny.pretrain import new_model

    begun = time.monotonic()
    lengths = [round(steps * part.share) for part in PARTS]
    corpora = [write_corpus(part, length) for part, length in zip(PARTS, lengths, strict=True)]
    tokenizer = dress(train_tokenizer(corpora[0][:TOKENIZER_DOCUMENTS]))
    model = new_model(tokenizer)
    figures = [
        train_part(model, tokenizer, part, texts, length)
        for part, texts, length in zip(PARTS, corpora, lengths, strict=True)
    ]
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    texts = [text for corpus in corpora for text in corpus]
    facts = {
        "sentences": distinct_sentences(texts),
        "characters": sum(map(len, texts)),
        "parameters": model.num_parameters(),
        "seconds": round(time.monotonic() - begun),
    }
    (out / "README.md").write_text(model_card(facts, figures), encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of both parts together")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the model (default: next to this script)")
    arguments = parser.parse_args()
    build(arguments.out, arguments.steps)


if __name__ == "__main__":
    main()
