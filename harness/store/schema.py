"""Tables and views of the store, as numbered migrations, and the one way to open the file that is written.

Tables have no PRIMARY KEY, UNIQUE or index (DuckDB's tracker has open corruption reports for them): rows come once
because rows and the offset of what was read are committed together. Times are text, UTC, ISO 8601; they sort as such.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from harness.core.errors import StoreError
from harness.store.lineage_schema import LINEAGE
from harness.store.rating_schema import ORIGIN, RATING

# Keeps the file readable by the duckdb 1.5 command line.
STORAGE_VERSION = "v1.5.0"
# DuckDB draws a progress bar on stdout, where the child answers and `--format json` prints.
QUIET = "SET enable_progress_bar = false"
REBUILD = "rebuild it from the journals with `ratchet reindex`"

TABLES = """
CREATE TABLE ingested (source VARCHAR, bytes BIGINT, sha256 VARCHAR);
COMMENT ON TABLE ingested IS 'files read so far: path below the lab, bytes read, and the content hash of a record';

CREATE TABLE plans (plan_id VARCHAR, name VARCHAR, spec_path VARCHAR, spec JSON, gate JSON, created VARCHAR);
COMMENT ON TABLE plans IS 'one row per plan: a grid, expanded and hashed before training';

CREATE TABLE plan_runs (plan_id VARCHAR, run_id VARCHAR, label VARCHAR);
COMMENT ON TABLE plan_runs IS 'the runs that a plan asks for, trained or not';

CREATE TABLE runs (
    run_id VARCHAR, label VARCHAR, method VARCHAR, quantization VARCHAR, seed BIGINT, base_source VARCHAR,
    base_sha256 VARCHAR, data_sha256 VARCHAR[], init_adapter_sha256 VARCHAR, adapter_sha256 VARCHAR, rank BIGINT,
    trainable_parameters BIGINT, bytes BIGINT, steps BIGINT, epochs DOUBLE, seconds DOUBLE, tokens BIGINT,
    first_loss DOUBLE, final_loss DOUBLE, device VARCHAR, dtype VARCHAR, settings JSON, versions JSON, created VARCHAR);
COMMENT ON TABLE runs IS 'one row per finished run and the adapter that it made; the sha256 columns are its lineage';
COMMENT ON COLUMN runs.init_adapter_sha256 IS 'adapter_sha256 of the run that this one continues';
COMMENT ON COLUMN runs.settings IS 'method, adapter and trainer arguments as trained';

CREATE TABLE run_data (run_id VARCHAR, path VARCHAR, sha256 VARCHAR, "rows" BIGINT, format VARCHAR, split VARCHAR);
COMMENT ON TABLE run_data IS 'the data files of a run, as they were when read';

CREATE TABLE data_lineage (sha256 VARCHAR, campaign VARCHAR, pair_id VARCHAR, rater VARCHAR);
COMMENT ON TABLE data_lineage IS 'rated pairs that stand in a data file, by its content hash, with each rater heard';

CREATE TABLE train_steps (run_id VARCHAR, step BIGINT, metric VARCHAR, value DOUBLE);
COMMENT ON TABLE train_steps IS 'what training logged: one row per step and number; the last one counts after a resume';

CREATE TABLE evals (
    eval_id VARCHAR, kind VARCHAR, subject_label VARCHAR, subject_kind VARCHAR, subject_sha256 VARCHAR, run_id VARCHAR,
    base_sha256 VARCHAR, adapter_sha256 VARCHAR, prompting VARCHAR, shots BIGINT, evalset VARCHAR,
    evalset_version VARCHAR, evalset_sha256 VARCHAR, seconds DOUBLE, subject JSON, decoding JSON,
    engine JSON, counts JSON, versions JSON, created VARCHAR);
COMMENT ON TABLE evals IS 'one row per finished evaluation: a subject on an evalset';
COMMENT ON COLUMN evals.subject_sha256 IS 'hash of what changes the answers: base, adapter and prompting, not labels';

