"""Only the vLLM that the plugin is tested with, unless somebody insists."""

from __future__ import annotations

import pytest

from harness.core.errors import EngineError
from serve.versions import ANY_VLLM, TESTED, check_vllm, vllm_version


def test_the_installed_one_is_tested() -> None:
    assert check_vllm() is None
    assert (vllm_version() or "").startswith(TESTED)


@pytest.mark.parametrize("found", ["0.33.0", "0.3.2", "1.32.0", "0.320.0"])
def test_another_is_refused_with_what_to_do(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ANY_VLLM, raising=False)
    with pytest.raises(EngineError, match=f"vLLM {found} is installed; Ratchet's plugin is tested with 0.32") as caught:
        check_vllm(found)
    assert "--attach URL" in caught.value.one_line()
    monkeypatch.setenv(ANY_VLLM, "1")
    assert "going on because RATCHET_ANY_VLLM=1" in (check_vllm(found) or "")


def test_patch_releases_and_local_builds_are_the_same_vllm() -> None:
    for found in ("0.32.0", "0.32.7", "0.32.1+cu130", "0.32.0rc1"):
        assert check_vllm(found) is None
