"""A campaign's board as people read it: its figures in words, which the page shows too, and all of it on a terminal.

Decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.text import Text

from harness.core.errors import printable
from harness.core.words import counted
from harness.pipeline.board import CampaignBoard
from harness.progress import results_console
from harness.ratings import Alpha, Board, Noise, RaterRow, Strengths, Wins
from harness.ratings.raters import Share
from harness.ratings.strengths import Term
from harness.stats import Interval
from harness.tables import table

MAX_SHOWN = 20  # pairs to decide
FLAGS_ARE = "Holm over all tests of all raters, level {level:g}; a reason to look, not a verdict"

COVERAGE_HEAD = ("arm", "pairs", "no vote", "one", "two or more", "only skipped")
WINS_HEAD = ("subject", "against", "pairs", "votes", "weighted", "for these raters", "uniform half alone")
STRENGTHS_HEAD = ("subject or term", "value", "95 %")
RATERS_HEAD = ("rater", "votes", "median s", "gold", "with self", "with majority", "left", "flags")
REPORTS_HEAD = ("when", "rater", "what", "pair", "answer", "text")

Rows = list[tuple[str, ...]]


def headline(found: CampaignBoard) -> str:
    board = found.board
    blind = "; names stay hidden until the campaign is closed" if found.blind else ""
    skips = f", {counted(board.skips, 'skip')}" if board.skips else ""
    by = f"{counted(board.votes, 'vote')} of {counted(len(board.raters), 'rater')}"
    return f"{found.campaign}: {by}{skips}{blind}"


def coverage_rows(board: Board) -> Rows:
    return [(one.arm, *map(str, (one.pairs, one.none, one.one, one.more, one.skipped_only))) for one in board.coverage]


def alpha_text(alpha: Alpha) -> str:
    said = "not known" if alpha.alpha is None else f"{alpha.alpha:.2f}{_range(alpha.low, alpha.high)}"
    return f"{said} on {counted(alpha.units, 'pair')}{_note(alpha.note)}"


def percent(found: Interval) -> str:
    if found.estimate is None:
        return "not known"
    return f"{found.estimate:.0%}{_range(found.low, found.high, percent=True)}{_note(found.note)}"


def wins_rows(wins: Sequence[Wins]) -> Rows:
    return [
        (
            one.subject,
            one.against,
            str(one.pairs),
            str(one.votes),
            percent(one.weighted),
            percent(one.these_raters),
            percent(one.uniform),
        )
        for one in wins
    ]


def strengths_rows(found: Strengths) -> Rows:
    """None where nothing was fitted: `note` says why."""
    if not found.strengths:
        return []
    rows = [(found.reference, "0", "")] + [(one.name, f"{one.value:+.2f}", _logits(one)) for one in found.strengths]
    return [*rows, *((f"{one.name} (term)", f"{one.value:+.2f}", _logits(one)) for one in found.terms)]


def ranking_text(found: Strengths) -> str:
    ranking = " > ".join(name for name, _ in found.ranking)
    return f"by wins alone: {ranking}" + (f"; not told: {', '.join(found.dropped)}" if found.dropped else "")


def error_text(noise: Noise) -> str:
    if noise.error is None:
        return f"not fitted. {noise.refused}"
    checked = f"{noise.gold_wrong} of {noise.gold_votes} gold votes wrong"
    again = f"{noise.repeat_unlike} of {noise.repeat_votes} repeats unlike"
    held = _range(noise.error_low, noise.error_high, percent=True)
    return f"{noise.error:.1%}{held} ({checked}, {again}){_note(noise.note)}"


def clarity_text(noise: Noise) -> str:
    """'' where nothing was fitted."""
    if noise.error is None:
        return ""
    return f"{noise.clarity:.2f}{_range(noise.clarity_low, noise.clarity_high)} (1: all mean the same)"


def raters_rows(raters: Sequence[RaterRow], paused: Sequence[str] = ()) -> Rows:
    return [
        (
            one.rater,
            str(one.votes),
            "" if one.median_s is None else f"{one.median_s:.1f}",
            _share(one.gold),
            _share(one.consistency),
            _share(one.majority),
            _share(one.left),
            ", ".join([*(flag.test for flag in one.flags), *(["(paused)"] if one.rater in paused else [])]),
        )
        for one in raters
    ]


def flag_lines(raters: Sequence[RaterRow]) -> Iterator[str]:
    for one in raters:
        for flag in one.flags:
            yield f"{one.rater}: {flag.said}, p = {flag.p:.2g}"


def undecided_text(found: CampaignBoard) -> str:
    """'' where there is nothing to decide and nothing was."""
    several, ruled = len(found.board.disagreements), found.ruled
    if not several and not ruled:
        return ""
    own = f", {found.ruled_by_raters} by somebody who had voted on it" if found.ruled_by_raters else ""
    done = f"; {ruled} ruled on{own}" if ruled else ""
    return f"{counted(several, 'pair')} without a majority{done}"


def reports_rows(found: CampaignBoard) -> Rows:
    return [(one.at, one.who, one.what, one.pair_id or "", one.side or "", one.text) for one in found.reports]


# --- on a terminal ------------------------------------------------------------------------------------------------


def print_board(found: CampaignBoard) -> None:
    board = found.board
    _line(headline(found), "bold")
    _table("coverage", COVERAGE_HEAD, coverage_rows(board))
    _line(f"Krippendorff's alpha: {alpha_text(board.alpha)}")
    _line(f"votes for the left answer: {percent(board.left)} (50 % without a bias)")
    _line(f"votes for the longer answer: {percent(board.longer)}")
    if board.wins:
        _table("preferred", WINS_HEAD, wins_rows(board.wins))
    _strengths(board.strengths)
    _line(f"error of a vote: {error_text(board.noise)}", "yellow" if board.noise.error is None else "")
    if board.noise.error is not None:
        _line(f"clarity: {clarity_text(board.noise)}")
    _raters(found)
    _disagreements(found)
    if found.reports:
        _table("reports", REPORTS_HEAD, reports_rows(found))


def _strengths(found: Strengths) -> None:
    rows = strengths_rows(found)
    if not rows:
        _line(f"Bradley-Terry: {found.note}")
        return
    _table("Bradley-Terry, logits", STRENGTHS_HEAD, rows)
    _line(ranking_text(found))


def _raters(found: CampaignBoard) -> None:
    raters = found.board.raters
    if not raters:
        return
    _table("raters (share, 95 %, of how many)", RATERS_HEAD, raters_rows(raters, found.paused))
    for line in flag_lines(raters):
        _line(line, "yellow")
    _line(f"flags: {FLAGS_ARE.format(level=found.board.level)}")


def _disagreements(found: CampaignBoard) -> None:
    if text := undecided_text(found):
        _line(f"to be decided: {text}")
    several = found.board.disagreements
    if not several:
        return
    rows = [(one.pair_id, ", ".join(str(count) for count in one.views.values())) for one in several[:MAX_SHOWN]]
    _table("", ("pair", "votes by view"), rows)
    if len(several) > MAX_SHOWN:
        _line(f"{len(several) - MAX_SHOWN} more: --format json has them all")


def _logits(term: Term) -> str:
    return f"{term.low:+.2f} to {term.high:+.2f}"


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