CREATE TABLE metrics (eval_id VARCHAR, metric VARCHAR, direction VARCHAR, unit VARCHAR);
COMMENT ON TABLE metrics IS 'how to read the metrics of an evaluation; metric is evalset/name, as in scores';
COMMENT ON COLUMN metrics.direction IS 'up: larger is better; down: smaller is';
COMMENT ON COLUMN metrics.unit IS 'share (0 to 1) or points (0 to 100)';

CREATE TABLE items (
    eval_id VARCHAR, item_id VARCHAR, split VARCHAR, cluster VARCHAR, bucket VARCHAR, prompt VARCHAR, answer VARCHAR,
    finish_reason VARCHAR, prompt_tokens BIGINT, completion_tokens BIGINT, latency_s DOUBLE, prompt_sha256 VARCHAR,
    error VARCHAR);
COMMENT ON TABLE items IS 'one row per item and evaluation: what was asked, what came back';
COMMENT ON COLUMN items.bucket IS 'scored, truncated, errored or unscorable';

CREATE TABLE scores (
    eval_id VARCHAR, item_id VARCHAR, metric VARCHAR, value DOUBLE, explanation VARCHAR, extracted VARCHAR);
COMMENT ON TABLE scores IS 'one row per item and metric; metric is evalset/name; value NULL: could not be scored';

CREATE TABLE parity (
    parity_id VARCHAR, run_id VARCHAR, adapter_sha256 VARCHAR, dtype VARCHAR, probes BIGINT, tokens BIGINT,
    max_abs_error DOUBLE, mean_abs_error DOUBLE, reference_mean_error DOUBLE, mean_effect DOUBLE, passed BOOLEAN,
    reason VARCHAR, created VARCHAR);
COMMENT ON TABLE parity IS 'proof that the server uses the adapter; figures in nats per token';

CREATE TABLE campaigns (
    campaign VARCHAR, name VARCHAR, pairs BIGINT, seed BIGINT, pool_path VARCHAR, pool_sha256 VARCHAR, subjects JSON,
    decoding JSON, refused JSON, created VARCHAR);
COMMENT ON TABLE campaigns IS 'one row per campaign of blind comparisons';

CREATE TABLE pairs (
    campaign VARCHAR, pair_id VARCHAR, item_id VARCHAR, cluster VARCHAR, prompt JSON, a_subject VARCHAR,
    a_text VARCHAR, b_subject VARCHAR, b_text VARCHAR);
COMMENT ON TABLE pairs IS 'two answers to one prompt, as raters saw them';

CREATE TABLE vote_events (
    source VARCHAR, position BIGINT, assignment VARCHAR, campaign VARCHAR, pair_id VARCHAR, rater VARCHAR,
    "left" VARCHAR, choice VARCHAR, shown_at VARCHAR, "at" VARCHAR, seconds DOUBLE);
COMMENT ON TABLE vote_events IS 'every vote event as written; see the view votes for those that count';

CREATE TABLE versions (
    name VARCHAR, version BIGINT, run_id VARCHAR, adapter_sha256 VARCHAR, base_sha256 VARCHAR, verdict VARCHAR,
    plan_id VARCHAR, forced_reason VARCHAR, created VARCHAR);
COMMENT ON TABLE versions IS 'immutable versions, name@vN';

CREATE TABLE alias_moves (
    name VARCHAR, seq BIGINT, alias VARCHAR, "before" BIGINT, "after" BIGINT, who VARCHAR, why VARCHAR, "at" VARCHAR);
COMMENT ON TABLE alias_moves IS 'every move of an alias from one version to another';

CREATE TABLE verdicts (
    plan_id VARCHAR, created VARCHAR, candidate VARCHAR, run_id VARCHAR, verdict VARCHAR, body JSON);
COMMENT ON TABLE verdicts IS 'one row per candidate of a report; body is what the report says of it';
"""

VIEWS = """
CREATE VIEW votes AS
SELECT * EXCLUDE (source, position),
       CASE choice WHEN 'left' THEN "left" WHEN 'right' THEN if("left" = 'a', 'b', 'a') END AS preferred
