"""The migrations for campaigns with a purpose, takes, and acts, and for imported votes: see harness.core.rating."""

RATING_TABLES = """
ALTER TABLE campaigns ADD COLUMN kind VARCHAR DEFAULT 'compare';
ALTER TABLE campaigns ADD COLUMN purpose VARCHAR;
ALTER TABLE campaigns ADD COLUMN overlap DOUBLE DEFAULT 1.0;
ALTER TABLE campaigns ADD COLUMN sampling JSON;
ALTER TABLE pairs ADD COLUMN role VARCHAR DEFAULT 'main';
ALTER TABLE pairs ADD COLUMN repeat_of VARCHAR;
ALTER TABLE pairs ADD COLUMN expected VARCHAR;
ALTER TABLE pairs ADD COLUMN arm VARCHAR DEFAULT 'uniform';
ALTER TABLE pairs ADD COLUMN inclusion DOUBLE DEFAULT 1.0;
ALTER TABLE vote_events ADD COLUMN reason VARCHAR;
ALTER TABLE vote_events ADD COLUMN tags VARCHAR[];
ALTER TABLE vote_events ADD COLUMN edit JSON;
ALTER TABLE vote_events ADD COLUMN take BIGINT DEFAULT 0;
COMMENT ON COLUMN pairs.inclusion IS 'probability that the pair was drawn at all, for weighted estimates';
COMMENT ON COLUMN vote_events.take IS 'how often this assignment had been undone before';

CREATE TABLE act_events (
    source VARCHAR, position BIGINT, event_id VARCHAR, campaign VARCHAR, kind VARCHAR, who VARCHAR, "at" VARCHAR,
    pair_id VARCHAR, body JSON);
COMMENT ON TABLE act_events IS 'what else people did in a campaign, as written; see the view acts';
CREATE VIEW acts AS
SELECT * EXCLUDE (source, position) FROM act_events
QUALIFY row_number() OVER (PARTITION BY campaign, event_id ORDER BY source, position) = 1;
COMMENT ON VIEW acts IS 'undo, lease, calibrated, written, ruling, steer, report: the first event with an id counts';
"""

VOTES_VIEW = """
CREATE OR REPLACE VIEW votes AS
SELECT * EXCLUDE (source, position),
       CASE choice WHEN 'left' THEN "left" WHEN 'right' THEN if("left" = 'a', 'b', 'a') END AS preferred
FROM vote_events v
WHERE NOT EXISTS (
    SELECT 1 FROM acts u WHERE u.kind = 'undo' AND u.campaign = v.campaign AND u.body->>'assignment' = v.assignment)
QUALIFY row_number() OVER (PARTITION BY assignment ORDER BY source, position) = 1;
COMMENT ON VIEW votes IS 'the first vote of every assignment that was not undone; preferred is a, b or NULL';
"""

RATING = RATING_TABLES + VOTES_VIEW

ORIGIN = f"""
ALTER TABLE vote_events ADD COLUMN origin VARCHAR DEFAULT '';
COMMENT ON COLUMN vote_events.origin IS 'of an imported vote: name and sha256 of the file that it came from';
{VOTES_VIEW}
"""
