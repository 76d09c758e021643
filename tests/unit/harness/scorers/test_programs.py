"""Programs in the sandbox: what passes, what fails and why, and what a program cannot do."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from harness.evaluate.scorers import sandbox

TESTS = "assert add(2, 3) == 5"


@pytest.mark.parametrize(
    ("answer", "value", "explanation"),
    [
        ("def add(a, b):\n    return a + b", 1, ""),
        ("Sure:\n```python\ndef add(a, b):\n    return a + b\n```\nThat adds.", 1, ""),
        ("def add(a, b):\n    return a - b", 0, "AssertionError"),
        ("def add(a, b) return", 0, "SyntaxError: expected ':'"),
        ("import sys\nsys.exit(0)", 0, "ended with code 0 before the tests were done"),
        ("raise ValueError('no')", 0, "ValueError: no"),
    ],
)
def test_code_must_pass_its_tests(scored, answer, value, explanation):
    found = scored("code", answer, tests=TESTS)
    assert (found.value, found.explanation) == (value, explanation)


def test_code_that_does_not_end_is_stopped_and_leaves_nothing_behind(scored):
    mark = f"ratchet-test-{os.getpid()}"
    answer = f"import subprocess, time\nsubprocess.Popen(['sleep', '600'], env={{'MARK': '{mark}'}})\ntime.sleep(600)"
    found = scored("code", answer, {"timeout_s": 1.5}, tests=TESTS)
    assert (found.value, found.explanation) == (0, "not done after 1.5 s")
    for _ in range(50):  # the kernel takes its time
        if not _running(mark):
            return
        time.sleep(0.1)
    raise AssertionError("a child of the program is still there")


def _running(mark: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                return True
        except OSError:
            continue
    return False


def test_code_has_limits_everywhere():
    found = sandbox.run({"p.py": "x = 'a' * (3 << 30)"}, ["p.py"])
    assert (found.code, found.stderr.strip().splitlines()[-1]) == (1, "MemoryError")
    environment = sandbox.run({"p.py": "import os; print(sorted(os.environ))"}, ["p.py"])
    assert environment.stdout.strip() == "['HOME', 'LC_ALL', 'PATH', 'TMPDIR']"
    files = sandbox.run({"p.py": "import os; print(os.listdir('.'))"}, ["p.py"])
    assert files.stdout.strip() == "['p.py']"


needs_namespaces = pytest.mark.skipif(not sandbox.isolated(), reason="this machine gives ordinary users no namespaces")


@needs_namespaces
@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import socket; socket.create_connection(('127.0.0.1', 22), 2)", "Network is unreachable"),
        ("open('/tmp/ratchet-escaped', 'w')", "Read-only file system"),
        ("import os; os.remove(os.__file__)", "Read-only file system"),
        ("open('big', 'wb').write(bytes(64 << 20))", "No space left"),
        ("import os; os.kill(2, 9)", "No such process"),
        ("import os, ctypes; os.mkdir('m'); libc = ctypes.CDLL(None, use_errno=True);"
         "failed = libc.mount(b'none', b'm', b'tmpfs', 0, None);"
         "raise SystemExit(os.strerror(ctypes.get_errno()) if failed else 'mounted')",
         "Operation not permitted"),
    ],
)  # fmt: skip
def test_a_caged_program_reaches_nothing(program, said):
    found = sandbox.run({"p.py": program}, ["p.py"])
    assert found.code == 1
    assert said in found.stderr


ITEM = {"schema": "CREATE TABLE t (a INT, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, NULL);"}
GOLD = ["SELECT a, b FROM t WHERE a > 1"]


@pytest.mark.parametrize(
    ("answer", "value", "explanation"),
    [
        ("SELECT a, b FROM t WHERE a >= 2 ORDER BY a DESC", 1, ""),
        ("```sql\nselect a as x, b as y from t where a <> 1;\n```", 1, ""),
        ("SELECT b, a FROM t WHERE a > 1", 0, "2 rows differ from the gold query's 2"),
        ("SELECT a::DOUBLE + 1e-9, b FROM t WHERE a > 1", 1, ""),
        ("SELECT a FROM t", 0, "3 rows differ from the gold query's 2"),
        ("SELECT nothing FROM t", 0, 'Binder Error: Referenced column "nothing" not found'),
        ("DELETE FROM t", 0, "not exactly one SELECT"),
        ("SELECT 1; SELECT a, b FROM t WHERE a > 1", 0, "not exactly one SELECT"),
        ("SELECT * FROM read_text('/etc/hostname')", 0, "Permission Error"),
        ("SELECT * FROM range(10000000)", 0, "more than 100000 rows"),
        ("I do not know", 0, "Parser Error"),
    ],
)
def test_sql_result_equality(scored, answer, value, explanation):
    found = scored("sql", answer, gold=GOLD, **ITEM)
    assert found.value == value
    assert explanation in found.explanation


def test_sql_in_order(scored):
    gold = ["SELECT a FROM t ORDER BY a DESC"]
    assert scored("sql", "SELECT a FROM t ORDER BY a", gold=gold, **ITEM).value == 1
    assert scored("sql", "SELECT a FROM t ORDER BY a", gold=gold, ordered=True, **ITEM).value == 0
    assert scored("sql", "SELECT a FROM t ORDER BY a", {"ordered": True}, gold=gold, **ITEM).value == 0


def test_a_broken_gold_query_is_not_the_answers_fault(scored):
    found = scored("sql", "SELECT 1", gold=["SELECT a FROM nowhere"], **ITEM)
    assert found.value is None
    assert "the item's own schema or gold query fails" in found.explanation


def test_a_query_without_end_is_stopped(scored):
    endless = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r"
    found = scored("sql", endless, {"timeout_s": 1.5}, gold=GOLD, **ITEM)
    assert found.value == 0
