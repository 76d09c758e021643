"""The engine's listening socket: made by its supervisor, inherited by every vLLM that comes and goes behind it."""

from __future__ import annotations

import socket

from serve.lease import LOOPBACK

BACKLOG = 2048  # connections that wait while vLLM is too busy to accept; uvicorn's own default


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0: any. OSError when it is taken or no address of this machine."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    listening.setblocking(False)
    return listening


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
