"""An OpenAI-compatible vLLM that we did not start: what its own API gives, and nothing more.

Adapters are loaded through `/v1/load_lora_adapter`, which vLLM has where it was started with `--enable-lora` and
`VLLM_ALLOW_RUNTIME_LORA_UPDATING=1`. It reads the folder itself, so it must see the same path. It knows no aliases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from harness.core.errors import EngineError
from serve.adapters import LOAD_TIMEOUT_S, check_adapter, read_config

CLOSED = (404, 405)  # what a server without runtime LoRA answers at /v1/load_lora_adapter


@dataclass(frozen=True)
class Attached:
    """`url` is the server's root or its /v1. Every method raises EngineError where the server does not do its part."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def root(self) -> str:
        return self.url.rstrip("/").removesuffix("/v1")

    def models(self) -> list[dict[str, Any]]:
        """What it lists: `id`, `root` and `parent` of each; without a parent it is a base."""
        response = self._ask("GET", "/v1/models")
        try:
            found = response.json()["data"]
            return [{key: model.get(key) for key in ("id", "root", "parent")} for model in found]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EngineError(f"{self.root} does not list its models as OpenAI's API does") from error

    def load(self, name: str, folder: Path) -> None:
        """Have the adapter in `folder` served as `name`. One that is there already stays as it is."""
        check_adapter(read_config(folder))
        body = {"lora_name": name, "lora_path": str(folder.resolve())}
        response = self._ask("POST", "/v1/load_lora_adapter", body)
        if response.status_code == 200 or "already been loaded" in response.text:
            return
        if response.status_code in CLOSED and "No adapter found" not in response.text:
            fix = "start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 in its environment"
            raise EngineError(f"{self.root} does not load adapters while it runs", fix)
        fix = f"it must see {folder} under the same path, and serve the adapter's rank (--max-lora-rank)"
        raise EngineError(f"{self.root} did not load {name}: {_reason(response)}", fix)

    def _ask(self, method: str, path: str, body: dict[str, str] | None = None) -> httpx.Response:
        try:
            response = httpx.request(
                method, self.root + path, json=body, headers=self.headers, timeout=LOAD_TIMEOUT_S, trust_env=False
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise EngineError(f"{self.root} does not answer ({error or type(error).__name__})") from error
        if response.status_code in (401, 403):
            raise EngineError(f"{self.root} wants a key", "name the variable that holds it: --attach-key-env NAME")
        return response


def _reason(response: httpx.Response) -> str:
    try:
        return " ".join(str(response.json()["error"]["message"]).split())[:300]
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code}"
