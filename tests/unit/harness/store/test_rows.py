"""The store through its doors: a lab made of real records and journals, ingested by the child process, then read."""

from __future__ import annotations

from harness.core.paths import Lab
from harness.core.records import (
    EvalRecord,
    MetricInfo,
    Score,
)
from harness.store import counts, ingest, query, subject_scores
from tests.unit.harness.store.made import (
    CHRF,
    add_campaign,
    add_eval,
    cast,
    item,
    subject,
    vote,
)


def test_everything_in_a_lab_becomes_rows(full: Lab) -> None:
    assert counts(full) == {
        "act_events": 1, "alias_moves": 1, "campaigns": 1, "data_lineage": 1, "evals": 1, "feedback_events": 3,
        "items": 4,
        "metrics": 1, "pairs": 3, "parity": 1, "plan_runs": 1, "plans": 1, "requests": 1,
        "run_data": 1, "runs": 1, "scores": 3, "train_steps": 2, "usage_events": 1, "verdicts": 1,
        "versions": 1, "vote_events": 4, "votes": 4,
    }  # fmt: skip


def test_no_column_of_a_record_is_lost(full: Lab) -> None:
    """A misspelt column would be NULL everywhere; only these are NULL in the lab of `fill`."""
    empty = set()
    for name in counts(full):
        columns, rows = query(full, f"FROM {name}")
        empty |= {f"{name}.{column}" for place, column in enumerate(columns) if all(row[place] is None for row in rows)}
    assert empty == {"alias_moves.before", "versions.forced_reason"}


def test_values_come_back_as_they_were_written(full: Lab) -> None:
    text = "SELECT answer, cluster, latency_s FROM items WHERE item_id = 'i0'"
    assert query(full, text)[1] == [("I.\n\u0000é😀", "c0", 0.25)]
    settings = query(full, "SELECT settings ->> '$.arguments.learning_rate', data_sha256[1], seed FROM runs")[1]
    assert settings[0][0] == "1e-5" or float(settings[0][0]) == 1e-5
    assert settings[0][2] == 7
    assert query(full, "SELECT step, metric, value FROM train_steps ORDER BY step")[1] == [
        (1, "loss", 2.5),
        (2, "loss", 1.5),  # logged twice, as after a resume: the last counts
    ]


def test_every_table_and_view_is_described(full: Lab) -> None:
    listed = (
        "SELECT table_name FROM duckdb_tables() WHERE comment IS NULL AND database_name = 'lab' UNION ALL "
        "SELECT view_name FROM duckdb_views() WHERE comment IS NULL AND NOT internal AND database_name = 'lab'"
    )
    assert query(full, listed)[1] == [("migrations",)]


def test_subject_scores_by_hand(full: Lab) -> None:
    """release: i0 has 0.5, i1 no value, i3 errored without any score and still counts; dev: i2 alone."""
    dev, release = subject_scores(full, ["e-1"])
    assert (dev.metric, dev.split, dev.values, dev.counts) == ("aac/chrf", "dev", {"i2": 0.25}, {"scored": 1})
    assert release.values == {"i0": 0.5}
    assert release.clusters == {"i0": "c0", "i1": "c0", "i3": "c1"}
    assert release.counts == {"scored": 2, "errored": 1}
    assert release.info == CHRF
    assert release.subject == subject()
    assert release.evalset_sha256 == "e" * 64


def test_an_item_of_another_task_does_not_count_for_a_metric(lab: Lab) -> None:
    """One lm-eval evaluation holds several tasks: an item scored for one is not missing from the other."""
    one = item(0).model_copy(update={"scores": {"arc/acc": Score(value=1.0)}})
    two = item(1).model_copy(update={"scores": {"piqa/acc": Score(value=0.0)}})
    folder = add_eval(lab, "e-1", [[one, two]])
    record = EvalRecord.read(folder / "eval.json")
    metrics = {"arc/acc": MetricInfo(), "piqa/acc": MetricInfo()}
    record.model_copy(update={"evalset": "lm_eval", "kind": "lm_eval", "metrics": metrics}).write(folder / "eval.json")
    ingest(lab)
    found = {scores.metric: scores for scores in subject_scores(lab, ["e-1"])}
    assert {name: list(scores.clusters) for name, scores in found.items()} == {
        "lm_eval/arc/acc": ["i0"],
        "lm_eval/piqa/acc": ["i1"],
    }


def test_leaderboard_counts_what_it_leaves_out(full: Lab) -> None:
    board = query(
        full, "SELECT metric, split, subject_label, mean, n, left_out, direction FROM leaderboard ORDER BY split"
    )
    assert board[1] == [("aac/chrf", "dev", "r=8", 0.25, 1, 0, "up"), ("aac/chrf", "release", "r=8", 0.5, 1, 2, "up")]


def test_votes_lead_to_the_adapter_they_shaped(full: Lab) -> None:
    """The data holds pair-0 as ann judged it; bob's vote on the same pair came later and is not in it."""
    rows = query(full, "SELECT run_id, pair_id, rater, preferred, preferred_subject FROM vote_lineage")[1]
    assert rows == [("r-1", "pair-0", "ann", "a", "r=8")]


def test_preferred_is_the_answer_not_the_side(lab: Lab) -> None:
    folder = add_campaign(lab)
    cast(folder, vote(0, choice="left", left="b"), vote(1, choice="right", left="b"), vote(2, choice="both_bad"))
    ingest(lab)
    assert query(lab, "SELECT preferred FROM votes ORDER BY pair_id")[1] == [("b",), ("a",), (None,)]
