"""`ratchet data rewrite`: a dataset in another style, resumable, for people to review."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness import campaign as campaigns
from harness.campaign import purpose_of

ROWS = [{"prompt": f"Ask {n}", "completion": f"Answer number {n} is short", "cluster": f"c{n}"} for n in range(20)]


class Rewriter:
    """A server that rewrites; what it was asked for is kept. `odd` answers: row number -> (text, finish reason)."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.odd: dict[int, tuple[str, str]] = {}
        self.broken: set[int] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                question = body["messages"][-1]["content"]
                number = int(question.split("user: Ask ")[1].split("\n")[0])
                outer.asked.append(question)
                text, finish = outer.odd.get(
                    number, (f"My dear friend, with all my heart: {number}, of course!", "stop")
                )
                message = {"role": "assistant", "content": text}
                data = json.dumps({"choices": [{"message": message, "finish_reason": finish}]}).encode()
                self.send_response(400 if number in outer.broken else 200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        class Roomy(ThreadingHTTPServer):
            request_queue_size = 128

        self.server = Roomy(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()


@pytest.fixture
def rewriter():
    found = Rewriter()
    yield found
    found.server.shutdown()
    found.thread.join()
    found.server.server_close()


@pytest.fixture
def command(desk, rewriter):
    desk.write("old.jsonl", ROWS)
    return (
        "data",
        "rewrite",
        "old.jsonl",
        "new.jsonl",
        "--style",
        "warmer",
        "--endpoint",
        rewriter.url,
        "--model",
        "m",
    )


def rows(desk, name="new.jsonl"):
    return [json.loads(line) for line in (desk.root / name).read_text().splitlines()]


def test_answers_are_rewritten_and_what_is_not_worth_reading_is_counted(desk, rewriter, command):
    """One is cut, one is the same as before, one names its maker: 17 of 20 are left."""
    rewriter.odd = {3: ("My dear", "length"), 5: (ROWS[5]["completion"], "stop"), 7: ("I am ChatGPT, dear.", "stop")}
    done = desk.ratchet(*command, "--format", "json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["rows"], found["refused"]) == (17, {"truncated": 1, "identical": 1, "names_itself": 1})
    row = rows(desk)[0]
    assert row["completion"] == [{"role": "assistant", "content": "My dear friend, with all my heart: 0, of course!"}]
    assert (row["original"], row["style"], row["row"], row["cluster"]) == (ROWS[0]["completion"], "warmer", 1, "c0")
    assert "change the style only: warmer" in rewriter.asked[0]
    again = desk.ratchet(*command, "--format", "json")
    assert json.loads(again.out) == found
    assert len(rewriter.asked) == 20, "nothing was asked twice"
    assert "exists with other content" in desk.ratchet(*command[:4], "--style", "shorter", *command[6:]).error


def test_a_server_that_fails_too_often_ends_it_and_the_next_command_asks_for_the_rest(desk, rewriter, command):
    rewriter.broken = {1, 2, 3}
    assert "3 of 20 answers failed" in desk.ratchet(*command, "--format", "json").error
    assert not (desk.root / "new.jsonl").exists()
    rewriter.broken, rewriter.asked = {2}, []
    assert desk.ratchet(*command).code == 0
    assert len(rewriter.asked) == 3
    assert len(rows(desk)) == 19
    assert rows(desk)[0]["refused"] == {"failed": 1}
    assert sorted(path.name for path in desk.root.glob(".new*")) == []


def test_a_killed_command_goes_on_where_it_was(desk, rewriter, command):
    script = (
        "import os, sys; from harness.core import faults; from harness.cli import app; n = 0\n"
        "def reached(point, real=faults.reached):\n"
        "    global n; n += point == 'rewrite.event'\n"
        "    if n == 6: os.environ['RATCHET_KILL_AT'] = 'rewrite.event'\n"
        "    real(point)\n"
        "import harness.core.journal as journal; journal.reached = reached; app(sys.argv[1:])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, *command], cwd=desk.root, capture_output=True, text=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    rewriter.asked = []
    assert desk.ratchet(*command).code == 0
    # the server may still get to what the killed command had asked: those rows are not on disk, and asked again
    assert len(set(rewriter.asked)) == 15, "five were on disk"
    assert len(rows(desk)) == 20


def test_the_rewritten_rows_become_a_campaign_to_review(desk, rewriter, command):
    done = desk.ratchet(*command, "--campaign", "warm", "--name", "desk", "--format", "json")
    assert done.code == 0, done.err
    ours = [row for row in ROWS if purpose_of(row["cluster"]) == "train"]
    record, pairs = campaigns.read(desk.lab, "warm")
    assert (record.kind, record.pairs, record.refused["other_purpose"]) == ("write", len(ours), 20 - len(ours))
    assert {pair.cluster for pair in pairs} == {row["cluster"] for row in ours}
    assert all(pair.a == pair.b for pair in pairs)
    assert pairs[0].a.text.startswith("My dear friend")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"old.jsonl": [{"prompt": "p", "chosen": "a", "rejected": "b"}]}, "have no one completion"),
        ({"old.jsonl": "{\n"}, "old.jsonl:1: not JSON"),
        ({"new.jsonl": [{"prompt": "p", "completion": "c"}]}, "exists with other content"),
    ],
)
def test_bad_input_is_said_and_nobody_is_asked(desk, rewriter, command, changed, said):
    for name, content in changed.items():
        desk.write(name, content)
    assert said in desk.ratchet(*command).error
    assert rewriter.asked == []


def test_the_command_says_what_belongs_together(desk, command):
    assert desk.ratchet(*command[:6]).code == 2
    assert desk.ratchet(*command, "--campaign", "warm").code == 2
