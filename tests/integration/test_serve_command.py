"""`ratchet serve` as a person runs it: its options reach vLLM, Ctrl-C lets running requests finish or ends a start."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from serve.lease import leases


@contextlib.contextmanager
def _serve(lab: Path, base: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "harness.cli", "serve", "--base", str(base), "--lab", str(lab), "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if name != "RATCHET_ENGINES"}
    environment |= {"HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    with subprocess.Popen([*command, *words], env=environment, stderr=subprocess.PIPE, text=True) as serving:
        try:
            yield serving
        finally:
            if serving.poll() is None:
                serving.terminate()


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


def test_ctrl_c_lets_a_stream_finish(stories260k: Path, tmp_path: Path) -> None:
    options = ("--max-loras", "2", "--cors", "https://app.example", "--vllm", "max-num-seqs=8")
    with _serve(tmp_path, stories260k, *options) as serving:
        assert serving.stderr
        url = next(line for line in serving.stderr if "serving at " in line).split("serving at ")[1].split("/v1")[0]
        (folder,) = (tmp_path / "engines").glob("e-*")
        assert "'max_num_seqs': 8" in (folder / "engine.log").read_text()
        preflight = httpx.options(
            f"{url}/v1/chat/completions",
            headers={"origin": "https://app.example", "access-control-request-method": "POST"},
        )
        assert preflight.headers["access-control-allow-origin"] == "https://app.example"
        body = {"model": "base", "prompt": "Once", "max_tokens": 450, "ignore_eos": True, "stream": True}
        with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=120) as answer:
            lines = answer.iter_lines()
            next(lines)
            serving.send_signal(signal.SIGINT)
            _until_draining(url)
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert any('"finish_reason":"length"' in line for line in rest[-3:])
        assert serving.wait(60) == 0
        assert leases(tmp_path / "engines") == []


def _until_draining(url: str) -> None:
    for _ in range(100):
        if httpx.get(f"{url}/ready").status_code == 503:
            return
        time.sleep(0.05)
    raise AssertionError("it did not drain")
