"""Run as a script in the sandbox: `sql_child.py JOB.json` compares an answer's rows with the gold queries' rows.

The job: {"schema", "gold": [query], "answer", "ordered", "tolerance"}. Prints {"right", "explanation"}, or {"broken"}
where the item's own schema or gold queries fail. Each query gets a database of its own, so none sees another's work.
"""

import json
import math
import sys
from decimal import Decimal
from pathlib import Path

import duckdb

Row = tuple[object, ...]

MAX_ROWS = 100_000
SETTINGS = {
    "memory_limit": "512MB",
    "threads": 1,
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
}


class Refused(Exception):
    """What was asked is not one query."""


def rows_of(schema: str, query: str) -> list[Row]:
    """All rows of one query after `schema`. Raises Refused, or duckdb.Error."""
    connection = duckdb.connect(":memory:", config=SETTINGS)
    if schema.strip():
        connection.execute(schema)
    connection.execute("SET lock_configuration = true")
    statements = connection.extract_statements(query)
    if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
        raise Refused("not exactly one SELECT")
    rows: list[Row] = connection.execute(statements[0]).fetchmany(MAX_ROWS + 1)
    if len(rows) > MAX_ROWS:
        raise Refused(f"more than {MAX_ROWS} rows")
    return rows


def same_value(a: object, b: object, tolerance: float) -> bool:
    if isinstance(a, int | float | Decimal) and isinstance(b, int | float | Decimal):
        return math.isclose(float(a), float(b), rel_tol=tolerance, abs_tol=tolerance) or str(a) == str(b)
    return a == b


def same_rows(gold: list[Row], said: list[Row], ordered: bool, tolerance: float) -> bool:
    if len(gold) != len(said):
        return False
    if not ordered:
        gold, said = sorted(gold, key=sort_key), sorted(said, key=sort_key)
    return all(
        len(a) == len(b) and all(same_value(x, y, tolerance) for x, y in zip(a, b, strict=True))
        for a, b in zip(gold, said, strict=True)
    )


def sort_key(row: Row) -> list[tuple[str, str]]:
    """One order for rows of any types; numbers of different types that are equal sort alike."""
    return [
        ("number", f"{float(value):+030.9f}") if isinstance(value, int | float | Decimal) else ("", repr(value))
        for value in row
    ]


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        golds = [rows_of(job["schema"], query) for query in job["gold"]]
    except (duckdb.Error, Refused) as error:
        print(json.dumps({"broken": f"the item's own schema or gold query fails: {first_line(error)}"}))
        return
    try:
        said = rows_of(job["schema"], job["answer"])
    except (duckdb.Error, Refused) as error:
        print(json.dumps({"right": False, "explanation": first_line(error)}))
        return
    right = any(same_rows(gold, said, job["ordered"], job["tolerance"]) for gold in golds)
    explanation = "" if right else f"{len(said)} rows differ from the gold query's {len(golds[0])}"
    print(json.dumps({"right": right, "explanation": explanation}))


def first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


if __name__ == "__main__":
    main()