FROM vote_events
QUALIFY row_number() OVER (PARTITION BY assignment ORDER BY source, position) = 1;
COMMENT ON VIEW votes IS 'the first vote of every assignment; preferred is a, b or NULL (tie, both_bad, skip)';

CREATE VIEW item_scores AS
WITH counted AS (
    SELECT i.*, s.metric, if(i.bucket IN ('scored', 'truncated'), s.value, NULL) AS value, s.explanation, s.extracted
    FROM items i JOIN scores s ON s.eval_id = i.eval_id AND s.item_id = i.item_id
    UNION ALL
    SELECT i.*, m.metric, NULL, NULL, NULL
    FROM items i JOIN metrics m ON m.eval_id = i.eval_id
    ANTI JOIN scores s ON s.eval_id = i.eval_id AND s.item_id = i.item_id)
SELECT c.metric, c.split, c.item_id, c.cluster, c.bucket, c.value, c.explanation, c.extracted, e.subject_label,
       e.subject_kind, e.prompting, e.run_id, c.prompt, c.answer, c.error, c.eval_id
FROM counted c JOIN evals e ON e.eval_id = c.eval_id;
COMMENT ON VIEW item_scores IS 'every item that counts for a metric; one without any score counts for all';
COMMENT ON COLUMN item_scores.value IS 'NULL where it is not usable: errored, unscorable, or no value given';

CREATE VIEW leaderboard AS
SELECT c.metric, c.split, c.subject_label, c.subject_kind, c.prompting, c.run_id, avg(c.value) AS mean,
       count(c.value) AS n, count(*) - count(c.value) AS left_out, any_value(m.direction) AS direction,
       any_value(m.unit) AS unit, e.evalset_version, e.evalset_sha256, c.eval_id, e.created
FROM item_scores c JOIN evals e ON e.eval_id = c.eval_id
LEFT JOIN metrics m ON m.eval_id = c.eval_id AND m.metric = c.metric
GROUP BY ALL;
COMMENT ON VIEW leaderboard IS 'mean per evaluation, metric and split; left_out counts items without a usable value';

CREATE VIEW vote_lineage AS
SELECT r.run_id, r.adapter_sha256, d.path AS data_path, d.sha256 AS data_sha256, v.campaign, v.pair_id, v.assignment,
       v.rater, v.preferred, if(v.preferred = 'a', p.a_subject, p.b_subject) AS preferred_subject, v."at"
FROM runs r JOIN run_data d ON d.run_id = r.run_id
JOIN data_lineage l ON l.sha256 = d.sha256
JOIN votes v ON v.campaign = l.campaign AND v.pair_id = l.pair_id AND v.rater = l.rater
LEFT JOIN pairs p ON p.campaign = l.campaign AND p.pair_id = l.pair_id
WHERE v.preferred IS NOT NULL;
COMMENT ON VIEW vote_lineage IS 'which decisive votes shaped which adapter, through the pairs in its data';
"""

# Migration 3: corpus metrics, chance levels, thinking, several samples, tool calls.
RICHER = """
ALTER TABLE metrics ADD COLUMN aggregate VARCHAR DEFAULT 'mean';
ALTER TABLE metrics ADD COLUMN chance DOUBLE;
ALTER TABLE scores ADD COLUMN parts DOUBLE[];
ALTER TABLE items ADD COLUMN thinking VARCHAR;
ALTER TABLE items ADD COLUMN samples VARCHAR[];
ALTER TABLE items ADD COLUMN tool_calls JSON;
COMMENT ON COLUMN metrics.aggregate IS 'mean of values, or the corpus statistic computed from scores.parts';
COMMENT ON COLUMN metrics.chance IS 'what guessing scores';
COMMENT ON COLUMN scores.parts IS 'sufficient statistics of a corpus metric, one list per item';

