"""From what apps sent to what trains, through the command line: export, contamination, forgetting, the store."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time

import pytest

from harness.core.journal import segments
from harness.core.traffic import AUDIT, CALLS, FEEDBACK, USAGE, hashed_user, read, salt
from harness.data import raw_rows
from serve.plugin.capture import Capture
from serve.plugin.feedback import Desk as FeedbackDesk
from serve.plugin.usage import Usage
from tests.unit.serve.calls import call


class App:
    """An app's traffic, written by the engine's own parts."""

    def __init__(self, lab):
        self.folder = lab.requests
        self._numbers = itertools.count(1)

    def asks(self, prompt="hello", answer="good day", user="u1", **changes):
        name = f"chatcmpl-{next(self._numbers)}"
        turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        body = {"messages": turns, "user": user}
        one = call(
            **(
                {"body": body, "answer": answer if isinstance(answer, list) else [answer], "completion_id": name}
                | changes
            )
        )
        capture, usage = Capture(self.folder), Usage(self.folder)
        capture.wants_text(one)
        for watcher in (capture, usage):
            watcher.ended(one)
            watcher.close()
        return name

    def says(self, **body):
        desk = FeedbackDesk(self.folder)
        entry, _ = asyncio.run(desk.take(body, "k-1"))
        desk.close()
        return entry


@pytest.fixture
def app(desk):
    return App(desk.lab)


def ok(desk, *arguments):
    outcome = desk.ratchet(*arguments, "--format", "json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def rows(desk, name):
    return [row for _, row in raw_rows(desk.root / name)]


def sql(desk, query):
    desk.ratchet("reindex")
    return ok(desk, "sql", query)


def test_thumbs_become_kto_rows_by_majority_with_lineage(desk, app):
    good, bad, even = app.asks("a", "A"), app.asks("b", "B", user="jane@example.com"), app.asks("c", "C")
    app.asks("no feedback", "D")
    for user, thumb in (("u1", "up"), ("u2", "up"), ("u3", "down")):
        app.says(completion_id=good, thumb=thumb, user=user)
    app.says(completion_id=bad, thumb="up", user="u1")
    app.says(completion_id=bad, thumb="down", user="u1", reason="rude")  # the last counts
    app.says(completion_id=even, thumb="up", user="u1")
    app.says(completion_id=even, thumb="down", user="u2")
    app.says(completion_id="chatcmpl-of-another-lab", thumb="up")
    made = ok(desk, "capture", "export", "kto.jsonl", "--as", "kto")
    assert (made["rows"], made["refused"]) == (2, {"unmatched": 1, "conflict": 1})
    first, second = rows(desk, "kto.jsonl")
    assert first["prompt"] == [{"role": "user", "content": "a"}]
    assert first["completion"] == [{"role": "assistant", "content": "A"}]
    assert (first["label"], first["votes"], first["raters"]) == (True, {"up": 2, "down": 1}, ["u1", "u2", "u3"])
    assert (first["completion_ids"], first["version"], first["alias"]) == ([good], "aac@v1", "aac@prod")
    assert (second["label"], second["reasons"]) == (False, ["rude"])
    assert second["user"] == hashed_user("jane@example.com", salt(desk.lab.requests))


def test_edits_and_choices_become_pairs(desk, app):
    edited, one, two = app.asks("a", "bad A"), app.asks("b", "B one"), app.asks("b", "B two")
    other = app.asks("not b", "C")
    app.says(completion_id=edited, edited="good A")
    app.says(chosen=two, rejected=one)
    app.says(chosen=two, rejected=other)
    app.says(completion_id=one, edited="B one ")
    made = ok(desk, "capture", "export", "pairs.jsonl", "--as", "pairs")
    assert (made["rows"], made["refused"]) == (2, {"identical": 1, "different_prompts": 1})
    first, second = rows(desk, "pairs.jsonl")
    assert (first["chosen"][0]["content"], first["rejected"][0]["content"], first["source"]) == (
        "good A",
        "bad A",
        "edit",
    )
    assert (second["chosen"][0]["content"], second["rejected"][0]["content"]) == ("B two", "B one")
    assert second["completion_ids"] == [two, one]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"finish_reasons": ["length"]}, "truncated"),
        ({"left": True}, "left"),
        ({"answer": ["a", "b"]}, "several_answers"),
        ({"answer": [""]}, "empty"),
        ({"tool_calls": [{"function": {"name": "f"}}]}, "tool_calls"),
        ({"answer": ["write to jane@example.com"]}, "redacted"),
        ({"body": {"prompt": [1, 2]}, "path": "/v1/completions"}, "token_ids"),
        ({"prompt": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "not_text"),
        ({"prompt": [{"role": "tool", "content": "x"}]}, "not_text"),
    ],
)
def test_what_should_not_be_learned_from_is_refused_and_counted(desk, app, changes, reason):
    name = app.asks(**changes)
    app.says(completion_id=name, thumb="up")
    app.says(completion_id=app.asks("fine"), thumb="up")
    made = ok(desk, "capture", "export", "out.jsonl", "--as", "sft")
    assert (made["rows"], made["refused"]) == (1, {reason: 1})


def test_text_in_parts_and_plain_prompts_are_text(desk, app):
    parts = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    app.says(completion_id=app.asks(parts), thumb="up")
    app.says(completion_id=app.asks(body={"prompt": "plain"}, path="/v1/completions"), thumb="up")
    ok(desk, "capture", "export", "out.jsonl", "--as", "sft")
    assert [row["prompt"][0]["content"] for row in rows(desk, "out.jsonl")] == ["a\nb", "plain"]


def test_a_pool_has_each_prompt_once_and_takes_part_in_a_campaign(desk, app):
    app.asks("one", user="u1")
    app.asks("ONE ", user="u2")
    app.asks("two", user="u2")
    app.asks("three", alias="aac@beta")
    made = ok(desk, "capture", "export", "pool.jsonl", "--as", "pool", "--alias", "aac@prod")
    assert (made["rows"], made["refused"]) == (2, {"duplicate": 1})
    from harness.pipeline.campaigns import _of_file

    assert [(item.cluster, item.prompt[0]["content"]) for item in _of_file(desk.root / "pool.jsonl")[0]] == [
        ("u1", "one"), ("u2", "two"),
    ]  # fmt: skip


def test_nothing_to_export_and_no_writing_over(desk, app):
    assert "nothing captured" in desk.ratchet("capture", "export", "x.jsonl", "--as", "kto").error
    app.asks()
    assert "no feedback" in desk.ratchet("capture", "export", "x.jsonl", "--as", "kto").error
    assert not (desk.root / "x.jsonl").exists()
    ok(desk, "capture", "export", "x.jsonl", "--as", "pool")
    assert "exists" in desk.ratchet("capture", "export", "x.jsonl", "--as", "pool").error


def test_edits_become_an_evalset(desk, app):
    for number in range(3):
        name = app.asks(f"question {number}", f"wrong {number}", user=f"u{number}")
        app.says(completion_id=name, edited=f"right {number}")
    app.asks("uncorrected", "fine")
    made = ok(
        desk, "evalset", "import", "captured", desk.lab.requests, "--name", "real", "--cluster", "user",
        "--scorer", "exact",
    )  # fmt: skip
    assert made["items"] == 3
    assert "1 rows that nobody corrected" in made["left_out"][0]
    item = json.loads((desk.root / "evalsets/real/items.jsonl").read_text().splitlines()[0])
    assert (item["gold"], item["wrong"], item["cluster"]) == (["right 0"], ["wrong 0"], "u0")


@pytest.mark.parametrize("form", ["pairs", "sft"])
def test_captured_prompts_count_as_training_data_for_contamination(desk, app, form):
    rows = [{"id": f"i{n}", "split": "release", "prompt": f"Please tell me in one sentence what the number {n} plus "
             f"{n + 1} makes and why that is so", "gold": [str(2 * n + 1)]} for n in range(20)]  # fmt: skip
    desk.evalset("mini", rows)
    for number in range(6):
        name = app.asks(rows[number]["prompt"], f"answer {number}")
        app.says(completion_id=name, edited=f"better {number}")
    ok(desk, "capture", "export", "real.jsonl", "--as", form)
    method = {"type": "dpo"} if form == "pairs" else {"type": "sft"}
    desk.spec(train__dataset="real.jsonl", train__method=method)
    found = desk.ratchet("check", "spec.yaml")
    assert "6 of 20 items stand in the training data" in found.out + found.err


def test_rows_with_labels_are_not_learned_by_sft(desk, app):
    app.says(completion_id=app.asks("a", "very bad"), thumb="down")
    ok(desk, "capture", "export", "kto.jsonl", "--as", "kto")
    desk.spec(train__dataset="kto.jsonl")
    assert "rows with a label hold answers that nobody wanted" in desk.ratchet("check", "spec.yaml").error


def test_ls_and_stats(desk, app):
    name = app.asks("what is \x1b[31mred", answer="write to a@b.io")
    app.says(completion_id=name, thumb="down")
    app.says(completion_id="chatcmpl-unknown", thumb="up")
    listed = desk.ratchet("capture", "ls")
    assert "+0 -1" in listed.out
    assert "\x1b" not in listed.out
    found = ok(desk, "capture", "stats")
    assert found["versions"] == {"aac@v1": {"calls": 1, "edits": 0, "up": 0, "down": 1}}
    assert (found["unmatched"], found["redacted"], found["feedback"]) == (1, {"email": 1}, {"down": 1, "up": 1})
    text = desk.ratchet("capture", "stats").out
    assert "1 calls of 1 users" in text
    assert "1 on answers that were not captured" in text
    assert ok(desk, "capture", "ls")[0]["id"] == name


# --- the store --------------------------------------------------------------------------------------------------


def test_the_store_has_requests_feedback_and_usage_and_reindex_says_the_same(desk, app):
    name = app.asks("a", "A")
    app.says(completion_id=name, thumb="up", user="u1")
    app.says(completion_id=name, thumb="down", user="u1")
    app.says(completion_id="chatcmpl-unknown", thumb="up")
    from harness.store import ingest, query

    ingest(desk.lab)
    asked = (
        "SELECT model, key_id, user_id, answer, completion_tokens, latency_s FROM requests",
        "SELECT thumb, matched, model FROM feedback ORDER BY matched",
        "SELECT key_id, model, requests, prompt_tokens FROM usage",
    )
    first = [query(desk.lab, one)[1] for one in asked]
    assert first == [
        [("aac@v1", "k-1", "u1", "A", 5, 0.5)],
        [("up", False, None), ("down", True, "aac@v1")],
        [("k-1", "aac@v1", 1, 3)],
    ]
    assert not ingest(desk.lab).published
    app.asks("b", "B")
    ingest(desk.lab)
    grown = [query(desk.lab, one)[1] for one in asked]
    assert len(grown[0]) == 2
    desk.ratchet("reindex")
    assert [query(desk.lab, one)[1] for one in asked] == grown


# --- forgetting -------------------------------------------------------------------------------------------------


def everything(desk):
    """All bytes of the lab, but for its salt."""
    files = [path for path in desk.lab.root.rglob("*") if path.is_file() and path.name != "salt"]
    return b"".join(path.read_bytes() for path in files)


def test_a_user_is_forgotten_everywhere_and_counts_stay(desk, app):
    mail = "jane@example.com"
    hers, others = app.asks("her secret question", "her answer", user=mail), app.asks("another's", "kept answer")
    app.says(completion_id=hers, edited="somebody's edit of her answer", user="u2")
    app.says(completion_id=others, edited="her edit of another's answer", user=mail)
    app.says(completion_id=others, thumb="up", user="u2")
    ok(desk, "capture", "export", "sft.jsonl", "--as", "pairs")
    ok(desk, "capture", "export", "pool.jsonl", "--as", "pool")
    desk.spec(train__dataset="pool_as_sft.jsonl")
    assert sql(desk, "SELECT count(*) AS n FROM requests")[0]["n"] == 2
    found = ok(desk, "capture", "erase", "--user", mail)
    assert (found["calls"], found["feedback"], found["exported_rows"]) == (1, 2, 3)
    left = everything(desk) + (desk.root / "sft.jsonl").read_bytes() + (desk.root / "pool.jsonl").read_bytes()
    for text in (b"her secret", b"her answer", b"edit of her", b"her edit", hers.encode(), mail.encode()):
        assert text not in left, text
    assert b"kept answer" in left
    assert ok(desk, "sql", "SELECT count(*) AS n, count(prompt) AS texts FROM requests") == [{"n": 2, "texts": 1}]
    assert ok(desk, "sql", "SELECT thumb FROM feedback") == [{"thumb": "up"}]
    stats = ok(desk, "capture", "stats")
    assert (stats["calls"], stats["erased"]) == (1, 3)
    last = list(read(desk.lab.requests, AUDIT))[-1]
    assert (last.did, last.who, last.user, last.counts["calls"]) == (
        "erase", "tester", hashed_user(mail, salt(desk.lab.requests)), 1,
    )  # fmt: skip
    again = ok(desk, "capture", "erase", "--user", found["user"])
    assert (again["calls"], again["feedback"], again["exported_rows"]) == (0, 0, 0)


def test_what_cannot_be_taken_back_is_named(desk, app):
    for number in range(3):
        app.says(completion_id=app.asks(f"q {number}", f"w {number}"), edited=f"r {number}")
    ok(desk, "capture", "export", "sft.jsonl", "--as", "sft")
    ok(desk, "capture", "export", "gone.jsonl", "--as", "pool")
    (desk.root / "gone.jsonl").unlink()
    ok(desk, "evalset", "import", "captured", desk.lab.requests, "--name", "real", "--scorer", "exact")
    desk.spec(train__dataset="sft.jsonl")
    run = desk.trained(desk.resolve().plan.runs[0])
    found = desk.ratchet("capture", "erase", "--user", "u1")
    assert f"remains: run {run.run_id}" in found.out
    assert "evalset real holds 3 items" in found.out
    assert "gone.jsonl was exported (pool) and is gone" in found.out


def test_a_writer_goes_on_after_a_user_was_forgotten(desk, app):
    """A running engine keeps its segment open: what it writes after the rewriting must not go to the old file."""
    capture = Capture(desk.lab.requests)

    def writes(name, user):
        one = call(body={"messages": [{"role": "user", "content": name}], "user": user}, completion_id=name)
        capture.wants_text(one)
        written = capture.writer.counts.written
        capture.ended(one)
        while capture.writer.counts.written == written:
            time.sleep(0.001)

    writes("before", "u1")
    ok(desk, "capture", "erase", "--user", "u1")
    writes("after", "u2")
    capture.close()
    assert [row["id"] for row in ok(desk, "capture", "ls")] == ["after"]
    assert len(segments(desk.lab.requests, CALLS)) == 2


def test_killed_while_forgetting_a_second_try_finishes(desk, app, monkeypatch):
    import subprocess
    import sys

    app.says(completion_id=app.asks("her question", user="jane"), edited="x", user="u2")
    ok(desk, "capture", "export", "p.jsonl", "--as", "pairs")
    command = [sys.executable, "-m", "harness.cli", "capture", "erase", "--user", "jane"]
    for point in ("capture.rewrite", "capture.audit"):
        ended = subprocess.run(command, env=os.environ | {"RATCHET_KILL_AT": point}, check=False, capture_output=True)
        assert ended.returncode == -9
    ok(desk, "capture", "erase", "--user", "jane")
    assert b"her question" not in everything(desk) + (desk.root / "p.jsonl").read_bytes()
    assert ok(desk, "capture", "stats")["erased"] == 2


def test_old_calls_go_at_ingest_and_with_purge(desk, app):
    app.asks("old")
    app.says(completion_id="chatcmpl-1", thumb="up")
    assert sql(desk, "SELECT count(*) AS n FROM requests")[0]["n"] == 1
    for stem in (CALLS, FEEDBACK, USAGE):
        for path in segments(desk.lab.requests, stem):
            os.utime(path, (time.time() - 40 * 86_400,) * 2)
    assert ok(desk, "capture", "keep") == {"days": 90}
    assert ok(desk, "capture", "purge") == {"segments": 0}
    app.asks("new")
    assert ok(desk, "capture", "keep", "30") == {"days": 30}
    from harness.store import ingest, query

    ingest(desk.lab)
    assert query(desk.lab, "SELECT json_extract_string(prompt, '$[0].content') FROM requests")[1] == [("new",)]
    assert query(desk.lab, "SELECT count(*) FROM feedback")[1] == [(0,)]
    assert query(desk.lab, "SELECT sum(requests) FROM usage")[1] == [(2,)]  # how much was used stays
    assert "at least 1" in desk.ratchet("capture", "keep", "0").err or desk.ratchet("capture", "keep", "0").code == 2


def test_damage_is_named_and_disturbs_nothing_else(desk, app):
    app.asks("fine")
    (path,) = segments(desk.lab.requests, CALLS)
    bad = path.with_name("calls-0-x.jsonl")
    bad.write_text('{"kind": "call"}\n')
    assert "calls-0-x.jsonl" in desk.ratchet("capture", "stats").error
    outcome = desk.ratchet("reindex")
    assert "calls-0-x.jsonl" in outcome.error
    assert ok(desk, "sql", "SELECT count(*) AS n FROM requests") == [{"n": 1}]
