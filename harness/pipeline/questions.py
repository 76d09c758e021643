"""How many votes a campaign's question needs, told before anybody is asked to rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from harness.core.errors import InputError
from harness.stats import votes_needed

SAME_PAIR = 0.5  # correlation assumed of two people's votes on one pair: they saw the same two answers


@dataclass(frozen=True)
class Question:
    """`win_rate`: the true one that should be told from even; `ties`: share of votes that take no side."""

    win_rate: float = 0.6
    ties: float = 0.2
    raters: int = 3


def as_asked(question: Question, pairs: int, overlap: float) -> dict[str, Any]:
    """The decisive votes that the question needs if each is on a prompt of its own (80 % power, 95 % confidence), and
    what that takes in votes and pairs with these ties, this overlap and so many raters.

    Several votes on one pair say less than as many on different ones: with m votes a pair on average, 1 + (Σn²/Σn −
    1)·ρ times as many are needed (Kish 1965), ρ assumed SAME_PAIR. Raises InputError for rates that mean nothing.
    """
    if not 0 < question.win_rate < 1 or question.win_rate == 0.5 or not 0 <= question.ties < 1 or question.raters < 1:
        raise InputError(
            f"win rate {question.win_rate}, ties {question.ties}, {question.raters} raters make no question",
            "a win rate between 0 and 1 that is not 0.5, ties from 0 up to 1, one rater or more",
        )
    decisive = votes_needed(question.win_rate)
    a_pair = overlap * question.raters + (1 - overlap)
    squares = overlap * question.raters**2 + (1 - overlap)
    more = 1 + (squares / a_pair - 1) * SAME_PAIR
    votes = math.ceil(decisive / (1 - question.ties) * more)
    needed = math.ceil(votes / a_pair)
    return {
        "win_rate": question.win_rate,
        "ties": question.ties,
        "raters": question.raters,
        "decisive_votes": decisive,
        "votes": votes,
        "pairs": needed,
        "votes_a_pair": round(a_pair, 3),
        "enough_pairs": pairs >= needed,
    }


def sentence(asked: dict[str, Any], pairs: int) -> str:
    """As people read it."""
    text = (
        f"a true win rate of {asked['win_rate']:.0%} shows with {asked['decisive_votes']} decisive votes on different "
        f"prompts; with {asked['ties']:.0%} ties and {asked['votes_a_pair']:g} votes a pair that is about "
        f"{asked['votes']} votes on {asked['pairs']} pairs"
    )
    return text.replace("%", " %") + (
        "" if asked["enough_pairs"] else f"; {pairs} are too few, so use a larger pool or less overlap"
    )
