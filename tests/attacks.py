"""Attacks on a server's door, for the fake and for the real engine: each must get a 4xx and change nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from serve.plugin.routetable import CLOSED, ROUTES, Need

TIMEOUT_S = 20.0
BODY = {"prompt": "x"}
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE")
NAMES = (
    *("../support@v1", "..", "/etc/passwd", "support@../../etc", "support@v1/../v2", "%2e%2e/x", "support@v01"),
    *("support\x00@v1", "SUPPORT@V1", "support@v99999999999999", "@", "support@", "a" * 10_000, "ünïcode", "tiny "),
    *("support@v1\n", "http://somewhere/x", "support@v1@v2", "*", "s*@v1", "\ud7ff", "r-1/../r-1"),
)
PATHS = (
    *("//v1/models", "/v1//models", "/./v1/models", "/v1/./models", "/v1/models/", "/V1/MODELS", "/v1/models/.."),
    *("/v1/../metrics", "/health/../metrics", "/health/", "/%2e%2e/metrics", "/v1/%2e%2e/metrics", "/%6detrics"),
    *(
        "/metrics/",
        "/metrics/x",
        "//metrics",
        "/metrics%00",
        "/metrics;x",
        "/v1/load_lora_adapter/",
        "/adapters/x/../y",
    ),
    *("/v1/completions%2f", "/v1/completions/", "/v1%5ccompletions", "/ratchet/", "/ratchet/../metrics", "/ratchet/x"),
    *("/health%2f..%2fmetrics", "/v1/models%23", "/v1/models%3f", "http://elsewhere/metrics", "*", "/.", "/"),
)


class Target(NamedTuple):
    """A server with keys in force. `infer` and `feedback` are living keys with that one scope."""

    url: str
    infer: str
    feedback: str
    revoked: str
    expired: str

    @property
    def auth(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.infer}"}


def credentials(target: Target) -> Iterator[tuple[str, int]]:
    """(what was tried, status) for every route that asks for anything, with every credential that opens nothing."""
    wrong = {
        "none": {},
        "unknown": {"x-api-key": "rk-" + "A" * 43},
        "empty": {"authorization": "Bearer"},
        "another scheme": {"authorization": f"Basic {target.infer}"},
        "revoked": {"authorization": f"Bearer {target.revoked}"},
        "expired": {"x-api-key": target.expired},
        "cut": {"x-api-key": target.infer[:-1]},
        "longer": {"x-api-key": target.infer + "A"},
        "in the query": {},
    }
    with httpx.Client(base_url=target.url, timeout=TIMEOUT_S) as http:
        for (method, path), need in ROUTES.items():
            for name, headers in wrong.items():
                if need is not Need.NOTHING:
                    query = {"api_key": target.infer} if name == "in the query" else None
                    answer = http.request(method, path, headers=headers, params=query, json=BODY)
                    yield f"{method} {path} with {name}", answer.status_code


def wrong_scope(target: Target) -> Iterator[tuple[str, int]]:
    with httpx.Client(base_url=target.url, timeout=TIMEOUT_S) as http:
        for (method, path), need in ROUTES.items():
            for secret, has in ((target.infer, Need.INFER), (target.feedback, Need.FEEDBACK)):
                if need not in (Need.NOTHING, Need.KEY, has):
                    answer = http.request(method, path, headers={"x-api-key": secret}, json=BODY)
                    yield f"{method} {path} with {has}", answer.status_code


def closed_routes(target: Target) -> Iterator[tuple[str, int]]:
    """Every route of vLLM's that is closed, by every method, without a key and with one for inference."""
    with httpx.Client(base_url=target.url, timeout=TIMEOUT_S) as http:
        for path in CLOSED:
            for method in METHODS:
                for headers in ({}, target.auth):
                    body = {"lora_name": "r-1", "lora_path": "/etc", "prompt": "x"}
                    answer = http.request(method, path.replace("{", "").replace("}", ""), headers=headers, json=body)
                    yield f"{method} {path} with {sorted(headers)}", answer.status_code


def path_tricks(target: Target) -> Iterator[tuple[str, int]]:
    """Ways of writing a path that a router might read differently from a guard."""
    for path in PATHS:
        for method in ("GET", "POST"):
            said = raw(target.url, request(method, path, target))
            yield f"{method} {path}", status(said)


def method_tricks(target: Target) -> Iterator[tuple[str, int]]:
    for method in ("post", "Get", "TRACE", "CONNECT", "PROPFIND", "GET\t", "G" * 5000, "\x00GET"):
        yield f"{method[:20]!r}", status(raw(target.url, request(method, "/v1/models", target)))
    for name in ("x-http-method-override", "x-http-method", "x-original-url", "x-rewrite-url"):
        value = "/metrics" if "url" in name else "POST"
        yield name, status(raw(target.url, request("GET", "/v1/load_lora_adapter", target, {name: value})))


