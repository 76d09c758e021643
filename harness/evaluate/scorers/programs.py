"""Answers that are programs: Python that must pass tests, and SQL that must give the gold query's result."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from harness.core.records import Score
from harness.evalset import Evalset, Item
from harness.evalset.metric import Metric
from harness.evaluate.answer import Answer
from harness.evaluate.scorers import sandbox
from harness.evaluate.scorers.base import EXPLAINED, Options, Scorer, block_of, options_of, yes_no

SQL_CHILD = Path(__file__).with_name("sql_child.py")
SQL_MEMORY_MB = 4096  # of addresses; DuckDB itself is held to 512 MB of memory


class CodeOptions(Options):
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 10.0
    memory_mb: Annotated[int, Field(ge=64)] = 1024


def code(evalset: Evalset, metric: Metric) -> Scorer:
    """1 if the item's `tests` (Python, usually asserts) pass after the item's `setup` and the answer's code.

    The answer's last fenced block is run, else the whole answer, in a child (see sandbox.py). A program that ends
    early, whatever its exit code, has not passed: after the tests it must say a word drawn for this run.
    """
    options = options_of(CodeOptions, metric)
    limits = sandbox.Limits(
        wall_s=options.timeout_s, cpu_s=int(options.timeout_s) + 1, memory_mb=options.memory_mb
    )  # fmt: skip

    def score(item: Item, answer: Answer) -> Score:
        word = secrets.token_hex(8)
        parts = [item.other("setup") or "", block_of(answer.text), str(item.other("tests")), f"print({word!r})"]
        found = sandbox.run({"program.py": "\n\n".join(parts)}, ["program.py"], limits)
        if found.code is None:
            return yes_no(False, f"not done after {options.timeout_s:g} s")
        if found.code == 0 and found.stdout.rstrip().endswith(word):
            return yes_no(True)
        last = found.stderr.strip().splitlines()[-1:] or [f"ended with code {found.code} before the tests were done"]
        return yes_no(False, last[0])

    return score


class SqlOptions(Options):
    ordered: bool = False
    tolerance: float = 1e-6
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 10.0


def sql(evalset: Evalset, metric: Metric) -> Scorer:
    """1 if the answer's query gives the rows of a gold query (result equality, "execution accuracy": Yu et al. 2018).

    The item's `schema` (statements that make and fill the tables) is run in an empty DuckDB first. Rows are compared
    as a multiset, in order where options.ordered or the item's `ordered` says so; column names do not count, their
    order does; numbers may differ by `tolerance`, relative to the larger. One SELECT is allowed, in a child without
    access to files or network.
    """
    options = options_of(SqlOptions, metric)
    limits = sandbox.Limits(
        wall_s=options.timeout_s, cpu_s=int(options.timeout_s) + 1, memory_mb=SQL_MEMORY_MB
    )  # fmt: skip

    def score(item: Item, answer: Answer) -> Score:
        job = {
            "schema": item.other("schema") or "",
            "gold": item.gold,
            "answer": block_of(answer.text).strip(),
            "ordered": bool(item.other("ordered") or options.ordered),
            "tolerance": options.tolerance,
        }
        found = sandbox.run({"job.json": json.dumps(job)}, [str(SQL_CHILD), "job.json"], limits)
        if found.code is None:
            return yes_no(False, f"not done after {options.timeout_s:g} s")
        if found.code < 0 or not found.stdout.strip():
            return _ended(found)
        result: dict[str, Any] = json.loads(found.stdout)
        if "broken" in result:  # the item's own schema or gold query: not the answer's fault
            raise ValueError(result["broken"])
        return yes_no(result["right"], result["explanation"])

    return score


def _ended(found: sandbox.Outcome) -> Score:
    last = found.stderr.strip().splitlines()[-1:] or [f"code {found.code}"]
    return Score(value=0.0, explanation=f"the query ended its process ({last[0]})"[:EXPLAINED])
