"""What `ratchet serve` takes and refuses before any engine starts; and following aliases on somebody's own server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from harness.base import describe
from harness.core.errors import EngineError, InputError
from harness.core.paths import Lab
from harness.pipeline.attached import Watch, attach, key_header
from harness.pipeline.registry import push
from harness.pipeline.serving import Wanted, engine_for, origins, read_records, vllm_options
from harness.progress import Progress
from serve import registry
from serve.attach import Attached
from serve.fake import Script, make_app
from serve.sockets import listen
from tests.unit.harness.conftest import Desk
from tests.unit.serve.versions import add

TOKEN = {"authorization": "Bearer fake"}


def test_options_of_vllm_are_passed_by_their_long_names() -> None:
    words = ["tool-call-parser=hermes", "--enable_auto_tool_choice", "max-num-seqs=8", "enable-chunked-prefill=False"]
    assert vllm_options(words) == {
        "tool-call-parser": "hermes",
        "enable-auto-tool-choice": True,
        "max-num-seqs": "8",
        "enable-chunked-prefill": False,
    }
    assert vllm_options(["chat-template={{ a=1 }}"]) == {"chat-template": "{{ a=1 }}"}


@pytest.mark.parametrize(
    ("option", "fix"),
    [
        ("port=1", "use --host and --port"),
        ("middleware=mine.All", "Ratchet sets them"),
        ("no-enable-lora", "they follow"),
        ("api-key=x", "use ratchet keys"),
        ("=1", "--vllm KEY=VALUE"),
        ("a b", "--vllm KEY=VALUE"),
    ],
)
def test_what_the_engine_stands_on_is_not_the_users_to_set(option: str, fix: str) -> None:
    with pytest.raises(InputError) as caught:
        vllm_options([option])
    assert fix in caught.value.one_line()


def test_cors_takes_web_origins() -> None:
    assert origins(["https://app.example", "http://localhost:3000", "*"]) == (
        "https://app.example",
        "http://localhost:3000",
        "*",
    )
    for wrong in ("app.example", "https://app.example/path", "https://a b", "ftp://x"):
        with pytest.raises(InputError, match="not a web origin"):
            origins([wrong])


def test_other_hosts_are_served_with_keys_only(desk: Desk) -> None:
    refused = desk.ratchet("serve", "--base", "nowhere", "--host", "0.0.0.0")
    assert "no living key exists" in refused.error
    assert "ratchet keys create" in refused.error


def test_what_cannot_be_attached_is_said_in_one_line(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    assert "not a URL" in desk.ratchet("serve", "--attach", "localhost:8000").error
    with listen("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
    assert "does not answer" in desk.ratchet("serve", "--attach", f"http://127.0.0.1:{port}").error
    assert (
        "NO_SUCH_KEY is not set"
        in desk.ratchet("serve", "--attach", "http://x", "--attach-key-env", "NO_SUCH_KEY").error
    )


def test_the_engine_follows_the_registry_here_or_behind_a_url(desk: Desk, tmp_path: Path) -> None:
    base = str(desk.root / "base")
    sha256 = describe(base, desk.lab).ref.sha256
    add(desk.lab, "aac", 1, tmp_path, base=sha256, rank=20)
    registry.move(desk.lab, "aac", "prod", 1, who="test", why="test")
    lines = Lines()
    here, names = engine_for(desk.lab, Wanted(base=base, cors=("*",), max_loras=9, options={"seed": "1"}), lines)
    assert names == ["aac@prod", "aac@v1", "base"]
    assert (here.max_lora_rank, here.max_loras, here.cors, here.extra) == (32, 9, ("*",), {"seed": "1"})
    assert here.as_json()["registry"] == str(desk.lab.registry)
    url = (tmp_path / "elsewhere").as_uri()
    push(desk.lab, url)
    there, names = engine_for(Lab(tmp_path / "pod"), Wanted("aac", base, registry=url), lines)
    assert names == ["aac@prod", "aac@v1", "base"]
    assert there.as_json()["registry"] == url
    assert "not a URL" in desk.ratchet("serve", "--base", base, "--registry", "elsewhere").error


@pytest.fixture
def fake() -> Iterator[str]:
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(make_app(Script()), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()


class Lines(Progress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str, style: str = "") -> None:
        self.said.append(text)


def promoted(lab: Lab, mark: int, folder: Path) -> None:
    version = add(lab, "aac", mark, folder)
    registry.move(lab, "aac", "prod", version.version, who="test", why="test")


def test_aliases_are_followed_on_an_unmodified_server(fake: str, tmp_path: Path) -> None:
    lab, lines, server = Lab(tmp_path / "lab"), Lines(), Attached(f"{fake}/v1", TOKEN)
    promoted(lab, 1, tmp_path)
    steps = iter([lambda: promoted(lab, 2, tmp_path), lambda: registry.rollback(lab, "aac", "prod", who="test"), None])

    def wait(_: float) -> bool:
        step = next(steps)
        if step:
            step()
        return step is None

    attach(lab, lambda: read_records(lab, ""), server, wait, lines)
    moves = [line for line in lines.said if line.startswith("aac@prod is")]
    assert [line.split(": that")[0] for line in moves] == [f"aac@prod is aac@v{n}" for n in (1, 2, 1)]
    assert {model["id"] for model in server.models()} == {"tiny", "aac@v1", "aac@v2"}
    assert any("aliases are not known inside" in line for line in lines.said)


def test_what_the_server_lost_is_loaded_again(fake: str, tmp_path: Path) -> None:

    lab, server = Lab(tmp_path / "lab"), Attached(fake, TOKEN)
    promoted(lab, 1, tmp_path)
    watch = Watch(lab, server, Lines())
    watch.follow(read_records(lab, ""))
    httpx.post(f"{fake}/v1/unload_lora_adapter", json={"lora_name": "aac@v1"}, headers=TOKEN).raise_for_status()
    watch.follow(read_records(lab, ""))
    assert "aac@v1" not in {model["id"] for model in server.models()}, "it was not asked yet"
    watch.look()
    watch.follow(read_records(lab, ""))
    assert "aac@v1" in {model["id"] for model in server.models()}


def test_a_server_with_a_key_says_how_to_give_it(fake: str, tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab")
    promoted(lab, 1, tmp_path)
    with pytest.raises(EngineError) as caught:
        attach(lab, lambda: read_records(lab, ""), Attached(fake), lambda _: True, Lines())
    assert "--attach-key-env" in caught.value.one_line()
    assert key_header("") == {}