def smuggling(target: Target) -> Iterator[tuple[str, bytes]]:
    """(what was tried, all that came back). Each holds a second request that must not be answered as one."""
    hidden = request("GET", "/v1/models", target).encode("latin-1")
    json_body = b'{"prompt": "x", "max_tokens": 1}'
    size = len(json_body)

    def tried(headers: str, body: bytes) -> bytes:
        head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{headers}"
        return raw(target.url, f"{head}\r\n\r\n".encode("latin-1") + body)

    auth = f"authorization: Bearer {target.infer}\r\n"
    chunked = f"{size:x}\r\n".encode() + json_body + b"\r\n0\r\n\r\n"
    many = "".join(f"x-{n}: aaaaaaaaaaaaaaa\r\n" for n in range(5000))
    tricks: dict[str, tuple[str, bytes]] = {
        "length and chunks": (f"{auth}content-length: {size}\r\ntransfer-encoding: chunked", chunked + hidden),
        "chunks and length": (f"{auth}transfer-encoding: chunked\r\ncontent-length: 4", chunked + hidden),
        "two lengths": (f"{auth}content-length: {size}\r\ncontent-length: 0", json_body + hidden),
        "the same length twice": (f"{auth}content-length: {size}\r\ncontent-length: {size}", json_body),
        "a list of lengths": (f"{auth}content-length: {size}, 0", json_body + hidden),
        "a signed length": (f"{auth}content-length: +{size}", json_body),
        "a negative length": (f"{auth}content-length: -1", json_body + hidden),
        "a hexadecimal length": (f"{auth}content-length: 0x10", json_body + hidden),
        "a space before the colon": (f"{auth}transfer-encoding : chunked\r\ncontent-length: {size}", json_body),
        "an unknown encoding": (f"{auth}transfer-encoding: xchunked\r\ncontent-length: {size}", json_body),
        "chunks that are not last": (f"{auth}transfer-encoding: chunked, identity", chunked + hidden),
        "a folded header": (f"{auth}transfer-encoding:\r\n chunked\r\ncontent-length: {size}", chunked + hidden),
        "a folded key": (f"authorization: Bearer x\r\n {target.infer}\r\ncontent-length: {size}", json_body),
        "a wrong chunk size": (f"{auth}transfer-encoding: chunked", b"zz\r\n" + json_body + b"\r\n0\r\n\r\n"),
        "a nul in a header": (f"{auth}x-a: b\x00c\r\ncontent-length: {size}", json_body),
        "two keys": (f"{auth}authorization: Bearer y\r\ncontent-length: {size}", json_body),
        "one key twice": (f"{auth}{auth}content-length: {size}", json_body),
        "two hosts": (f"{auth}host: y\r\ncontent-length: {size}", json_body),
        "headers of 200 kB": (f"{auth}x-long: {'a' * 200_000}\r\ncontent-length: {size}", json_body),
        "5,000 headers": (f"{auth}{many}content-length: {size}", json_body),
        "a key in gzip": (f"{auth}content-encoding: gzip\r\ncontent-length: {size}", b"\x1f\x8b" + json_body[2:]),
    }
    for name, (headers, body) in tricks.items():
        yield name, tried(headers, body)


def request(method: str, path: str, target: Target, more: dict[str, str] | None = None) -> str:
    headers = {"host": "x", "x-api-key": target.infer, "content-length": "0", "connection": "close", **(more or {})}
    return f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"


def raw(url: str, data: str | bytes, wait_s: float = 0.5) -> bytes:
    """Send bytes as they are; all that comes back until the server hangs up or is silent for `wait_s`."""
    place, found = urlsplit(url), b""
    with socket.create_connection((place.hostname, place.port), timeout=TIMEOUT_S) as connection:
        try:
            connection.sendall(data.encode("latin-1") if isinstance(data, str) else data)
            while part := connection.recv(2**16):
                found += part
                connection.settimeout(wait_s)
        except (TimeoutError, ConnectionError):
            pass
    return found


def status(answer: bytes) -> int:
    """The status of a raw answer; 400 where the server only hung up."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 400


def flood(url: str, headers: dict[str, str], count: int, resident: Callable[[], int]) -> tuple[set[int], int]:
    """Ask for `count` names that do not exist; (the statuses, bytes by which `resident` memory grew)."""
    with httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S) as http:

        def ask(name: str) -> int:
            return http.post("/v1/completions", json={"model": name, "prompt": "x"}).status_code

        found = {ask(f"warm-{n}@v1") for n in range(200)}
        before = resident()
        for n in range(count):
            found.add(ask(f"unknown-{n}@v{n + 1}" if n % 2 else f"unknown-{n}"))
        return found, resident() - before
