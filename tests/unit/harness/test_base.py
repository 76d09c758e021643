"""The base as files: sizes from headers, content hashes, and what is wrong with a folder."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from harness.base import chat_template, describe, special_tokens
from harness.core.errors import InputError
from harness.core.paths import Lab


def test_a_base_is_described_from_its_headers(desk):
    """One tensor of 10 x 3 fp32 values: 30 values, 120 bytes."""
    info = describe("base", desk.lab)
    assert (info.parameters, info.weight_bytes, info.dtype, info.max_model_len) == (30, 120, "float32", 128)
    assert (info.ref.source, info.ref.path) == ("base", str(desk.root / "base"))
    assert info.ref.has_chat_template
    assert special_tokens(desk.root / "base") == {"bos_token": "", "eos_token": "</s>"}


def test_the_shared_model_has_the_size_on_its_label(shared, tmp_path: Path):
    """stories260k, by hand: 512 x 64 embedding (tied) + 5 layers + norm, see the config.

    Layer: q 256 x 64, k and v 128 x 64, o 64 x 256, gate, up and down 172 x 64, two norms of 64.
    """
    layer = 2 * 256 * 64 + 2 * 128 * 64 + 3 * 172 * 64 + 2 * 64
    info = describe(str(shared / "models" / "stories260k"), Lab(tmp_path))
    assert info.parameters == 512 * 64 + 5 * layer + 64
    assert info.weight_bytes == 4 * info.parameters
    assert info.max_model_len == 512


def test_the_hash_is_of_content_and_is_noticed_when_it_changes(desk):
    first = describe("base", desk.lab).ref.sha256
    (desk.root / "base").rename(desk.root / "moved")
    assert describe("moved", desk.lab).ref.sha256 == first, "content has no path"
    assert describe("moved", Lab(desk.root / "other")).ref.sha256 == first
    (desk.root / "moved" / "notes.txt").write_text("not content")
    assert describe("moved", desk.lab).ref.sha256 == first
    for name in ("chat_template.jinja", "tokenizer.json", "config.json"):
        path = desk.root / "moved" / name
        before = path.read_text()
        path.write_text(before + " ")
        assert describe("moved", desk.lab).ref.sha256 != first, name
        path.write_text(before)
    weights = desk.root / "moved" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert describe("moved", desk.lab).ref.sha256 != first


def test_several_weight_files_are_added_up(desk):
    weights = (desk.root / "base" / "model.safetensors").read_bytes()
    (desk.root / "base" / "more.safetensors").write_bytes(weights)
    assert describe("base", desk.lab).parameters == 60


def test_a_template_in_the_tokenizer_counts(desk):
    (desk.root / "base" / "chat_template.jinja").unlink()
    assert not describe("base", desk.lab).ref.has_chat_template
    (desk.root / "base" / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    assert chat_template(desk.root / "base") == "{{ messages }}"


def test_lengths_that_config_leaves_open(desk):
    (desk.root / "base" / "config.json").write_text(json.dumps({"max_position_embeddings": None}))
    info = describe("base", desk.lab)
    assert (info.max_model_len, info.dtype) == (2048, "float32")


def damage(folder: Path, name: str, content: bytes | None) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", None, "base_model base: no config.json"),
        ("model.safetensors", None, "no *.safetensors in"),
        ("config.json", b"{", "config.json is not JSON"),
        ("config.json", b"[]", "config.json is not a JSON object"),
        ("config.json", b"\xff", "config.json is not JSON"),
        ("tokenizer_config.json", b"{", "tokenizer_config.json is not JSON"),
        ("model.safetensors", b"", "model.safetensors is not a safetensors file, or only a part of one"),
        ("model.safetensors", b"\x01\x02", "is not a safetensors file"),
        ("model.safetensors", struct.pack("<Q", 50) + b'{"w"', "is not a safetensors file"),
        ("model.safetensors", b"\xff" * 64, "is not a safetensors file"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "is not a safetensors file"),
    ],
)
def test_a_damaged_base_is_named(desk, name, content, said):
    damage(desk.root / "base", name, content)
    if name == "tokenizer_config.json":
        (desk.root / "base" / "chat_template.jinja").unlink()
    with pytest.raises(InputError) as caught:
        describe("base", desk.lab)
    assert said in caught.value.one_line()


@pytest.mark.parametrize("source", ["nowhere", "./no/where", "/no/where", "a/b/c", "~/nowhere"])
def test_a_folder_that_is_not_there(desk, source):
    with pytest.raises(InputError, match=r"is not a folder. give a model folder, or a hub id such as org/name"):
        describe(source, desk.lab)


def test_a_hub_id_offline_is_not_waited_for(desk):
    with pytest.raises(InputError, match=r"neither a folder nor in the hub cache. unset HF_HUB_OFFLINE"):
        describe("nobody/nothing", desk.lab)
