"""What a judge says of a campaign, and beside it how far it can be believed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.core.rating import Pair
from harness.core.records import Record
from harness.evaluate.judge.pairwise import Judgement, combined
from harness.stats import Interval, mean_interval
from harness.stats.agreement import Kappa, cohens_kappa

WORTH = {"a": 1.0, "tie": 0.5, "b": 0.0}


class JudgeSummary(Record):
    """One judge on one campaign. Shares are 0 to 1; `win` is of subject a, over the pairs that were judged."""

    judge: str
    model: str
    subjects: list[str]
    pairs: int
    judged: int
    unreadable: int
    wins: int
    losses: int
    ties: int
    win: Interval
    consistent: float | None
    first: float | None
    longer: Interval
    kappa: Kappa
    problems: dict[str, int]

    @property
    def beside(self) -> str:
        """The line that stands beside every number of a judge."""
        order = "not known" if self.consistent is None else f"{self.consistent:.0%} of {self.judged} pairs"
        kappa = self.kappa
        if not kappa.items:
            people = "nobody has voted, so agreement with people is not known"
        elif kappa.kappa is None:
            people = f"kappa with people is not defined (only one kind of verdict in {kappa.items} pairs)"
        else:
            people = f"kappa with people {kappa.kappa:.2f} ({kappa.low:.2f} to {kappa.high:.2f}, {kappa.items} pairs)"
        return f"order consistency {order}; {people}"


def summarise(pairs: Sequence[Pair], judgements: Iterable[Judgement], people: Mapping[str, str]) -> JudgeSummary | None:
    """`judgements` of one judge; `people`: pair id -> 'a', 'b' or 'tie', where they voted. None if nothing was judged.

    - consistent: share of pairs on which both orders agree; the others count as ties
    - first: share of single verdicts with a winner that went to the place shown first (0.5 without a bias)
    - longer: share of won pairs whose winner is the longer answer, by characters
    - kappa: Cohen's, with people's majority, over a, b and tie
    """
    known = {pair.pair_id: pair for pair in pairs}
    ours = [one for one in judgements if one.pair_id in known]
    verdicts = combined(ours)
    if not verdicts:
        return None
    read = {pair_id: verdict for pair_id, verdict in verdicts.items() if verdict is not None}
    winners = [verdict.winner for verdict in read.values()]
    places = [one.winner == one.order[0] for one in ours if one.winner in ("a", "b")]
    longer = {
        pair_id: float((len(known[pair_id].a.text) > len(known[pair_id].b.text)) == (verdict.winner == "a"))
        for pair_id, verdict in read.items()
        if verdict.winner != "tie" and len(known[pair_id].a.text) != len(known[pair_id].b.text)
    }
    both = [pair_id for pair_id in read if pair_id in people]
    problems: dict[str, int] = {}
    for one in ours:
        if one.problem:
            problems[one.problem] = problems.get(one.problem, 0) + 1
    pair = next(iter(known.values()))
    return JudgeSummary(
        judge=ours[0].judge,
        model=ours[0].model,
        subjects=[pair.a.subject, pair.b.subject],
        pairs=len(known),
        judged=len(read),
        unreadable=len(verdicts) - len(read),
        wins=winners.count("a"),
        losses=winners.count("b"),
        ties=winners.count("tie"),
        win=mean_interval([WORTH[winner] for winner in winners], [known[name].cluster for name in read]),
        consistent=sum(verdict.consistent for verdict in read.values()) / len(read) if read else None,
        first=sum(places) / len(places) if places else None,
        longer=mean_interval(list(longer.values()), [known[name].cluster for name in longer]),
        kappa=cohens_kappa([read[name].winner for name in both], [people[name] for name in both]),
        problems=problems,
    )
