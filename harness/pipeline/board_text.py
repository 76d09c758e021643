"""A campaign's board as people read it on a terminal. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text

from harness.core.errors import printable
from harness.pipeline.board import CampaignBoard
from harness.progress import results_console
from harness.ratings.noise import Noise
from harness.ratings.raters import RaterRow, Share
from harness.ratings.strengths import Strengths, Term
from harness.ratings.wins import Wins
from harness.stats import Interval
from harness.tables import table

MAX_SHOWN = 20  # pairs to decide


def print_board(found: CampaignBoard) -> None:
    board = found.board
    blind = "; names stay hidden until the campaign is closed" if found.blind else ""
    skips = f", {board.skips} skips" if board.skips else ""
    _line(f"{found.campaign}: {board.votes} votes of {len(board.raters)} raters{skips}{blind}", "bold")
    rows = [(one.arm, *map(str, (one.pairs, one.none, one.one, one.more, one.skipped_only))) for one in board.coverage]
    _table("coverage", ("arm", "pairs", "no vote", "one", "two or more", "only skipped"), rows)
    alpha = board.alpha
    said = "not known" if alpha.alpha is None else f"{alpha.alpha:.2f}{_range(alpha.low, alpha.high)}"
    _line(f"Krippendorff's alpha: {said} on {alpha.units} pairs{_note(alpha.note)}")
    _line(f"votes for the left answer: {_percent(board.left)} (50 % without a bias)")
    _line(f"votes for the longer answer: {_percent(board.longer)}")
    _wins(board.wins)
    _strengths(board.strengths)
    _noise(board.noise)
    _raters(board.raters, board.level)
    _disagreements(found)


def _wins(wins: Sequence[Wins]) -> None:
    rows = [
        (
            one.subject,
            one.against,
            str(one.pairs),
            str(one.votes),
            _percent(one.weighted),
            _percent(one.these_raters),
            _percent(one.uniform),
        )
        for one in wins
    ]
    if rows:
        head = ("subject", "against", "pairs", "votes", "weighted", "for these raters", "uniform half alone")
        _table("preferred", head, rows)


def _strengths(found: Strengths) -> None:
    if not found.strengths:
        _line(f"Bradley-Terry: {found.note}")
        return
    rows = [(found.reference, "0", "")] + [(one.name, f"{one.value:+.2f}", _logits(one)) for one in found.strengths]
    rows += [(f"{one.name} (term)", f"{one.value:+.2f}", _logits(one)) for one in found.terms]
    _table("Bradley-Terry, logits", ("subject or term", "value", "95 %"), rows)
    ranking = " > ".join(name for name, _ in found.ranking)
    _line(f"by wins alone: {ranking}" + (f"; not told: {', '.join(found.dropped)}" if found.dropped else ""))


def _logits(term: Term) -> str:
    return f"{term.low:+.2f} to {term.high:+.2f}"


def _noise(noise: Noise) -> None:
    if noise.error is None:
        _line(f"error of a vote: not fitted. {noise.refused}", "yellow")
        return
    checked = f"{noise.gold_wrong} of {noise.gold_votes} gold votes wrong"
    again = f"{noise.repeat_unlike} of {noise.repeat_votes} repeats unlike"
    _line(
        f"error of a vote: {noise.error:.1%}{_range(noise.error_low, noise.error_high, percent=True)} "
        f"({checked}, {again}){_note(noise.note)}"
    )
    _line(f"clarity: {noise.clarity:.2f}{_range(noise.clarity_low, noise.clarity_high)} (1: all mean the same)")


def _raters(raters: Sequence[RaterRow], level: float) -> None:
    rows = [
        (
            one.rater,
            str(one.votes),
            "" if one.median_s is None else f"{one.median_s:.1f}",
            _share(one.gold),
            _share(one.consistency),
            _share(one.majority),
            _share(one.left),
            ", ".join(flag.test for flag in one.flags),
        )
        for one in raters
    ]
    if not rows:
        return
    head = ("rater", "votes", "median s", "gold", "with self", "with majority", "left", "flags")
    _table("raters (share, 95 %, of how many)", head, rows)
    for one in raters:
        for flag in one.flags:
            _line(f"{one.rater}: {flag.said}, p = {flag.p:.2g}", "yellow")
    _line(f"flags: Holm over all tests of all raters, level {level:g}; a reason to look, not a verdict")


def _disagreements(found: CampaignBoard) -> None:
    several = found.board.disagreements
    if not several:
        return
    rows = [(one.pair_id, ", ".join(str(count) for count in one.views.values())) for one in several[:MAX_SHOWN]]
    _line(f"to be decided: {len(several)} pairs without a majority")
    _table("", ("pair", "votes by view"), rows)
    if len(several) > MAX_SHOWN:
        _line(f"{len(several) - MAX_SHOWN} more: --format json has them all")


def _percent(found: Interval) -> str:
    if found.estimate is None:
        return "not known"
    return f"{found.estimate:.0%}{_range(found.low, found.high, percent=True)}{_note(found.note)}"


def _share(found: Share) -> str:
    if found.share is None:
        return ""
    return f"{found.share:.0%}{_range(found.low, found.high, percent=True)} of {found.items}"


def _range(low: float | None, high: float | None, percent: bool = False) -> str:
    if low is None or high is None:
        return ""
    return f" ({low:.0%} to {high:.0%})" if percent else f" ({low:.2f} to {high:.2f})"


def _note(note: str) -> str:
    return f"; {note}" if note else ""


def _line(text: str, style: str = "") -> None:
    results_console().print(Text(printable(text), style=style), soft_wrap=True)


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    console = results_console()
    cells = [[Text(printable(cell)) for cell in row] for row in rows]
    console.print(table(title, head, cells, console.width))