DROP VIEW leaderboard;
DROP VIEW item_scores;
CREATE VIEW item_scores AS
WITH counted AS (
    SELECT i.*, s.metric, if(i.bucket IN ('scored', 'truncated'), s.value, NULL) AS value, s.explanation, s.extracted,
           if(i.bucket IN ('scored', 'truncated'), s.parts, NULL) AS parts
    FROM items i JOIN scores s ON s.eval_id = i.eval_id AND s.item_id = i.item_id
    UNION ALL
    SELECT i.*, m.metric, NULL, NULL, NULL, NULL
    FROM items i JOIN metrics m ON m.eval_id = i.eval_id
    ANTI JOIN scores s ON s.eval_id = i.eval_id AND s.item_id = i.item_id)
SELECT c.metric, c.split, c.item_id, c.cluster, c.bucket, c.value, c.explanation, c.extracted, e.subject_label,
       e.subject_kind, e.prompting, e.run_id, c.prompt, c.answer, c.error, c.eval_id, c.parts
FROM counted c JOIN evals e ON e.eval_id = c.eval_id;
COMMENT ON VIEW item_scores IS 'every item that counts for a metric; one without any score counts for all';
COMMENT ON COLUMN item_scores.value IS 'NULL where it is not usable: errored, unscorable, or no value given';

CREATE VIEW leaderboard AS
SELECT c.metric, c.split, c.subject_label, c.subject_kind, c.prompting, c.run_id, avg(c.value) AS mean,
       count(c.value) AS n, count(*) - count(c.value) AS left_out, any_value(m.direction) AS direction,
       any_value(m.unit) AS unit, e.evalset_version, e.evalset_sha256, c.eval_id, e.created
FROM item_scores c JOIN evals e ON e.eval_id = c.eval_id
LEFT JOIN metrics m ON m.eval_id = c.eval_id AND m.metric = c.metric
GROUP BY ALL;
COMMENT ON VIEW leaderboard IS 'mean per evaluation, metric and split; left_out counts items without a usable value';
"""

# Weighted aliases and shadows; what kind of version, its rank, its prompt contract, and whether gc removed it.
WEIGHTS = """
ALTER TABLE versions ADD COLUMN kind VARCHAR DEFAULT 'lora';
ALTER TABLE versions ADD COLUMN rank BIGINT;
ALTER TABLE versions ADD COLUMN contract JSON;
ALTER TABLE versions ADD COLUMN removed VARCHAR;
ALTER TABLE alias_moves ADD COLUMN kind VARCHAR DEFAULT 'move';
ALTER TABLE alias_moves ADD COLUMN weights_before JSON;
ALTER TABLE alias_moves ADD COLUMN weights_after JSON;
ALTER TABLE alias_moves ADD COLUMN shadow JSON;
COMMENT ON COLUMN versions.rank IS 'largest LoRA rank in it';
COMMENT ON COLUMN versions.contract IS 'how it wants to be asked: system prompts, chat template, lengths, stop';
COMMENT ON COLUMN versions.removed IS 'when gc took its files away; NULL: they are there';
COMMENT ON COLUMN alias_moves.kind IS 'move, weights or shadow';
COMMENT ON COLUMN alias_moves.weights_after IS 'version -> weight, where several answer; NULL: all goes to after';
COMMENT ON COLUMN alias_moves.shadow IS 'the version that answers too from then on, unseen; NULL: none';
"""

# Captured calls, feedback and usage: rows of segments that may be rewritten, so each names its source.
TRAFFIC = """
CREATE TABLE requests (
    source VARCHAR, position BIGINT, erased BOOLEAN, "at" VARCHAR, request_id VARCHAR, completion_id VARCHAR,
    key_id VARCHAR, user_id VARCHAR, endpoint VARCHAR, alias VARCHAR, model VARCHAR, prompt VARCHAR, answer VARCHAR,
    answers VARCHAR[], tool_calls JSON, decoding JSON, finish_reason VARCHAR, prompt_tokens BIGINT,
    completion_tokens BIGINT, ttft_s DOUBLE, latency_s DOUBLE, "left" BOOLEAN, redacted JSON);
COMMENT ON TABLE requests IS 'captured calls, redacted; erased: somebody had it taken out, and only its count stayed';
COMMENT ON COLUMN requests.prompt IS 'JSON: chat turns, a text, or token ids';
COMMENT ON COLUMN requests.model IS 'the version that answered';

