"""Campaigns: pairs of answers to compare blind, and what people do with them, as files under `campaigns/<name>/`.

    pairs.jsonl       the main pairs, in the campaign's order
    outline.json      the same without their texts, for whoever needs only that
    extra-*.jsonl     gold pairs, repeats and calibration pairs, one file a role and time
    campaign.json     the record, written last: where it exists, the campaign is complete
    guidelines.md     optional, by a person: how to judge; shown beside the pairs
    votes-*.jsonl     one journal segment per process that takes votes
    acts-*.jsonl      likewise: undo, lease, calibrated, written, skipped, ruling, steer, report

- pairs        which answers are worth a person's time
- sampling     what a prompt is for (train, judge), which pairs of a pool are drawn, and with what probability
- files        a campaign's files
- outline      the pairs without their texts
- acts, votes  the journals, and which votes count
- assignments  one pair as one rater sees it
- handout      which pair a rater gets next: leases, overlap, gold, repeats, pauses
- writing      campaigns of kind 'write': drafts, corrections, reviews, and the data that they make

Nothing here makes answers or shows pages. Votes and acts are only ever added.
"""

from harness.campaign.acts import ACTS, ActLog, acts_saying, closed, is_closed, paused, read_acts, rulings
from harness.campaign.assignments import Assignment, Assignments, Side, assign
from harness.campaign.files import (
    VOTES,
    MainPairs,
    folder,
    guidelines,
    list_all,
    read,
    read_extra,
    read_record,
    read_whole,
    touched_at,
    write,
    write_extra,
)
from harness.campaign.handout import Handout, open_handout
from harness.campaign.pairs import NEAR_IDENTICAL, REFUSALS, PoolItem, combine, drafts, make_pairs, refusal
from harness.campaign.sampling import JUDGE_SHARE, of_purpose, purpose_of, sample
from harness.campaign.votes import VoteLog, read_votes
from harness.campaign.writing import Progress, Task, Writing, preference_rows, sft_rows

__all__ = [
    "ACTS",
    "JUDGE_SHARE",
    "NEAR_IDENTICAL",
    "REFUSALS",
    "VOTES",
    "ActLog",
    "Assignment",
    "Assignments",
    "Handout",
    "MainPairs",
    "PoolItem",
    "Progress",
    "Side",
    "Task",
    "VoteLog",
    "Writing",
    "acts_saying",
    "assign",
    "closed",
    "combine",
    "drafts",
    "folder",
    "guidelines",
    "is_closed",
    "list_all",
    "make_pairs",
    "of_purpose",
    "open_handout",
    "paused",
    "preference_rows",
    "purpose_of",
    "read",
    "read_acts",
    "read_extra",
    "read_record",
    "read_votes",
    "read_whole",
    "refusal",
    "rulings",
    "sample",
    "sft_rows",
    "touched_at",
    "write",
    "write_extra",
]
