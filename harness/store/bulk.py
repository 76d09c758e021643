"""Many rows at once: DuckDB parses the journals itself, several threads wide; nothing goes row by row."""

from __future__ import annotations

import contextlib
import glob
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from harness.core.errors import LabError
from harness.core.paths import disk_errors

TAIL_BYTES = 1 << 16

ITEM = {
    "item_id": "VARCHAR",
    "split": "VARCHAR",
    "cluster": "VARCHAR",
    "bucket": "VARCHAR",
    "prompt": "VARCHAR",
    "answer": "VARCHAR",
    "finish_reason": "VARCHAR",
    "prompt_tokens": "BIGINT",
    "completion_tokens": "BIGINT",
    "latency_s": "DOUBLE",
    "prompt_sha256": "VARCHAR",
    "error": "VARCHAR",
    "thinking": "VARCHAR",
    "samples": "VARCHAR[]",
    "tool_calls": "JSON",
}
SCORES = "MAP(VARCHAR, STRUCT(value DOUBLE, explanation VARCHAR, extracted VARCHAR, parts DOUBLE[]))"


def columns_of_tables(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    """Table -> column -> type."""
    tables: dict[str, dict[str, str]] = {}
    found = connection.execute("SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal")
    for table, column, kind in found.fetchall():
        tables.setdefault(table, {})[column] = kind
    return tables


def insert_rows(
    connection: duckdb.DuckDBPyConnection, table: str, columns: dict[str, str], rows: Sequence[dict[str, Any]]
) -> None:
    """Insert dicts by column name. Missing columns become NULL, other keys are left out; JSON columns take any."""
    if not rows:
        return
    values = [{column: row.get(column) for column in columns} for row in rows]
    connection.execute(
        f"INSERT INTO {table} BY NAME SELECT unnest(from_json_strict(?, ?), max_depth := 2)",
        [json.dumps(values, ensure_ascii=False, allow_nan=False), json.dumps([columns])],
    )


def insert_items(
    connection: duckdb.DuckDBPyConnection, eval_id: str, prefix: str, segments: Sequence[Path]
) -> dict[str, int]:
    """Insert items and scores from item journals, oldest first, and return the items per bucket.

    An item that stands more than once counts as it stands first. `prefix` goes before every metric's name.
    """
    columns = ", ".join(f"{name}: '{kind}'" for name, kind in (ITEM | {"scores": SCORES}).items())
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE staged AS SELECT * FROM "  # noqa: S608  our own column names
        f"read_json(?, format = 'newline_delimited', columns = {{{columns}}})",
        [_literal(segments)],
    )
    # A table keeps the order of what was read, so the smallest rowid is the first time an item was written.
    connection.execute("DELETE FROM staged WHERE rowid NOT IN (SELECT min(rowid) FROM staged GROUP BY item_id)")
    connection.execute("INSERT INTO items BY NAME SELECT ? AS eval_id, * EXCLUDE (scores) FROM staged", [eval_id])
    connection.execute(
        "INSERT INTO scores BY NAME SELECT ? AS eval_id, item_id, ? || score.key AS metric, "
        "unnest(score.value) FROM (SELECT item_id, unnest(map_entries(scores)) AS score FROM staged)",
        [eval_id, prefix],
    )
    counts = dict(connection.execute("SELECT coalesce(bucket, 'none'), count(*) FROM staged GROUP BY 1").fetchall())
    connection.execute("DROP TABLE staged")
    return counts


def insert_steps(connection: duckdb.DuckDBPyConnection, run_id: str, journal: Path) -> None:
    """Insert every number that training logged; of a step logged twice (a resumed run) the last counts."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE staged AS SELECT json AS event FROM "
        "read_json_objects(?, format = 'newline_delimited')",
        [_literal([journal])],
    )
    connection.execute(
        """INSERT INTO train_steps BY NAME
        SELECT ? AS run_id, (staged.event ->> 'step')::BIGINT AS step, e.key AS metric, e.value::DOUBLE AS value
        FROM staged, json_each(staged.event) e
        WHERE e.type IN ('DOUBLE', 'BIGINT', 'UBIGINT') AND e.key <> 'step'
        QUALIFY row_number() OVER (PARTITION BY step, metric ORDER BY staged.rowid DESC) = 1""",
        [run_id],
    )
    connection.execute("DROP TABLE staged")


@contextlib.contextmanager
def whole_lines(path: Path, scratch: Path) -> Iterator[Path]:
    """A file with the whole lines of `path`: itself, or where its last line is torn a copy in `scratch` until exit."""
    if not path.is_file():
        raise LabError(f"{path} is missing", "restore it, or move its folder away")
    size, end = path.stat().st_size, _end_of_lines(path)
    if end == size:
        yield path
        return
    copy = scratch / f"{path.name}.whole"
    with disk_errors(copy):
        scratch.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("rb") as source, copy.open("wb") as target:
                for start in range(0, end, TAIL_BYTES):
                    target.write(source.read(min(TAIL_BYTES, end - start)))
            yield copy
        finally:
            copy.unlink(missing_ok=True)


def _end_of_lines(path: Path) -> int:
    """Bytes up to and with the last newline."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        while end:
            start = max(0, end - TAIL_BYTES)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0


def _literal(paths: Sequence[Path]) -> list[str]:
    """Paths as DuckDB takes them literally: its readers expand wildcards."""
    return [glob.escape(str(path)) for path in paths]
