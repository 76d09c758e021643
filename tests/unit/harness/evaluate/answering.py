"""Small servers that answer as a test says and keep what they were asked, and how an evalset is asked of them."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from harness.core.records import Endpoint, ItemResult, Subject
from harness.evalset import load
from harness.evaluate import business

SUBJECT = Subject(kind="base", label="base", model="tiny", base_sha256="b" * 64)
FOREIGN = SUBJECT.model_copy(update={"kind": "endpoint", "endpoint": Endpoint(base_url="http://x", model="m")})
ROW = {"id": "1", "prompt": "q", "gold": ["yes"]}
Body = dict[str, Any]


class Answering:
    """A server on a free port; `says(body)` gives the status and the JSON of an answer."""

    def __init__(self) -> None:
        self.asked: list[Body] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.keep({"path": self.path, **body}, self.headers.get("authorization"))
                status, said = outer.says(body)
                answer = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def keep(self, asked: Body, authorization: str | None) -> None:
        self.asked.append(asked)

    def says(self, body: Body) -> tuple[int, Any]:
        raise NotImplementedError

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield
        self.http.shutdown()
        thread.join()
        self.http.server_close()


class Server(Answering):
    """Answers what `respond(body)` returns: a dict is the message (or a status with `status`), a str its content."""

    def __init__(self) -> None:
        super().__init__()
        self.respond: Callable[[Body], Any] = lambda body: "ok"

    def keep(self, asked: Body, authorization: str | None) -> None:
        self.asked.append({**asked, "authorization": authorization})

    def says(self, body: Body) -> tuple[int, Any]:
        said = self.respond(body)
        status = said.pop("status", 200) if isinstance(said, dict) else 200
        return status, self.form({"content": said} if isinstance(said, str) else said)

    def form(self, message: Body) -> Any:
        choice = {"message": message, "finish_reason": "stop"}
        return {"model": "m", "choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


class Scripted(Answering):
    """Answers as `script(last user turn)` says: HTTP status, text, finish reason."""

    def __init__(self) -> None:
        super().__init__()
        self.script: Callable[[str], tuple[int, str, str]] = lambda prompt: (
            200, prompt.replace("item", "answer"), "stop",
        )  # fmt: skip

    def says(self, body: Body) -> tuple[int, Any]:
        prompt = body["messages"][-1]["content"] if "messages" in body else body["prompt"].split("\n\n")[-1]
        status, text, reason = self.script(prompt)
        return status, self.reply(text, reason) if status == 200 else {"error": {"message": text}}

    def reply(self, text: str, reason: str) -> Body:
        choice = {"message": {"content": text}, "text": text, "finish_reason": reason}
        return {"model": "r-1", "choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


def ask(desk, url: str, name: str = "e", subject: Subject = SUBJECT, chat: bool = True, shots: Any = ()) -> Any:
    folder = desk.lab.evals / "e-1"
    counts = business.evaluate(
        load(name), subject, business.Door(url, chat, 4, {"x-key": "k"}), folder, list(shots), lambda: None
    )
    return counts, business.results(folder)


def only(results: dict[str, ItemResult]) -> ItemResult:
    (result,) = results.values()
    return result


ROW = {"id": "1", "prompt": "q", "gold": ["yes"]}
