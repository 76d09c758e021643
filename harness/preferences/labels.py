"""What people say of each prompt with two answers: their votes, a lead's ruling, their edits. Pure."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from harness.core.errors import InputError
from harness.core.fingerprint import sha256_of
from harness.core.rating import Pair, Ruling, Side, Vote

View = Literal["a", "b", "tie", "both_bad", "skip"]
Outcome = Literal["used", "tie", "both_bad", "skip", "conflict", "unrated"]
Rulings = Mapping[str, Mapping[str, Ruling]]  # campaign -> pair -> the lead's ruling that stands

OUTCOMES: tuple[Outcome, ...] = ("used", "tie", "both_bad", "skip", "conflict", "unrated")

# Fewer comparisons than this say little about agreement: at 20, a share of 0.8 is uncertain by about ±0.17.
MIN_COMPARISONS = 20

LABEL_RULE = "more than half of the raters who judged (skips aside)"
RULED = "a lead's ruling"
EDITED = "an edited answer over the one that it was made from"


@dataclasses.dataclass(frozen=True)
class Edited:
    """A better answer that a rater made from one of the two."""

    rater: str
    side: Side
    text: str
    at: str
    assignment: str


@dataclasses.dataclass
class Content:
    """One prompt with two answers, and each rater's view of it, however many pairs and campaigns showed it.

    Views, edits and the ruling name the answers of `pair`: the first pair with this content. `assignments` has, by
    rater, the vote itself.
    """

    pair: Pair
    campaign: str
    views: dict[str, View] = dataclasses.field(default_factory=dict)
    assignments: dict[str, str] = dataclasses.field(default_factory=dict)
    edits: list[Edited] = dataclasses.field(default_factory=list)
    ruling: tuple[str, Literal["a", "b", "tie", "both_bad"]] | None = None  # (when, what)

    def count(self, view: View) -> int:
        return sum(seen == view for seen in self.views.values())

    @property
    def winner(self) -> Literal["a", "b"] | None:
        """The answer that a lead ruled for; without a ruling, the one that more than half of the raters who judged
        (skips aside) preferred."""
        if self.ruling:
            what = self.ruling[1]
            return what if what == "a" or what == "b" else None
        judged = len(self.views) - self.count("skip")
        if 2 * self.count("a") > judged:
            return "a"
        return "b" if 2 * self.count("b") > judged else None

    @property
    def outcome(self) -> Outcome:
        judged = len(self.views) - self.count("skip")
        if self.winner:
            return "used"
        if self.ruling:
            return "tie" if self.ruling[1] == "tie" else "both_bad"
        if not self.views:
            return "unrated"
        if judged == 0:
            return "skip"
        if 2 * self.count("tie") > judged:
            return "tie"
        return "both_bad" if 2 * self.count("both_bad") > judged else "conflict"

    @property
    def tally(self) -> tuple[int, int]:
        """(votes for the label, votes against) of a used content. A ruling is one more vote: nobody measured that leads
        err less than raters."""
        other: View = "b" if self.winner == "a" else "a"
        return self.count(self.winner or "a") + bool(self.ruling), self.count(other)


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How often two raters who both took a side took the same one.

    `share` is None without overlap. `flip_rate` is one rater's chance to vote against the clearer answer,
    (1 − √(2·share − 1)) / 2, which assumes independent raters and equally clear pairs; None with `note` saying why
    where it cannot be told.
    """

    pairs: int
    comparisons: int
    share: float | None
    flip_rate: float | None
    note: str


def contents_of(
    rated: Mapping[str, tuple[Sequence[Pair], Iterable[Vote]]], rulings: Rulings | None = None
) -> list[Content]:
    """The distinct contents of some campaigns, in their order. InputError for a vote on a pair that is not there."""
    contents: dict[str, Content] = {}
    for campaign, (pairs, votes) in rated.items():
        by_id = {pair.pair_id: pair for pair in pairs}
        keys = {pair_id: sha256_of([p.prompt, sorted((p.a.text, p.b.text))]) for pair_id, p in by_id.items()}
        for pair_id, pair in by_id.items():
            contents.setdefault(keys[pair_id], Content(pair, campaign))
        for vote in votes:
            if vote.pair_id not in by_id:
                raise InputError(f"a vote of {vote.rater!r} is on {vote.pair_id!r}, which {campaign!r} does not have")
            content = contents[keys[vote.pair_id]]
            _take_vote(content, vote, by_id[vote.pair_id].a.text != content.pair.a.text)
        for pair_id, ruling in (rulings or {}).get(campaign, {}).items():
            if pair_id in by_id:  # else on a gold pair or a repeat, which never trains
                content = contents[keys[pair_id]]
                _take_ruling(content, ruling, by_id[pair_id].a.text != content.pair.a.text)
    return list(contents.values())


def _take_vote(content: Content, vote: Vote, turned: bool) -> None:
    """`turned`: the vote's pair has the content's answers the other way round."""
    view: View = vote.view
    content.views.setdefault(vote.rater, _other(view) if turned else view)
    content.assignments.setdefault(vote.rater, vote.assignment)
    if vote.edit is not None:
        side: Side = _across(vote.edit.side) if turned else vote.edit.side
        content.edits.append(Edited(vote.rater, side, vote.edit.text, vote.at, vote.assignment))


def _take_ruling(content: Content, ruling: Ruling, turned: bool) -> None:
    """The latest one stands, whichever campaign it was made in."""
    if content.ruling is None or content.ruling[0] <= ruling.at:
        choice = ruling.choice
        if turned and (choice == "a" or choice == "b"):
            choice = _across(choice)
        content.ruling = (ruling.at, choice)


def _other(view: View) -> View:
    return _across(view) if view == "a" or view == "b" else view


def _across(side: Side) -> Side:
    return "b" if side == "a" else "a"


def measure_agreement(contents: Iterable[Content]) -> Agreement:
    """Agreement over every two raters who both took a side on the same content."""
    pairs = comparisons = same = 0
    for content in contents:
        sides = [view for view in content.views.values() if view in ("a", "b")]
        of_two = list(itertools.combinations(sides, 2))
        pairs += bool(of_two)
        comparisons += len(of_two)
        same += sum(first == second for first, second in of_two)
    if comparisons < MIN_COMPARISONS:
        share = same / comparisons if comparisons else None
        note = f"{comparisons} comparisons between raters; {MIN_COMPARISONS} are needed to measure agreement"
        return Agreement(pairs, comparisons, share, None, note)
    share = same / comparisons
    if share <= 0.5:
        note = f"raters agree on {share:.0%} of comparisons, no more than by chance: do not train on these votes"
        return Agreement(pairs, comparisons, share, None, note)
    return Agreement(pairs, comparisons, share, (1 - math.sqrt(2 * share - 1)) / 2, f"{comparisons} comparisons")
