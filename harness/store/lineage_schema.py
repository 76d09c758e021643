"""The migration for lineage: from votes to an adapter, and to the items that its gate decided on.

    SELECT * FROM lineage WHERE run_id = 'r-…'      -- which votes shaped it, and did their prompts touch its gate?

Any DuckDB client can ask that of the published file. `touches` is compared by the same words (whatever case and
punctuation), the same item id or the same cluster (but numbers, which are lines of some file); near copies are what
`ratchet lineage` adds (harness.contamination).
"""

LINEAGE = r"""
ALTER TABLE data_lineage ADD COLUMN assignment VARCHAR;
COMMENT ON COLUMN data_lineage.assignment IS 'the very vote; NULL in files that do not say it';

CREATE VIEW ancestry AS
WITH RECURSIVE up(run_id, ancestor, generation) AS (
    SELECT run_id, run_id, 0 FROM runs
    UNION
    SELECT up.run_id, p.run_id, up.generation + 1
    FROM up JOIN runs r ON r.run_id = up.ancestor JOIN runs p ON p.adapter_sha256 = r.init_adapter_sha256
    WHERE up.generation < 100 AND p.run_id <> up.run_id)
SELECT run_id, ancestor, min(generation) AS generation FROM up GROUP BY run_id, ancestor;
COMMENT ON VIEW ancestry IS 'every run with itself (generation 0) and the runs whose adapters it continues';

CREATE OR REPLACE VIEW vote_lineage AS
WITH first AS (
    SELECT v.*, CASE choice WHEN 'left' THEN "left" WHEN 'right' THEN if("left" = 'a', 'b', 'a') ELSE choice END
           AS view,
           EXISTS (SELECT 1 FROM acts u WHERE u.kind = 'undo' AND u.campaign = v.campaign
                   AND u.body->>'assignment' = v.assignment) AS undone
    FROM vote_events v QUALIFY row_number() OVER (PARTITION BY assignment ORDER BY source, position) = 1),
heard AS (
    SELECT l.sha256, v.* FROM data_lineage l JOIN first v ON v.assignment = l.assignment
    UNION ALL
    SELECT l.sha256, v.* FROM data_lineage l
    JOIN first v ON v.campaign = l.campaign AND v.pair_id = l.pair_id AND v.rater = l.rater AND NOT v.undone
    WHERE l.assignment IS NULL)
SELECT DISTINCT w.run_id, r.adapter_sha256, d.path AS data_path, d.sha256 AS data_sha256, v.campaign, v.pair_id,
       v.assignment, v.rater, v.view AS preferred,
       CASE v.view WHEN 'a' THEN p.a_subject WHEN 'b' THEN p.b_subject END AS preferred_subject, v."at",
       w.ancestor AS trained_run, w.generation, v.undone, p.item_id, p.cluster, p.prompt
FROM ancestry w JOIN runs r ON r.run_id = w.run_id
JOIN run_data d ON d.run_id = w.ancestor
JOIN heard v ON v.sha256 = d.sha256
LEFT JOIN pairs p ON p.campaign = v.campaign AND p.pair_id = v.pair_id
WHERE v.view IN ('a', 'b');
COMMENT ON VIEW vote_lineage IS 'decisive votes that shaped an adapter, by its data or that of an adapter it continues';
COMMENT ON COLUMN vote_lineage.undone IS 'taken back since; the adapter learned from it all the same';

CREATE VIEW asked AS
SELECT campaign, pair_id, asked, trim(regexp_replace(lower(asked), '[^\p{L}\p{N}]+', ' ', 'g')) AS words
FROM (SELECT p.campaign, p.pair_id, string_agg(json_extract_string(t.value, '$.content'), chr(10) ORDER BY t.rowid)
             AS asked
      FROM pairs p, json_each(p.prompt) t WHERE json_extract_string(t.value, '$.role') <> 'system'
      GROUP BY p.campaign, p.pair_id);
COMMENT ON VIEW asked IS 'what a pair asks without its system prompt: as written, and as words alone';

CREATE VIEW gate_metrics AS
WITH named AS (
    SELECT plan_id, run_id FROM plan_runs UNION SELECT plan_id, run_id FROM verdicts WHERE run_id IS NOT NULL)
SELECT n.run_id, p.plan_id, 'primary' AS role, json_extract_string(p.gate, '$.primary.metric') AS metric
FROM named n JOIN plans p ON p.plan_id = n.plan_id WHERE json_extract_string(p.gate, '$.primary.metric') IS NOT NULL
UNION
SELECT n.run_id, g.plan_id, 'guardrail', g.metric
FROM named n JOIN (
    SELECT plan_id, unnest(json_extract_string(gate, '$.guardrails[*].metric')) AS metric FROM plans) g
    ON g.plan_id = n.plan_id;
COMMENT ON VIEW gate_metrics IS 'the metrics that the gates of a run look at';

CREATE VIEW gate_items AS
SELECT DISTINCT g.run_id, g.plan_id, g.role, g.metric, i.item_id, i.cluster, i.prompt,
       trim(regexp_replace(lower(i.prompt), '[^\p{L}\p{N}]+', ' ', 'g')) AS words
FROM gate_metrics g JOIN evals e ON e.run_id = g.run_id
JOIN metrics m ON m.eval_id = e.eval_id AND m.metric = g.metric
JOIN items i ON i.eval_id = e.eval_id AND i.split = 'release'
UNION
SELECT g.run_id, g.plan_id, g.role, g.metric, p.pair_id, p.cluster, q.asked, q.words
FROM gate_metrics g JOIN pairs p ON p.role = 'main' AND p.campaign = split_part(g.metric, '/', 2)
JOIN asked q ON q.campaign = p.campaign AND q.pair_id = p.pair_id
WHERE split_part(g.metric, '/', 1) IN ('human', 'judge');
COMMENT ON VIEW gate_items IS 'what decides on a run: items of release or pairs of campaigns, by metric of its gates';

CREATE VIEW lineage AS
WITH said AS (
    SELECT v.*, q.asked, q.words
    FROM vote_lineage v LEFT JOIN asked q ON q.campaign = v.campaign AND q.pair_id = v.pair_id),
touched AS (
    SELECT f.run_id, f.assignment, g.metric, g.item_id, 'prompt' AS how
    FROM said f JOIN gate_items g ON g.run_id = f.run_id AND g.words = f.words AND f.words <> ''
    UNION
    SELECT f.run_id, f.assignment, g.metric, g.item_id, 'item'
    FROM said f JOIN gate_items g ON g.run_id = f.run_id AND g.item_id = f.item_id
        AND NOT regexp_full_match(f.item_id, '\d+')
    UNION
    SELECT f.run_id, f.assignment, g.metric, g.item_id, 'cluster'
    FROM said f JOIN gate_items g ON g.run_id = f.run_id AND g.cluster = f.cluster
        AND NOT regexp_full_match(f.cluster, '\d+')),
gathered AS (
    SELECT run_id, assignment, list(DISTINCT {'metric': metric, 'item_id': item_id, 'how': how}) AS touches,
           bool_or(how = 'prompt') AS same
    FROM touched GROUP BY run_id, assignment)
SELECT f.* EXCLUDE (words, prompt), coalesce(t.touches, []) AS touches,
       coalesce(t.same, false) AS touches_gate
FROM said f LEFT JOIN gathered t ON t.run_id = f.run_id AND t.assignment = f.assignment;
COMMENT ON VIEW lineage IS 'one row per vote that shaped a run, with the gate items that its prompt touches';
COMMENT ON COLUMN lineage.touches_gate IS 'a gate item asks the same; a shared id or cluster is in touches alone';
"""
