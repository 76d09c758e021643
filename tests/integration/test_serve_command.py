"""`ratchet serve` as a person runs it: options, a full fine-tune that takes the port over, Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from client_world import make_adapters, publish

from harness.base import describe
from harness.core.paths import Lab
from serve import registry
from serve.lease import leases

PROMPT = "Once upon a time"


@contextlib.contextmanager
def _serve(lab: Path, base: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "harness.cli", "serve", "--base", str(base), "--lab", str(lab), "--port", "0"]
    with subprocess.Popen([*command, *words], env=_environment(), stderr=subprocess.PIPE, text=True) as serving:
        try:
            yield serving
        finally:
            if serving.poll() is None:
                serving.terminate()


def _environment() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name != "RATCHET_ENGINES"}
    return environment | {"HF_HUB_OFFLINE": "1", "COLUMNS": "200"}


def test_ctrl_c_ends_a_start(stories260k: Path, tmp_path: Path) -> None:
    with _serve(tmp_path, stories260k) as serving:
        assert serving.stderr
        for line in serving.stderr:
            if "importing vLLM" in line:
                break
        serving.send_signal(signal.SIGTERM)
        said = serving.communicate(timeout=60)[1]
        assert serving.returncode == 130, said
    assert leases(tmp_path / "engines") == []
    assert list((tmp_path / "engines").glob("e-*")), "its log stays"


class Serving(NamedTuple):
    """A `ratchet serve` that is ready, where aac@prod is a LoRA of the base."""

    process: subprocess.Popen[str]
    url: str
    lab: Lab
    folder: Path  # with `tuned`, a whole model of other weights

    def ask(self, model: str) -> httpx.Response:
        body = {
            "model": model,
            "prompt": PROMPT,
            "max_tokens": 8,
            "temperature": 0,
            "logprobs": 0,
            "return_token_ids": True,
        }
        return httpx.post(f"{self.url}/v1/completions", json=body, timeout=120)


@pytest.fixture(scope="module")
def serving(stories260k: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("serve")
    lab = Lab(folder / "lab")
    make_adapters(folder, stories260k, {"r-one": {"r": 8, "lora_alpha": 16, "seed": 1}})
    child = Path(__file__).with_name("make_full.py")
    subprocess.run([sys.executable, child, stories260k, folder / "tuned", PROMPT], check=True, capture_output=True)
    publish(lab, "aac", "r-one", folder / "r-one", stories260k, describe(str(stories260k), lab).ref.sha256)
    registry.move(lab, "aac", "prod", 1, who="test", why="first")
    options = ("--max-loras", "2", "--cors", "https://app.example", "--vllm", "max-num-seqs=8")
    with _serve(lab.root, stories260k, *options) as process:
        assert process.stderr
        url = next(line for line in process.stderr if "serving at " in line).split("serving at ")[1].split("/v1")[0]
        yield Serving(process, url, lab, folder)


def test_options_reach_vllm(serving: Serving) -> None:
    (folder,) = (serving.lab.root / "engines").glob("e-*")
    assert "'max_num_seqs': 8" in (folder / "engine.log").read_text()
    preflight = httpx.options(
        f"{serving.url}/v1/chat/completions",
        headers={"origin": "https://app.example", "access-control-request-method": "POST"},
    )
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"


def test_a_full_fine_tune_takes_the_port_over(serving: Serving) -> None:
    """The same address and name, before, while and after; the answers are those of transformers with that model."""
    seen: list[tuple[int, str]] = []
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set():
            answer = serving.ask("aac@prod")
            seen.append((answer.status_code, answer.headers.get("x-ratchet-model", answer.text)))

    asking = threading.Thread(target=go_on)
    asking.start()
    try:
        words = (
            "promote",
            str(serving.folder / "tuned"),
            "--as",
            "aac@prod",
            "--force",
            "--reason",
            "judged elsewhere",
        )
        command = [sys.executable, "-m", "harness.cli", *words, "--lab", str(serving.lab.root)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=_environment())
        assert done.returncode == 0, done.stderr
        after = serving.ask("aac@prod")
    finally:
        over.set()
        asking.join()
    assert "aac@prod -> v2" in done.stdout
    assert set(seen) <= {(200, "aac@v1"), (200, "aac@v2"), *((code, said) for code, said in seen if code == 503)}
    assert {model for code, model in seen if code == 200} >= {"aac@v1"}
    told = json.loads((serving.folder / "tuned-answer.json").read_text())
    answer = after.json()
    assert (after.headers["x-ratchet-model"], answer["model"]) == ("aac@v2", "aac@v2")
    assert answer["choices"][0]["token_ids"] == told["ids"]
    assert answer["choices"][0]["logprobs"]["token_logprobs"] == pytest.approx(told["logprobs"], abs=2e-3)
    assert serving.ask("aac@v1").status_code == 404


def test_ctrl_c_lets_a_stream_finish(serving: Serving) -> None:
    body = {"model": "aac@prod", "prompt": "Once", "max_tokens": 450, "ignore_eos": True, "stream": True}
    with httpx.stream("POST", f"{serving.url}/v1/completions", json=body, timeout=120) as answer:
        lines = answer.iter_lines()
        next(lines)
        serving.process.send_signal(signal.SIGINT)
        _until_draining(serving.url)
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert any('"finish_reason":"length"' in line for line in rest[-3:])
    assert serving.process.wait(60) == 0
    assert leases(serving.lab.root / "engines") == []


def _until_draining(url: str) -> None:
    for _ in range(100):
        if httpx.get(f"{url}/ready").status_code == 503:
            return
        time.sleep(0.05)
    raise AssertionError("it did not drain")
