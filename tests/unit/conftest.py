"""What unit tests share: a fake engine on a real port, and engines folders of their own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvicorn

from serve import client
from serve.fake import Script, make_app
from serve.supervise import free_port


@pytest.fixture(autouse=True)
def engines_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each lab has its own leases again, whatever the integration tests of this session share."""
    monkeypatch.delenv("RATCHET_ENGINES", raising=False)


@pytest.fixture
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not there is asked as often as ever, one time right after the other."""
    monkeypatch.setattr(client, "RETRY_AFTER_S", (0.0,) * len(client.RETRY_AFTER_S))


@pytest.fixture
def serving() -> Iterator[Callable[[Script], str]]:
    """Start a fake for a script; returns its URL. Stopped when the test ends."""
    with contextlib.ExitStack() as stack:

        def start(script: Script) -> str:
            port = free_port()
            server = uvicorn.Server(uvicorn.Config(make_app(script), host="127.0.0.1", port=port, log_level="error"))
            thread = threading.Thread(target=server.run)
            thread.start()

            def end() -> None:
                server.should_exit = True
                thread.join()

            stack.callback(end)
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            return f"http://127.0.0.1:{port}"

        yield start
