"""Servers that answer evalsets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import uvicorn

from serve.fake import Script, make_app
from serve.supervise import free_port
from tests.unit.harness.evaluate.answering import Server


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    with found.running():
        yield found


@pytest.fixture
def fake() -> Iterator[Callable[[dict[str, str]], str]]:
    """Start serve.fake with these answers to any model; returns its URL."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(answers: dict[str, str]) -> str:
        port = free_port()
        app = make_app(Script(answers={"*": answers}))
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        while not server.started:
            thread.join(0.01)
        return f"http://127.0.0.1:{port}"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join()
