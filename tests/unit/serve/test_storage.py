"""Engines that read a registry behind a URL: fetched once, verified, followed; served on while the storage is away."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import httpx
import pytest

from harness.core.errors import InputError, LabError, RegistryError
from harness.core.paths import Lab
from serve import registry
from serve.fake import Script
from serve.remote import Remote
from serve.storage import REFRESH_S, FolderSource, UrlSource, source
from tests.unit.serve.versions import BASE, add


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path / "lab")
    for mark in (1, 2):
        add(lab, "aac", mark, tmp_path)
    registry.move(lab, "aac", "prod", 1, who="t", why="t")
    return lab


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield f"file://{tmp_path}/share" if request.param == "file" else "memory://registry"
    if request.param == "memory":
        fsspec.filesystem("memory").rm("/", recursive=True)


def publish(lab: Lab, url: str) -> None:
    """As `ratchet registry push` (harness.pipeline.registry), without its checks."""
    remote = Remote(url)
    for record in registry.every(lab.registry):
        for version in registry.living(record):
            remote.store(version.adapter_sha256, registry.version_folder(lab.registry, record.name, version.version))
        remote.swap(record, remote.record(record.name))


def test_folders_and_urls_are_told_apart(tmp_path: Path) -> None:
    assert isinstance(source(tmp_path), FolderSource)
    assert isinstance(source(f"file://{tmp_path}"), UrlSource)
    with pytest.raises(InputError, match="Protocol not known"):
        source("nosuch://x")


def test_records_are_followed_within_seconds(lab: Lab, url: str) -> None:
    publish(lab, url)
    now = [0.0]
    reader = UrlSource(url, clock=lambda: now[0])
    assert reader.record("aac").aliases == {"prod": 1}
    registry.move(lab, "aac", "prod", 2, who="t", why="t")
    publish(lab, url)
    assert reader.record("aac").aliases == {"prod": 1}, "a short cache"
    now[0] += REFRESH_S + 1
    for _ in range(200):
        if reader.record("aac").aliases == {"prod": 2}:
            break
        time.sleep(0.02)
    assert reader.record("aac").aliases == {"prod": 2}
    assert [record.name for record in reader.records()] == ["aac"]
    with pytest.raises(RegistryError, match="does not exist"):
        reader.record("nobody")


def test_a_storage_that_is_away_or_damaged_changes_nothing(lab: Lab, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/share"
    publish(lab, url)
    now = [0.0]
    reader = UrlSource(url, clock=lambda: now[0])
    before = reader.record("aac")
    (tmp_path / "share" / "aac.json").write_text("{")
    now[0] += REFRESH_S + 1
    for _ in range(20):
        assert reader.record("aac") == before
        time.sleep(0.01)
    with pytest.raises(LabError, match="is damaged"):
        Remote(url).record("aac")


def test_two_writers_do_not_overwrite_each_other(lab: Lab, url: str) -> None:
    publish(lab, url)
    remote, before = Remote(url), Remote(url).record("aac")
    moved = registry.move(lab, "aac", "prod", 2, who="t", why="t")
    remote.swap(moved, before)
    with pytest.raises(RegistryError, match="changed meanwhile"):
        remote.swap(before, before)
    with remote._lock(f"{remote._root}/aac.lock"), pytest.raises(RegistryError, match="is being written by another"):
        remote.swap(before, moved)
    with remote._lock(f"{remote._root}/aac.lock"):
        held = remote._fs.cat_file(f"{remote._root}/aac.lock")
    assert held, "s3fs writes an empty object whether one is there or not (seen on moto: seven of eight writers got in)"
    assert remote.record("aac") == moved


def test_an_engine_serves_from_a_url(lab: Lab, url: str, serving: Callable[[Script], str]) -> None:
    publish(lab, url)
    engine = serving(Script(base_sha256=BASE, registry=url))
    shutil.rmtree(lab.registry)

    def ask(model: str) -> httpx.Response:
        return httpx.post(f"{engine}/v1/completions", json={"model": model, "prompt": "hello"})

    assert ask("aac").headers["x-ratchet-model"] == "aac@v1"
    assert ask("aac@v2").status_code == 200
    assert ask("nobody").status_code == 404
    fs, root = fsspec.core.url_to_fs(url)
    fs.rm(f"{root}/adapters", recursive=True)
    assert ask("aac").status_code == 200, "fetched once"


def test_bytes_that_changed_on_the_way_are_not_served(lab: Lab, url: str, serving: Callable[[Script], str]) -> None:
    publish(lab, url)
    fs, root = fsspec.core.url_to_fs(url)
    sha256 = registry.read(lab, "aac").versions[0].adapter_sha256
    path = f"{root}/adapters/{sha256}/adapter_model.safetensors"
    data = fs.cat_file(path)
    fs.pipe_file(path, data[:-1] + b"@")
    engine = serving(Script(base_sha256=BASE, registry=url))
    response = httpx.post(f"{engine}/v1/completions", json={"model": "aac", "prompt": "hello"})
    assert response.status_code == 400
    assert "the files of aac@v1 are damaged" in response.json()["error"]["message"]


def test_a_storage_that_is_away_is_a_503(lab: Lab, url: str, serving: Callable[[Script], str]) -> None:
    publish(lab, url)
    fs, root = fsspec.core.url_to_fs(url)
    fs.rm(f"{root}/adapters", recursive=True)
    engine = serving(Script(base_sha256=BASE, registry=url))
    response = httpx.post(f"{engine}/v1/completions", json={"model": "aac", "prompt": "hello"})
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert "aac@v1 cannot be loaded now" in response.json()["error"]["message"]
