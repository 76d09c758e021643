"""The board page's parts as HTML. Everything that is not ours goes through `plain` or is safe Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import urlencode

from dashboards.markdown import as_html
from dashboards.results_view import note, table
from dashboards.web import plain
from harness.core.words import counted
from harness.pipeline import board_text as text
from harness.pipeline.adjudicating import Case
from harness.pipeline.board import CampaignBoard
from harness.pipeline.round_preview import WORDS, RoundPreview, lines
from harness.ratings import Wins
from harness.ratings.strengths import Term

SAID = {"left": "left is better", "right": "right is better", "tie": "tie", "both_bad": "both bad", "skip": "skipped"}
RULES = (
    "Answers are blind and their sides drawn for you. A ruling goes before the votes on its pair in the next "
    "round; the latest one stands, and the votes stay as they are."
)


def shown(found: CampaignBoard) -> str:
    """The whole board of a campaign."""
    board = found.board
    return "".join([
        note(text.headline(found)),
        _part("Win rates: how often the first is preferred to the second", _wins(board.wins)),
        _part("Coverage: main pairs by how many people judged them",
              table(text.COVERAGE_HEAD, text.coverage_rows(board), "coverage")),
        _part("Agreement and biases", table(("figure", "value and 95 % interval", "how to read it"), _figures(found),
                                            "figures")),
        _part("Raters: share, 95 % interval, of how many", _raters(found)),
        _part("Bradley-Terry, logits", _strengths(found)),
        _part("Reports of raters", _reports(found)),
        _link(found.campaign),
    ])  # fmt: skip


def _part(title: str, body: str) -> str:
    return f"<section><h2>{plain(title)}</h2>{body}</section>"


def _link(campaign: str) -> str:
    where = plain(urlencode({"campaign": campaign}))
    return f"<p class='links'><a class='here' href='?{where}'>Link to this campaign</a></p>"


def _figures(found: CampaignBoard) -> list[tuple[str, str, str]]:
    board = found.board
    rows = [
        ("Krippendorff's alpha", text.alpha_text(board.alpha), "agreement: 0 as by chance, 1 always"),
        ("votes for the left answer", text.percent(board.left), "50 % without a bias, as sides are drawn"),
        ("votes for the longer answer", text.percent(board.longer), "no bias by itself: it may be the better one"),
        ("error of a vote", text.error_text(board.noise), "from gold pairs and swapped repeats"),
        ("clarity", text.clarity_text(board.noise) or "not fitted", "1 where everybody means the same"),
        ("to be decided", text.undecided_text(found) or "nothing", "pairs on which no view has a majority"),
    ]
    return rows


def _wins(wins: Sequence[Wins]) -> str:
    if not wins:
        return note("No vote yet.")
    bars = [
        _bar(f"{one.subject} over {one.against}", (one.weighted.estimate, one.weighted.low, one.weighted.high),
             (0.0, 1.0), text.percent(one.weighted))
        for one in wins
    ]  # fmt: skip
    key = (
        "Weighted over the pool; the line is 50 %. Ties and both bad count half. "
        "With several raters, intervals hold for others too."
    )
    return (
        f"<div class='bars halved'>{''.join(bars)}</div><p class='soft'>{plain(key)}</p>"
        f"{table(text.WINS_HEAD, text.wins_rows(wins), 'wins')}"
    )


def _strengths(found: CampaignBoard) -> str:
    fitted = found.board.strengths
    rows = text.strengths_rows(fitted)
    if not rows:
        return note(fitted.note)
    every = [*fitted.strengths, *fitted.terms]
    reach = max([abs(end) for one in every for end in (one.value, one.low, one.high)] or [1.0]) or 1.0
    bars = "".join(_strength(one, reach, "" if one in fitted.strengths else " (term)") for one in every)
    key = f"Against {fitted.reference}, whose strength is 0: the line. {text.ranking_text(fitted)}"
    return (
        f"<div class='bars halved'>{bars}</div><p class='soft'>{plain(key)}</p>"
        f"{table(text.STRENGTHS_HEAD, rows, 'strengths')}"
    )


def _strength(term: Term, reach: float, more: str) -> str:
    figures = f"{term.value:+.2f} ({term.low:+.2f} to {term.high:+.2f})"
    return _bar(term.name + more, (term.value, term.low, term.high), (-reach, reach), figures)


def _bar(name: str, at: tuple[float | None, float | None, float | None], ends: tuple[float, float], said: str) -> str:
    """(estimate, low, high) between two ends; the figures beside it say the same."""
    estimate, low, high = at
    drawn = ""
    if estimate is not None:
        left, middle, right = (
            100 * min(max((one - ends[0]) / (ends[1] - ends[0]), 0), 1)
            for one in (estimate if low is None else low, estimate, estimate if high is None else high)
        )
        drawn = (
            f"<i style='left:{left:.2f}%;width:{max(right - left, 0.3):.2f}%'></i><b style='left:{middle:.2f}%'></b>"
        )
    return (
        f"<span class='name'>{plain(name)}</span><span class='track' aria-hidden='true'>{drawn}</span>"
        f"<span class='figure'>{plain(said)}</span>"
    )


def _raters(found: CampaignBoard) -> str:
    board = found.board
    if not board.raters:
        return note("Nobody has rated yet.")
    flags = "".join(note(line, "error") for line in text.flag_lines(board.raters))
    rule = f"<p class='soft'>{plain('Flags: ' + text.FLAGS_ARE.format(level=board.level) + '.')}</p>"
    return flags + table(text.RATERS_HEAD, text.raters_rows(board.raters, found.paused), "raters") + rule


def _reports(found: CampaignBoard) -> str:
    if not found.reports:
        return note("None.")
    return table(text.REPORTS_HEAD, text.reports_rows(found), "reports")


# --- one pair to decide -------------------------------------------------------------------------------------------


def case(found: Case | None, left: int) -> str:
    """A pair with what raters said of it; None: all is decided."""
    to_decide = f"{counted(left, 'pair')} to decide. {RULES}"
    count = f"<p class='soft' id='undecided'>{plain(to_decide)}</p>"
    if found is None:
        return count + note("Nothing is left to decide.")
    turns = "".join(
        f"<section class='turn'><h3>{plain(turn.get('role', ''))}</h3>{as_html(turn.get('content', ''))}</section>"
        for turn in found.prompt
    )
    panes = "".join(
        f"<section class='item' aria-label='{name} answer'><h3>{name} answer</h3>{as_html(answer)}</section>"
        for name, answer in (("Left", found.left), ("Right", found.right))
    )
    before = ""
    if found.ruling:
        why = f": {found.why}" if found.why else ""
        by = f"{found.by}, who had voted on it" if found.by_rater else found.by
        before = note(f"Ruled by {by}: {SAID[found.ruling]}{why}. A new ruling goes before this one.")
    if found.own:
        before += note(f"You voted on this pair: {SAID[found.own]}. A ruling of yours will say that you had.")
    votes = [(one.rater, SAID[one.choice], one.reason, ", ".join(one.tags)) for one in found.said]
    said = table(("rater", "said", "reason", "tags"), votes, "verdicts") if votes else note("Nobody judged this pair.")
    return f"{count}{before}<div class='prompt'>{turns}</div><div class='sides'>{panes}</div>{said}"


# --- the next round -----------------------------------------------------------------------------------------------


def round_of(found: RoundPreview) -> str:
    """What would be written: counts, what is to be thought of, files, and the YAML."""
    outcomes = [(WORDS.get(name, name), count) for name, count in found.outcomes.items()]
    outcomes += [("edited answers", found.edited), ("ruled on", found.adjudicated), ("duplicates", found.duplicates)]
    facts = [line.partition(": ")[::2] for line in lines(found) if not line.startswith(("pairs: ", "refused: "))]
    head, rest = facts[0], [one for one in facts[1:] if one[1]]
    return "".join([
        note(f"Not to be written: {found.refused}", "error") if found.refused else "",
        f"<p>{plain(': '.join(part for part in head if part))}</p>",
        _part("Pairs", table(("outcome", "pairs"), outcomes, "outcomes")),
        _part("What it rests on", table(("what", "how it is"), rest, "facts")),
        _yaml("Would be written", found.files, found.yaml),
    ])  # fmt: skip


def written(files: Iterable[str], yaml: str) -> str:
    every = list(files)
    return note(f"Written. Next: ratchet run {every[-1]}", "saved") + _yaml("Written", every, yaml)


def _yaml(title: str, files: Sequence[str], yaml: str) -> str:
    if not files:
        return ""
    names = "".join(f"<li>{plain(one)}</li>" for one in files)
    return _part(title, f"<ul class='files'>{names}</ul><pre id='yaml' tabindex='0'>{plain(yaml)}</pre>")
