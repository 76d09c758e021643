"""Votes become the next round: preference rows for TRL, and the YAML of a DPO run that a person can read.

- labels  what people say of each pair: votes, a lead's ruling, edits; and how far raters agree
- rows    the rows to train on, with their lineage, and how often their labels are wrong
- spec    the YAML of the round
- files   what is written, once

Pure but for `write_round`. Only decisive labels train: the answer that more than half of the raters who judged the pair
preferred, or that a lead ruled for. Everything else is counted, never used, never averaged away.
"""

from harness.preferences.files import round_files, write_round
from harness.preferences.labels import (
    EDITED,
    LABEL_RULE,
    MIN_COMPARISONS,
    OUTCOMES,
    RULED,
    Agreement,
    Content,
    Outcome,
    Rulings,
    View,
    contents_of,
    measure_agreement,
)
from harness.preferences.rows import Preferences, from_votes, lineage_of
from harness.preferences.spec import SFT_LEARNING_RATE, SFT_TO_DPO, TAKEN_OVER, next_spec

__all__ = [
    "EDITED",
    "LABEL_RULE",
    "MIN_COMPARISONS",
    "OUTCOMES",
    "RULED",
    "SFT_LEARNING_RATE",
    "SFT_TO_DPO",
    "TAKEN_OVER",
    "Agreement",
    "Content",
    "Outcome",
    "Preferences",
    "Rulings",
    "View",
    "contents_of",
    "from_votes",
    "lineage_of",
    "measure_agreement",
    "next_spec",
    "round_files",
    "write_round",
]
