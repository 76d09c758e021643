"""A full fine-tune through the commands: minted, judged by nobody, and taken over to by the engine that runs."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from harness.base import describe
from harness.pipeline.serving import Wanted, engine_for
from harness.progress import Progress
from serve import registry
from tests.unit.harness.conftest import Desk, make_base
from tests.unit.serve.lives import Life, wait
from tests.unit.serve.versions import adapter, record

FORCED = ("--force", "--reason", "judged elsewhere")


@pytest.fixture
def tuned(desk: Desk) -> Path:
    """A whole model: the base with other weights."""
    folder = make_base(desk.root / "tuned", architectures=["LlamaForCausalLM"])
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-4:] = struct.pack("<f", 1.0)
    (folder / "model.safetensors").write_bytes(bytes(data))
    return folder


def lora(desk: Desk, name: str, mark: int = 1) -> None:
    """`name@prod` serves an adapter of the desk's base."""
    made, base = adapter(desk.root / name, mark), desk.root / "base"
    version = record(mark, made, describe(str(base), desk.lab).ref.sha256)
    registry.add_version(desk.lab, name, version.model_copy(update={"base_path": str(base)}), made)
    registry.move(desk.lab, name, "prod", 1, who="t", why="t")


@pytest.fixture
def life(desk: Desk, tuned: Path) -> Iterator[Life]:
    """An engine of the lab on the desk's base; a fake of either base is there when asked for."""
    lora(desk, "desk")
    base, full = (describe(str(folder), desk.lab).ref.sha256 for folder in (desk.root / "base", tuned))
    told = {"registry": str(desk.lab.registry)}
    made = Life(desk.lab, {"base_sha256": base, **told}, base_sha256=base)
    made.script(full, {"base": "desk@v2", "base_sha256": full, **told})
    made.script(base, {"base": "base", "base_sha256": base, **told})
    made.until("ready")
    yield made
    made.end()


def answers(life: Life) -> str:
    body = {"model": "desk@prod", "prompt": "x"}
    return str(httpx.post(f"{life.lease.url}/v1/completions", json=body, timeout=60).headers["x-ratchet-model"])


def test_the_running_engine_is_taken_over_and_given_back(desk: Desk, tuned: Path, life: Life) -> None:
    assert answers(life) == "desk@v1"
    done = desk.ratchet("promote", "tuned", "--as", "desk@prod", *FORCED, "--format", "json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["version"] == 2
    assert "starts another vLLM beside its own, for desk@v2" in done.err
    assert "serves desk@v2 now" in done.err
    assert answers(life) == "desk@v2"
    spec, names = engine_for(desk.lab, Wanted(name="desk"), Progress())
    assert (spec.base_name, names) == ("desk@v2", ["desk@prod", "desk@v2"]), "as a new `ratchet serve desk` would"
    assert Path(spec.base_path) == desk.lab.registry / "desk" / "v2"
    kept = desk.ratchet("registry", "gc", "--keep-days", "0", "--format", "json")
    assert {one["version"] for one in json.loads(kept.out)["removed"]} == set()

    back = desk.ratchet("rollback", "desk")
    assert back.code == 0, back.err
    assert answers(life) == "desk@v1"
    again = desk.ratchet("promote", "tuned", "--as", "desk@prod", *FORCED)
    assert "desk@prod -> v2" in again.out, "the same model is the same version"
    assert answers(life) == "desk@v2"


def test_what_the_engine_serves_besides_is_not_ended_unasked(desk: Desk, tuned: Path, life: Life) -> None:
    lora(desk, "faq")
    refused = desk.ratchet("promote", "tuned", "--as", "desk@prod", *FORCED)
    assert "engine e-1 also serves faq@prod" in refused.error
    assert "--replace-base" in refused.error
    assert (answers(life), registry.read(desk.lab, "desk").aliases) == ("desk@v1", {"prod": 1})
    assert desk.ratchet("promote", "tuned", "--as", "desk@prod", *FORCED, "--replace-base").code == 0
    assert answers(life) == "desk@v2"
    wait(lambda: len(life.vllms()) == 1)


def test_without_an_engine_only_the_alias_moves(desk: Desk, tuned: Path) -> None:
    unjudged = desk.ratchet("promote", "tuned", "--as", "desk@prod")
    assert "tuned, a whole model, has no verdict" in unjudged.error
    assert desk.ratchet("promote", "tuned", "--as", "desk@prod", *FORCED).out.startswith("desk@prod -> v1 = tuned")
    version = registry.resolve(desk.lab, "desk@prod")
    assert (version.kind, version.forced_reason, version.rank) == ("full", "judged elsewhere", None)
    assert version.contract
    assert version.contract.stop == ["</s>"]
    assert describe(version.base_path, desk.lab).ref.sha256 == version.base_sha256
    (tuned / "config.json").unlink()
    assert (desk.lab.registry / "desk" / "v1" / "config.json").is_file(), "the registry has a copy of its own"
    desk.spec(base_model="base", gate__incumbent="desk@prod")
    assert "is a full fine-tune, v1: a base, not an adapter" in desk.ratchet("check", "spec.yaml").error
    sent = desk.ratchet("registry", "push", (desk.root / "copy").as_uri())
    assert "desk@v1 is a whole model: copy its folder" in sent.out


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "code": (lambda folder: _config(folder, auto_map={"AutoModel": "mine.Model"}), "the model brings code"),
    "pickle": (lambda folder: (folder / "model.safetensors").rename(folder / "model.bin"), "no *.safetensors"),
    "cut": (lambda folder: _cut(folder / "model.safetensors"), "no whole safetensors file"),
    "NaN": (lambda folder: _nan(folder / "model.safetensors"), "no finite numbers"),
    "shard": (lambda folder: _index(folder, "model-00002-of-00002.safetensors"), "lacks model-00002-of-00002"),
    "adapter": (lambda folder: (folder / "adapter_config.json").write_text("{}"), "is an adapter, not a whole model"),
    "no tokenizer": (lambda folder: [path.unlink() for path in folder.glob("tokenizer*")], "has no tokenizer"),
    "no kind": (lambda folder: _config(folder, architectures=None), "names no architectures"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_no_whole_model_is_refused(desk: Desk, tuned: Path, damage: str) -> None:
    spoil, said = DAMAGE[damage]
    spoil(tuned)
    assert said in desk.ratchet("promote", "tuned", "--as", "desk@prod", *FORCED).error
    assert registry.read(desk.lab, "desk").versions == []


def _config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _nan(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4] + struct.pack("<f", float("nan")))


def _index(folder: Path, shard: str) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": shard}}))
