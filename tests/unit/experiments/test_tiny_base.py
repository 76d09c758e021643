"""The committed base model's files: size, tokenizer, chat template. Without torch."""

import json
from pathlib import Path
from typing import ClassVar

import jinja2
import jinja2.ext
import pytest
from tokenizers import Tokenizer

from experiments.bases.tiny.build import answer_labels
from experiments.bases.tiny.chat import render

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "experiments/bases/tiny"


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


def test_folder_is_small():
    sizes = [path.stat().st_size for path in FOLDER.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(sizes) < 12_000_000


def test_shape_is_what_the_server_takes():
    config = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["head_dim"] == 32
    assert config["vocab_size"] == 2048
    assert config["max_position_embeddings"] == 1024
    assert config["tie_word_embeddings"]


def test_generation_stops_at_both_ends(tokenizer):
    stops = json.loads((FOLDER / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
    assert set(stops) == {tokenizer.token_to_id("<|end|>"), tokenizer.token_to_id("<|endoftext|>")}


@pytest.mark.parametrize(
    "text",
    [
        "Say it: { ice cream ; NOUN } { thank you ; SOCIAL }",
        "  Odd   spaces\n\n",
        "Caf\u00e9 \u2014 \U0001f600",
        "Ooh, that's yummy!",
    ],
)
def test_any_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_icon_lists_are_short(tokenizer):
    """One token per common word and mark: three icons in under 25 tokens."""
    assert len(tokenizer.encode("Say it: { I ; PRONOUN } { want ; VERB } { apple ; NOUN }").ids) < 25


def test_template_gives_what_the_corpus_has():
    """The jinja template (with transformers' generation tag taken for a plain block) and `render` agree."""

    class Generation(jinja2.ext.Extension):
        tags: ClassVar = {"generation"}

        def parse(self, parser):
            next(parser.stream)
            return parser.parse_statements(["name:endgeneration"], drop_needle=True)

    source = (FOLDER / "chat_template.jinja").read_text(encoding="utf-8")
    template = jinja2.Environment(extensions=[Generation], trim_blocks=True, lstrip_blocks=True).from_string(source)
    messages = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Hi?"},
        {"role": "assistant", "content": "Ho."},
    ]
    assert template.render(messages=messages) == render([("Hi?", "Ho.")], "S")
    assert template.render(messages=messages[1:2], add_generation_prompt=True) == "<|user|>Hi?<|end|><|assistant|>"


class Ids:
    """Token ids by hand: the markers are 0 to 3, words start at 10."""

    def convert_tokens_to_ids(self, tokens):
        return [["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>"].index(token) for token in tokens]


def test_loss_on_answers_only():
    """Raw text (10), end; question (2, 11, 9), answer (3, 12, 9), end: the question goes, with the marker after it."""
    tokens = [10, 0, 2, 11, 9, 3, 12, 9, 0, 13]
    assert answer_labels(Ids(), tokens, -100) == [10, 0, -100, -100, -100, -100, 12, 9, 0, 13]