CREATE TABLE feedback_events (
    source VARCHAR, position BIGINT, erased BOOLEAN, "at" VARCHAR, feedback_id VARCHAR, key_id VARCHAR,
    user_id VARCHAR, about VARCHAR, completion_id VARCHAR, rejected_id VARCHAR, thumb VARCHAR, edited VARCHAR,
    reason VARCHAR);
COMMENT ON TABLE feedback_events IS 'everything that apps said of answers; see the view feedback for what counts';

CREATE TABLE usage_events (
    source VARCHAR, position BIGINT, day VARCHAR, key_id VARCHAR, model VARCHAR, requests BIGINT, errors BIGINT,
    prompt_tokens BIGINT, completion_tokens BIGINT);
COMMENT ON TABLE usage_events IS 'what keys used, as differences to be added up; see the view usage';

CREATE VIEW feedback AS
SELECT f.* EXCLUDE (source, position, erased), r.model, r.alias, r.completion_id IS NOT NULL AS matched
FROM (SELECT * FROM feedback_events WHERE NOT erased
      QUALIFY row_number() OVER (PARTITION BY feedback_id ORDER BY "at" DESC, source DESC, position DESC) = 1) f
LEFT JOIN (SELECT completion_id, any_value(model) AS model, any_value(alias) AS alias
           FROM requests WHERE NOT erased AND completion_id IS NOT NULL GROUP BY completion_id) r
ON r.completion_id = f.completion_id;
COMMENT ON VIEW feedback IS 'the last thing each user said of each answer; matched: the answer was captured';

CREATE VIEW usage AS
SELECT day, key_id, model, sum(requests)::BIGINT AS requests, sum(errors)::BIGINT AS errors,
       sum(prompt_tokens)::BIGINT AS prompt_tokens, sum(completion_tokens)::BIGINT AS completion_tokens
FROM usage_events GROUP BY day, key_id, model;
COMMENT ON VIEW usage IS 'requests and tokens per day, key and model';
"""

# Only ever added to: the number of a migration is its place, counted from 1.
MIGRATIONS = (TABLES, VIEWS, RICHER, RATING, WEIGHTS, TRAFFIC, LINEAGE, ORIGIN)


def open_build(path: Path) -> duckdb.DuckDBPyConnection:
    """Open the store for writing, at the newest schema. One process at a time, which holds the ingest lock.

    Raises StoreError when the file is damaged, in use, or of a newer schema than this Ratchet knows.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "storage_compatibility_version": STORAGE_VERSION,
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",
        "memory_limit": "2GB",  # beyond it DuckDB uses the disk: engines and trainers need the memory more
    }
    try:
        connection = duckdb.connect(str(path), config=config)
    except duckdb.Error as error:
        raise _unusable(path, error) from error
    try:
        connection.execute(QUIET)
        _migrate(connection, path)
    except duckdb.Error as error:
        connection.close()
        raise _unusable(path, error) from error
    except StoreError:
        connection.close()
        raise
    return connection


def _migrate(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS migrations (number BIGINT)")
    (done,) = connection.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchall()[0]
    if done > len(MIGRATIONS):
        raise StoreError(f"{path} was written by a newer Ratchet (schema {done})", f"use that one, or {REBUILD}")
    for number, script in enumerate(MIGRATIONS[done:], start=done + 1):
        connection.begin()
        connection.execute(script)
        connection.execute("INSERT INTO migrations VALUES (?)", [number])
        connection.commit()
        connection.execute("CHECKPOINT")


def _unusable(path: Path, error: duckdb.Error) -> StoreError:
    if "Could not set lock" in str(error):
        return StoreError(f"{path} is open in another process", "close it there; read ratchet.duckdb instead")
    return StoreError(f"{path} is damaged ({first_line(error)})", REBUILD)


def first_line(error: duckdb.Error) -> str:
    """What DuckDB says, without the echo of the statement."""
    return str(error).split("\n", 1)[0]
