"""Capture: what is kept of a call, redacted; a slow or full disk never reaches the answer, and drops are counted."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from harness.core.errors import LabError
from harness.core.journal import segments
from harness.core.traffic import CALLS, CapturedCall, hashed_user, read, salt
from serve.plugin import writer as writing
from serve.plugin.capture import Capture, user_id
from serve.plugin.requestlog import RequestLog
from serve.plugin.writer import Writer
from tests.unit.serve.calls import call, key


def told(capture: Capture, *calls):
    for one in calls:
        capture.wants_text(one)
        capture.ended(one)
    capture.close()


def kept(folder: Path) -> list[CapturedCall]:
    return [one for one in read(folder, CALLS) if isinstance(one, CapturedCall)]


def test_a_call_is_kept_with_version_decoding_tokens_and_latency(tmp_path):
    told(Capture(tmp_path / "requests"), call(streaming=True))
    (one,) = kept(tmp_path / "requests")
    assert (one.model, one.alias, one.key_id, one.user) == ("aac@v1", "aac@prod", "k-1", "u1")
    assert (one.completion_id, one.request_id) == ("chatcmpl-1", "req-1")
    assert (one.prompt, one.answers) == ([{"role": "user", "content": "hello"}], ["good day"])
    assert one.decoding == {"temperature": 0.5}
    assert (one.prompt_tokens, one.completion_tokens, one.ttft_s, one.latency_s) == (3, 5, 0.1, 0.5)
    assert "not" not in (tmp_path / "requests").glob("calls-*").__next__().read_text()


def test_only_its_owner_reads_it(tmp_path):
    told(Capture(tmp_path / "requests"), call())
    (path,) = segments(tmp_path / "requests", CALLS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_it_is_off_by_default_and_samples_by_share(tmp_path):
    draws = iter([0.1, 0.3, 0.2])
    capture = Capture(tmp_path / "requests", draw=lambda: next(draws))
    told(capture, call(key=None), call(key=key(0.0)), *(call(key=key(0.25)) for _ in range(3)))
    assert len(kept(tmp_path / "requests")) == 2


@pytest.mark.parametrize("changes", [{"status": 400}, {"status": 0}, {"path": "/v1/embeddings"}])
def test_only_answers_are_kept(tmp_path, changes):
    told(Capture(tmp_path / "requests"), call(**changes))
    assert not (tmp_path / "requests").exists()


def test_everything_a_client_says_is_redacted(tmp_path):
    secret, mail = "sk-abcdefghijklmnop1234", "jane@example.com"
    body = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": f"I am {mail}"}]}],
        "tools": [{"type": "function", "function": {"name": "f", "description": secret}}],
        "stop": [mail], "user": mail, "response_format": {mail: 1},
    }  # fmt: skip
    tools = [{"function": {"name": "f", "arguments": json.dumps({"mail": mail})}}]
    told(Capture(tmp_path / "requests"), call(body=body, answer=[f"write to {mail}"], tool_calls=tools))
    (path,) = segments(tmp_path / "requests", CALLS)
    assert mail not in path.read_text()
    assert secret not in path.read_text()
    (one,) = kept(tmp_path / "requests")
    assert one.redacted == {"email": 5, "key": 1}
    assert one.user == hashed_user(mail, salt(tmp_path / "requests"))


@pytest.mark.parametrize(
    ("given", "plain"),
    [("u1", True), ("customer:42", True), ("", True), (None, True), ("jane@example.com", False), ("Jane Doe", False),
     ("4915112345678", False), ("+14155552671", False), ("u-0123456789abcdef", False), ("x" * 65, False)],
)  # fmt: skip
def test_users_who_look_like_people_are_hashed(given, plain):
    found = user_id(given, b"salt")
    assert found == (given or "") if plain else found == hashed_user(given, b"salt")
    assert user_id(given, b"salt") == found


def test_the_salt_is_one_for_all_processes(tmp_path):
    assert salt(tmp_path / "a") == salt(tmp_path / "a")
    assert salt(tmp_path / "a") != salt(tmp_path / "b")
    assert stat.S_IMODE((tmp_path / "a" / "salt").stat().st_mode) == 0o600


def test_a_body_that_cannot_be_written_is_counted_and_the_others_stay(tmp_path):
    capture = Capture(tmp_path / "requests")
    odd = call(body={"messages": [{"role": "user", "content": "\ud800"}], "temperature": float("inf")})
    told(capture, odd, call(finish_reasons=[3]), call())
    assert capture.writer.counts.dropped["unreadable"] == 1
    first, second = kept(tmp_path / "requests")
    assert (first.prompt[0]["content"], first.decoding) == ("?", {"temperature": None})
    assert second.answers == ["good day"]


def test_too_long_calls_are_dropped_and_counted(tmp_path):
    capture = Capture(tmp_path / "requests")
    told(capture, call(answer=["x" * 2**20]), call(headers={"content-length": str(2**21)}))
    assert capture.writer.counts.dropped["too_large"] == 2


def test_a_full_disk_drops_and_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "REFUSED_PAUSE_S", 0.0)

    def full(events):
        raise LabError("the disk is full")

    capture = Capture(tmp_path / "requests", append=full)
    told(capture, call(), call())
    assert capture.writer.counts.dropped["disk"] == 2
    assert capture.writer.counts.written == 0


def test_the_real_full_disk_leaves_no_half_line(tmp_path, monkeypatch):
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "capture.event")
    capture = Capture(tmp_path / "requests")
    told(capture, call())
    assert capture.writer.counts.dropped["disk"] == 1
    assert kept(tmp_path / "requests") == []


def test_a_slow_disk_fills_the_queue_and_no_caller_waits():
    """The disk stands still: puts return at once and beyond the queue drop; then everything queued is written."""
    going, started, written = threading.Event(), threading.Event(), []

    def slow(batch):
        started.set()
        going.wait()
        written.extend(batch)
        return 0

    writer: Writer[int] = Writer("test", slow, entries=10, max_bytes=1000)
    assert writer.put(0)
    started.wait()
    assert [writer.put(number) for number in range(1, 12)] == [True] * 10 + [False]
    assert (writer.waiting, writer.counts.dropped["full"]) == (10, 1)
    going.set()
    writer.close()
    assert written == list(range(11))
    assert not writer.put(99)
    assert writer.counts.dropped["late"] == 1


def test_the_queue_is_bounded_in_bytes_too():
    going = threading.Event()
    writer: Writer[int] = Writer("test", lambda batch: 0 if going.wait() else 1, entries=10, max_bytes=1000)
    found = [writer.put(number, 400) for number in range(6)]
    assert 2 <= sum(found) <= 5
    assert writer.counts.dropped["full"] == 6 - sum(found)
    going.set()
    writer.close()


def test_a_disk_that_never_comes_back_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr(writing, "CLOSE_S", 0.05)
    forever = threading.Event()
    writer: Writer[int] = Writer("test", lambda batch: 0 if forever.wait() else 1)
    writer.put(1)
    while writer.waiting:
        pass
    writer.put(2)
    writer.close()
    assert writer.counts.dropped["late"] == 1
    forever.set()


def test_a_segment_that_was_removed_or_replaced_is_followed_by_another(tmp_path):
    from harness.core.traffic import TrafficLog

    log = TrafficLog(tmp_path, CALLS, "capture.event")
    log.append([{"n": 1}])
    (first,) = segments(tmp_path, CALLS)
    os.replace(first, tmp_path / "elsewhere")
    log.append([{"n": 2}])
    (second,) = segments(tmp_path, CALLS)
    assert second != first
    assert json.loads(second.read_text()) == {"n": 2}


def test_the_request_log_has_no_prompts_and_no_keys(tmp_path):
    log = RequestLog(tmp_path / "requests", "e-1")
    log.ended(call(streaming=True))
    log.ended(call(path="/v1/sk-abcdefghijklmnop1234", request_id="rk-abcdefghijklmnop1234", model="", status=404))
    log.ended(call(path="/health"))
    log.close()
    text = log.path.read_text()
    first, second = (json.loads(line) for line in text.splitlines())
    assert first["request_id"] == "req-1"
    assert (first["version"], first["status"], first["ttft_ms"], first["latency_ms"]) == ("aac@v1", 200, 100.0, 500.0)
    assert second["path"] == "/v1/[key]"
    assert not any(word in text for word in ("hello", "good day", "abcdefgh", "u1"))
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_the_request_log_rotates(tmp_path, monkeypatch):
    from serve.plugin import requestlog

    monkeypatch.setattr(requestlog, "MAX_FILE_BYTES", 1000)
    log = RequestLog(tmp_path / "requests", "e-1")
    for _ in range(40):
        log.ended(call())
    log.close()
    files = sorted(log.path.parent.iterdir())
    assert len(files) == 1 + requestlog.OLD_FILES
    assert all(path.stat().st_size <= 1000 for path in files)


def test_a_request_log_on_a_full_disk_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "REFUSED_PAUSE_S", 0.0)
    log = RequestLog(tmp_path / "requests", "e-1")
    log.path.parent.mkdir(parents=True)
    log.path.symlink_to("/dev/full")
    log.ended(call())
    log.close()
    assert log.writer.counts.dropped["disk"] == 1
