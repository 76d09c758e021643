"""Versions are immutable, aliases move by compare-and-swap, and a crash leaves nothing half done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.core.errors import InputError, RegistryError
from harness.core.paths import Lab
from serve import registry
from serve.adapter_files import content_sha256
from tests.unit.serve.versions import adapter, add, record, weights


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "lab")


def test_versions_count_up_and_hold_only_the_root_files(lab: Lab, tmp_path: Path) -> None:
    one, two = add(lab, "aac", 1, tmp_path), add(lab, "aac", 2, tmp_path)
    assert (one.version, two.version) == (1, 2)
    folder = registry.version_folder(lab.registry, "aac", 2)
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert (folder / "adapter_model.safetensors").read_bytes() == weights(2)
    assert add(lab, "aac", 1, tmp_path) == one, "the same adapter again is the version that is there"
    assert registry.read(lab, "aac").seq == 2


def test_references(lab: Lab, tmp_path: Path) -> None:
    add(lab, "aac", 1, tmp_path)
    assert registry.resolve(lab, "aac@v1").version == 1
    with pytest.raises(RegistryError, match=r"aac@prod does not exist\. aac has v1"):
        registry.resolve(lab, "aac")
    registry.move(lab, "aac", "prod", 1, who="me", why="first")
    assert registry.resolve(lab, "aac") == registry.resolve(lab, "aac@prod") == registry.resolve(lab, "aac@v1")
    with pytest.raises(RegistryError, match="nothing was promoted"):
        registry.resolve(lab, "other")
    for unsafe in ("../aac", "aac@../x", "aac@v0", "aac@v01", "a.json", "a.lock@v1", "aac@", ""):
        with pytest.raises(InputError):
            registry.resolve(lab, unsafe)


def test_compare_and_swap(lab: Lab, tmp_path: Path) -> None:
    for mark in (1, 2):
        add(lab, "aac", mark, tmp_path)
    registry.move(lab, "aac", "prod", 1, who="me", why="first", expected_current=0)
    with pytest.raises(RegistryError, match="at v1 by now, not at no version"):
        registry.move(lab, "aac", "prod", 2, who="me", why="late", expected_current=0)
    with pytest.raises(RegistryError, match="sequence 3, expected 2"):
        registry.move(lab, "aac", "prod", 2, who="me", why="late", expected_seq=2)
    with pytest.raises(RegistryError, match="aac@v7 does not exist"):
        registry.move(lab, "aac", "prod", 7, who="me", why="nothing there")
    with pytest.raises(InputError, match="looks like a version"):
        registry.move(lab, "aac", "v2", 2, who="me", why="confusing")
    moved = registry.move(lab, "aac", "prod", 2, who="me", why="better", expected_current=1, expected_seq=3)
    assert (moved.seq, moved.aliases) == (4, {"prod": 2})
    assert registry.move(lab, "aac", "prod", 2, who="me", why="again").seq == 4
    assert [(step.before, step.after, step.why) for step in moved.history] == [(None, 1, "first"), (1, 2, "better")]


def test_rollbacks_go_back_one_after_the_other(lab: Lab, tmp_path: Path) -> None:
    for mark in (1, 2, 3):
        add(lab, "aac", mark, tmp_path)
        registry.move(lab, "aac", "prod", mark, who="me", why="ship")
    assert registry.rollback(lab, "aac", "prod", who="me").aliases == {"prod": 2}
    assert registry.rollback(lab, "aac", "prod", who="me").aliases == {"prod": 1}
    with pytest.raises(RegistryError, match="no earlier version"):
        registry.rollback(lab, "aac", "prod", who="me")
    registry.move(lab, "aac", "prod", 3, who="me", why="ship again")
    assert registry.rollback(lab, "aac", "prod", who="me").aliases == {"prod": 1}
    assert len(registry.read(lab, "aac").history) == 7


CHILD = """
import sys; from pathlib import Path
sys.path.insert(0, {root!r})
from harness.core.paths import Lab; from serve import registry; from tests.unit.serve.versions import add
lab = Lab(Path({lab!r}))
{body}
"""


def child(lab: Lab, body: str, **environment: str) -> subprocess.Popen[str]:
    code = CHILD.format(root=str(Path(__file__).parents[3]), lab=str(lab.root), body=body)
    return subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True
    )


def test_a_kill_before_the_record_leaves_no_half_version(lab: Lab, tmp_path: Path) -> None:
    body = f"add(lab, 'aac', 1, Path({str(tmp_path)!r}))"
    process = child(lab, body, RATCHET_KILL_AT="registry.record")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert registry.read(lab, "aac").versions == []
    assert add(lab, "aac", 2, tmp_path).version == 1, "the leftover folder is replaced, not published"
    assert (registry.version_folder(lab.registry, "aac", 1) / "adapter_model.safetensors").read_bytes() == weights(2)


def test_two_processes_at_once_lose_nothing(lab: Lab, tmp_path: Path) -> None:
    both = [
        child(lab, f"for mark in range({start}, {start + 5}): add(lab, 'aac', mark, Path({str(tmp_path)!r}))")
        for start in (1, 101)
    ]
    assert [(process.communicate()[1], process.returncode) for process in both] == [("", 0)] * 2
    versions = registry.read(lab, "aac").versions
    assert [version.version for version in versions] == list(range(1, 11))
    for version in versions:
        assert content_sha256(registry.version_folder(lab.registry, "aac", version.version)) == version.adapter_sha256


def test_an_incomplete_adapter_is_refused(lab: Lab, tmp_path: Path) -> None:
    folder = adapter(tmp_path, 1)
    made = record(1, folder)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"has no adapter_model\.safetensors"):
        registry.add_version(lab, "aac", made, folder)
    assert registry.read(lab, "aac").versions == []
