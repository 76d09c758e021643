"""A child process of benchmarks.serve: sends streaming requests and notes when each piece of each answer came.

    python -m benchmarks.serve_load JOB.json      one JSON object on stdout: {"seconds", "cpu_s", "replies": [...]}
    python -m benchmarks.serve_load --canned N    a server that answers at once with N pieces; prints its port

Raw asyncio: it only splits HTTP chunks while it measures; JSON is read when all answers are in. Each of `concurrency`
workers holds one connection and sends its next request when its last answer is whole. The canned server exists to
measure what this process can take when nothing behind it costs time.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, TypedDict
from urllib.parse import urlsplit

TIMEOUT_S = 600.0


class Job(TypedDict):
    """`url` up to the route; one JSON body per request, sent in this order."""

    url: str
    headers: dict[str, str]
    concurrency: int
    bodies: list[dict[str, Any]]


class Reply(NamedTuple):
    """Seconds from `start` (monotonic); `pieces` are the SSE events with a choice; `error` None when all is well."""

    index: int
    start: float
    first_s: float
    last_s: float
    pieces: int
    text: str
    model: str
    error: str | None


async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes, body: bytes) -> Any:
    """(status, [(arrival, bytes)]) of one request on an open connection."""
    writer.write(head + str(len(body)).encode() + b"\r\n\r\n" + body)
    answer = (await reader.readuntil(b"\r\n\r\n")).lower()
    status, pieces = int(answer[9:12]), []
    if b"transfer-encoding: chunked" in answer:
        while size := int(await reader.readline(), 16):
            pieces.append((time.monotonic(), (await reader.readexactly(size + 2))[:-2]))
        await reader.readline()
    else:
        length = int(answer.split(b"content-length:")[1].split(b"\r\n")[0])
        pieces.append((time.monotonic(), await reader.readexactly(length)))
    return status, pieces


def read(index: int, start: float, status: int, pieces: list[tuple[float, bytes]]) -> Reply:
    """The reply that the pieces of a stream make."""
    whole = b"".join(data for _, data in pieces)
    if status != 200:
        return Reply(index, start, 0, 0, 0, "", "", f"HTTP {status}: {whole[:200].decode(errors='replace')}")
    times, text, model = [], "", ""
    for at, data in pieces:
        for line in data.split(b"\n"):
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            for choice in event.get("choices", []):
                said = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
                text, model = text + said, event.get("model", "")
                if said or times:  # a chat begins with a piece that only names the role
                    times.append(at)
    if not times:
        return Reply(index, start, 0, 0, 0, "", "", f"no text came: {whole[:200].decode(errors='replace')}")
    return Reply(index, start, times[0] - start, times[-1] - start, len(times), text, model, None)


async def run(job: Job) -> dict[str, Any]:
    """All requests of a job."""
    where = urlsplit(job["url"])
    lines = [f"POST {where.path} HTTP/1.1", f"host: {where.netloc}", "content-type: application/json"]
    lines += [f"{name}: {value}" for name, value in job["headers"].items()]
    head = ("\r\n".join(lines) + "\r\ncontent-length: ").encode()
    waiting = list(enumerate(json.dumps(body).encode() for body in job["bodies"]))[::-1]
    raw: list[tuple[int, float, int, list[tuple[float, bytes]]]] = []

    async def worker() -> None:
        reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=2**20)
        while waiting:
            index, body = waiting.pop()
            start = time.monotonic()
            raw.append((index, start, *await asyncio.wait_for(send(reader, writer, head, body), TIMEOUT_S)))
        writer.close()

    begun, cpu = time.monotonic(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(min(job["concurrency"], len(waiting)))))
    seconds, cpu_s = time.monotonic() - begun, time.process_time() - cpu
    replies = [read(*one)._asdict() for one in sorted(raw)]
    return {"seconds": seconds, "cpu_s": cpu_s, "replies": replies}


async def canned(pieces: int) -> None:
    """Answer every request on 127.0.0.1 with `pieces` events, one write each, until killed."""
    event = {"choices": [{"index": 0, "text": " word", "finish_reason": None}], "model": "canned", "id": "cmpl-0"}
    data = f"data: {json.dumps(event)}\n\n".encode()
    chunk = f"{len(data):x}\r\n".encode() + data + b"\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _head(reader):
            await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for _ in range(pieces):
                writer.write(chunk)
                await asyncio.sleep(0)
            writer.write(b"0\r\n\r\n")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def main() -> None:
    if sys.argv[1] == "--canned":
        asyncio.run(canned(int(sys.argv[2])))
    else:
        print(json.dumps(asyncio.run(run(json.loads(Path(sys.argv[1]).read_text())))))


if __name__ == "__main__":
    main()
