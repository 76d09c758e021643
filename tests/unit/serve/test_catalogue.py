"""What an app may read of the registry over the API: its own names, with each version's prompt contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.core.paths import Lab
from harness.core.records import PromptContract
from serve import keys, registry
from serve.fake import Script
from serve.keys import Key
from tests.unit.serve.versions import BASE, adapter, add, record

CONTRACT = PromptContract(system_prompts={"mini": "Be brief."}, template="chat", context_tokens=128, stop=["</s>"])


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """aac: prod serves v1 and v2, canary v3. other: v1. foreign: of another base."""
    lab = Lab(tmp_path / "lab")
    made = adapter(tmp_path, 1)
    registry.add_version(lab, "aac", record(1, made).model_copy(update={"contract": CONTRACT}), made)
    for mark in (2, 3, 4):
        add(lab, "aac", mark, tmp_path)
    registry.set_weights(lab, "aac", "prod", {1: 90, 2: 10}, who="ann", why="secret reasons")
    registry.move(lab, "aac", "canary", 3, who="ann", why="t")
    add(lab, "other.name", 5, tmp_path)
    add(lab, "foreign", 6, tmp_path, base="c" * 64)
    return lab


@pytest.fixture
def url(lab: Lab, serving: Callable[[Script], str]) -> str:
    path = str(lab.root / "keys" / "keys.json")
    return serving(Script(base_sha256=BASE, registry=str(lab.registry), keys=path))


def get(url: str, path: str = "", secret: str = "") -> Any:
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    return httpx.get(f"{url}/ratchet/registry{path}", headers=headers)


def key(lab: Lab, name: str, **fields: Any) -> str:
    known = {"key_id": "", "name": name, "secret_sha256": "", "scopes": ["infer"], "created": ""}
    return keys.create(lab.root / "keys", Key(**{**known, **fields}))[1]


def test_everything_here_where_no_keys_are_in_force(url: str) -> None:
    found = get(url).json()["data"]
    assert [entry["name"] for entry in found] == ["aac", "other.name"]
    aac = get(url, "/aac").json()
    assert aac == found[0]
    assert aac["aliases"]["prod"]["weights"] == {"v1": 90, "v2": 10}
    assert [version["id"] for version in aac["versions"]] == ["aac@v1", "aac@v2", "aac@v3", "aac@v4"]
    assert aac["versions"][0]["contract"]["system_prompts"] == {"mini": "Be brief."}
    assert get(url, "/other.name").status_code == 200


def test_no_folder_run_or_reason_is_shown(url: str, lab: Lab) -> None:
    text = get(url).text
    for hidden in (str(lab.root), "base_path", "run_id", "secret reasons", "ann"):
        assert hidden not in text


@pytest.mark.parametrize("path", ["/nobody", "/foreign", "/a..b", "/../aac", "/aac/x", "/AAC", "/%2e%2e"])
def test_what_is_not_there(url: str, path: str) -> None:
    assert get(url, path).status_code in (401, 404)


def test_a_key_sees_its_own_names(url: str, lab: Lab) -> None:
    one = key(lab, "one", models=["aac"])
    seen = get(url, "", one).json()["data"]
    assert [(entry["name"], list(entry["aliases"])) for entry in seen] == [("aac", ["prod"])]
    assert [version["version"] for version in seen[0]["versions"]] == [1, 2], "what stands behind its alias"
    assert get(url, "/other.name", one).status_code == 404
    assert get(url).status_code == 401
    assert get(url, "", key(lab, "two", scopes=["feedback"])).status_code == 403


def test_it_is_in_the_document(url: str) -> None:
    document = httpx.get(f"{url}/ratchet/openapi.json").json()["paths"]
    assert {"/ratchet/registry", "/ratchet/registry/{name}"} <= set(document)
