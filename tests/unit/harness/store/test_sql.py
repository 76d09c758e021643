"""SQL that anyone wrote: read only, and what is wrong with it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.errors import StoreError
from harness.core.fingerprint import file_sha256
from harness.core.paths import Lab
from harness.store import query

HOSTILE = [
    "INSERT INTO plans SELECT * FROM plans",
    "DELETE FROM items",
    "DROP TABLE items",
    "CREATE TABLE mine AS SELECT 1",
    "ALTER TABLE items ADD COLUMN x INTEGER",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "COPY items TO '{out}/stolen.csv'",
    "COPY items FROM '/etc/passwd'",
    "EXPORT DATABASE '{out}/stolen'",
    "ATTACH '{out}/other.duckdb'",
    "ATTACH '{database}' AS again",
    "DETACH lab; ATTACH '{database}' AS lab",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{out}/evil.duckdb_extension'",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "SET temp_directory = '{out}'",
    "PRAGMA profiling_output = '{out}/profile.json'",
    "SELECT getenv('HOME')",
    "SELECT * FROM LOCKED",  # a Python variable of the module that runs the query
    "SELECT * FROM sql",
    "SELECT 1; DROP TABLE items",
    "USE memory; DETACH lab; ATTACH '{database}' AS w; CREATE TABLE w.mine (i INTEGER)",
    "COPY (SELECT 1) TO '{database}.wal'",
    "WITH mine AS (COPY (SELECT 1) TO '{database}.wal') FROM mine",
    "WITH mine AS (COPY (SELECT 1) TO '{database}' (USE_TMP_FILE false)) FROM mine",
    "SELECT size FROM read_blob('{database}')",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{database}.wal'",
    "WITH mine AS (INSERT INTO plans SELECT * FROM plans RETURNING *) FROM mine",
    "CREATE TEMP TABLE mine AS SELECT 1",
    "PREPARE mine AS SELECT 1",
    "CHECKPOINT",
    "CALL enable_logging(storage = 'file', storage_path = '{out}/log')",
    "SELECT * FROM enable_logging(storage := 'file', storage_path := '{out}/log')",
    "",
]


@pytest.mark.parametrize("sql", HOSTILE)
def test_hostile_sql_is_refused(full: Lab, tmp_path: Path, sql: str) -> None:
    before, files = file_sha256(full.database), sorted(full.root.iterdir())
    with pytest.raises(StoreError) as refused:
        query(full, sql.format(out=tmp_path, database=full.database))
    assert "\n" not in refused.value.one_line()
    assert file_sha256(full.database) == before
    assert sorted(full.root.iterdir()) == files
    assert not list(tmp_path.iterdir())


def test_a_query_takes_parameters_and_says_what_is_wrong(full: Lab) -> None:
    assert query(full, "SELECT item_id AS id FROM items WHERE item_id = ?", ["i0"]) == (["id"], [("i0",)])
    with pytest.raises(StoreError, match=r"Table with name itmes does not exist.*Did you mean"):
        query(full, "SELECT * FROM itmes")
    with pytest.raises(StoreError, match="syntax error"):
        query(full, "SELEC 1")


def test_no_progress_bar_on_stdout(full: Lab) -> None:
    """DuckDB draws one after two seconds, in the middle of what a command prints as JSON."""
    assert query(full, "SELECT current_setting('enable_progress_bar')")[1] == [(False,)]
