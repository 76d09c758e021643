"""Reading the published store: each query opens the file, read-only, and sees the newest one."""

from __future__ import annotations

import contextlib
import itertools
import operator
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb

from harness.core.errors import StoreError
from harness.core.paths import Lab
from harness.core.records import Direction, MetricInfo, Subject, SubjectScores
from harness.store.schema import QUIET, REBUILD, first_line

# Nothing but the attached file: no extensions, no Python variables, no temporary files; files and network follow below.
LOCKED = {
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "temp_directory": "",
}


@contextlib.contextmanager
def attached(lab: Lab) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that sees the published store and can neither change it nor reach anything else.

    The file is attached to a database of its own in memory: `duckdb.connect(file)` would hand every thread of this
    process the instance that the first one opened, and with it a file that was replaced since.
    Raises StoreError when there is no store, or none that can be read.
    """
    if not lab.database.exists():
        raise StoreError(f"no results yet in {lab.root}", "run `ratchet run …`, or name another lab with --lab")
    with contextlib.closing(duckdb.connect(":memory:", config=dict(LOCKED))) as connection:
        try:
            connection.execute(QUIET)
            connection.execute(f"ATTACH '{_quoted(str(lab.database))}' AS lab (READ_ONLY)")
            connection.execute("USE lab")
            connection.execute("SET enable_external_access = false")
            # Without this the attached file and its log would stay open to COPY, also to one inside a SELECT.
            connection.execute("SET disabled_filesystems = 'LocalFileSystem'")
            connection.execute("SET lock_configuration = true")
            yield connection
        except duckdb.Error as error:
            raise StoreError(f"{lab.database} cannot be read ({first_line(error)})", REBUILD) from error


def query(lab: Lab, sql: str, parameters: Sequence[Any] = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of one SQL query on the published store.

    Safe for SQL that anyone wrote: it can read the store and nothing else. Raises StoreError with what DuckDB says, and
    for anything but one query.
    """
    with attached(lab) as connection:
        try:
            statements = connection.extract_statements(sql)
            if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
                raise StoreError("that is not one query", "use one SELECT, FROM, SHOW, DESCRIBE or SUMMARIZE")
            connection.execute(statements[0], list(parameters))
            columns = [column[0] for column in connection.description or ()]
            return columns, connection.fetchall()
        except duckdb.Error as error:
            problem = str(error).split("\n\n", 1)[0]  # with its hint, without the echo of the statement
            raise StoreError(problem, '`ratchet sql "SHOW TABLES"` lists the tables') from error


def subject_scores(lab: Lab, eval_ids: Sequence[str]) -> list[SubjectScores]:
    """Scores of the named evaluations: one entry per evaluation × metric × split, in the order of `eval_ids`.

    `values` has the items whose bucket is scored or truncated and whose value is not NULL; `clusters` and `counts`
    every item that counts for the metric. A metric without any usable value comes with empty `values`. Metrics that
    the evaluation does not describe are left out. Raises StoreError naming an evaluation that is not in the store.
    """
    with attached(lab) as connection:
        return [scores for eval_id in eval_ids for scores in _of_eval(connection, eval_id)]


def _of_eval(connection: duckdb.DuckDBPyConnection, eval_id: str) -> list[SubjectScores]:
    found = connection.execute("SELECT subject, evalset_sha256 FROM evals WHERE eval_id = ?", [eval_id]).fetchone()
    if found is None:
        raise StoreError(f"evaluation {eval_id} is not in the store", "run `ratchet run …` to finish it")
    subject = Subject.model_validate_json(found[0])
    rows = connection.execute(
        """SELECT m.metric, m.direction, m.unit, m.aggregate, m.chance, c.split, c.item_id, c.cluster, c.bucket,
        c.value, c.parts
        FROM metrics m JOIN item_scores c ON c.eval_id = m.eval_id AND c.metric = m.metric
        WHERE m.eval_id = ? ORDER BY m.metric, c.split, c.item_id""",
        [eval_id],
    ).fetchall()
    return [
        _scores(key, [row[6:] for row in group], subject, eval_id, found[1])
        for key, group in itertools.groupby(rows, key=operator.itemgetter(0, 1, 2, 3, 4, 5))
    ]


def _scores(
    key: tuple[str, Direction, str, str, float | None, str],
    items: list[tuple[str, str, str, float | None, list[float] | None]],
    subject: Subject,
    eval_id: str,
    evalset_sha256: str,
) -> SubjectScores:
    """`key` is metric, direction, unit, aggregate, chance, split; each item is id, cluster, bucket, value, parts."""
    metric, direction, unit, aggregate, chance, split = key
    return SubjectScores(
        subject=subject,
        eval_id=eval_id,
        metric=metric,
        info=MetricInfo(direction=direction, unit=unit, aggregate=aggregate, chance=chance),
        split=split,
        evalset_sha256=evalset_sha256,
        values={item_id: value for item_id, _, _, value, _ in items if value is not None},
        parts={item_id: parts for item_id, _, _, _, parts in items if parts is not None},
        clusters={item_id: cluster for item_id, cluster, *_ in items},
        counts=dict(Counter(bucket for _, _, bucket, _, _ in items)),
    )


def counts(lab: Lab) -> dict[str, int]:
    """Rows per table of the published store, and the votes that count."""
    with attached(lab) as connection:
        names = connection.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'lab' ORDER BY ALL")
        tables = [name for (name,) in names.fetchall() if name not in ("ingested", "migrations")] + ["votes"]
        parts = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for name in tables)  # noqa: S608  the schema's names
        return dict(connection.execute(parts).fetchall())


def _quoted(text: str) -> str:
    return text.replace("'", "''")
