"""The results page's tables and cards as HTML. Everything that is not ours goes through `plain`: text, never markup."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

from dashboards.results_data import Items, Leaderboard
from dashboards.web import plain
from harness.core.records import RegistryRecord, Version
from harness.error_analysis import Difference, Side
from harness.pipeline.disputes import Dispute
from harness.report.cells import NONE, interval_text, not_scored, unit_text
from harness.stats import figures

BURN = (
    "Items of release decide, so nobody browses them: whoever reads one tunes for it. To open some all the same, on "
    'record, use: ratchet errors PLAN --split release --burn "why". An opened item decides nothing from then on.'
)
HASH = re.compile(r"\b[0-9a-f]{64}\b")  # its first twelve tell it apart; the CSV has all
PLOT_COLUMNS = 2  # panels beside one another: labels keep the size of the text around them
PLOTS = {
    "forest": "Paired differences on release",
    "slopes": "From dev to release",
    "means": "Means on release",
    "costs": "Quality against cost and memory",
    "curves": "Learning curves",
    "tags": "Failures by tag",
}


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], name: str) -> str:
    """Cells are shown as text, whatever they hold. The box takes the focus, so that keys can scroll a wide one."""
    top = "".join(f"<th scope='col'>{plain(str(cell))}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{plain(_text(cell))}</td>' for cell in row)}</tr>" for row in rows)
    whole = f"<table id='{plain(name)}'><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    label = plain(f"table: {name.replace('-', ' ')}")
    return f"<div class='scroll' tabindex='0' role='group' aria-label='{label}'>{whole}</div>"


def _text(value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return HASH.sub(lambda found: f"{found[0][:12]}…", text)


def note(text: str, tone: str = "calm") -> str:
    return f"<p class='note {tone}'>{plain(text)}</p>"


def links(page: dict[str, str], *files: tuple[str, str]) -> str:
    """A link to this very view, and to its table as a file: (shown, what /table/….csv calls it)."""
    where = plain(urlencode(page))
    view = f"<a class='here' href='?{where}'>Link to this view</a>"
    more = "".join(f" · <a href='table/{name}.csv?{where}' download>{plain(text)}</a>" for text, name in files)
    return f"<p class='links'>{view}{more}</p>"


# --- leaderboard ------------------------------------------------------------------------------------------------

LEADERBOARD_HEAD = ("subject", "run", "mean", "items", "clusters", "not scored", "evaluation")


def leaderboard_rows(board: Leaderboard) -> list[tuple[str, ...]]:
    return [
        (
            line.subject,
            line.run_id or NONE,
            interval_text(line.mean),
            str(line.mean.items),
            str(line.mean.clusters),
            not_scored(line.counts),
            line.eval_id,
        )
        for line in board.lines
    ]


def leaderboard(board: Leaderboard) -> str:
    if not board.lines:
        return note(f"Nothing of {board.metric} was evaluated on {board.split}.")
    older = f" {board.older} evaluations of other versions of the evalset are left out." if board.older else ""
    title = f"{board.metric} on {board.split}: {unit_text(board.info)}, 95 % intervals.{older}"
    bars = "".join(_bar(board, place) for place in range(len(board.lines)))
    shown = table(LEADERBOARD_HEAD, leaderboard_rows(board), "leaderboard")
    where = "For looking. Verdicts rest on paired differences; items of release are in the figures, never on this page."
    return f"<p class='soft'>{plain(title)}</p><div class='bars'>{bars}</div>{shown}<p class='soft'>{where}</p>"


def _bar(board: Leaderboard, place: int) -> str:
    """An interval as a bar between the lowest and the highest bound on the board."""
    means = [line.mean for line in board.lines]
    ends = [end for mean in means for end in (mean.low, mean.high, mean.estimate) if end is not None]
    low, width = min(ends), (max(ends) - min(ends)) or 1.0
    mean = means[place]
    if mean.estimate is None:
        return ""
    left, right = (100 * ((end if end is not None else mean.estimate) - low) / width for end in (mean.low, mean.high))
    middle = 100 * (mean.estimate - low) / width
    return (
        f"<span class='name'>{plain(board.lines[place].subject)}</span><span class='track' aria-hidden='true'>"
        f"<i style='left:{left:.2f}%;width:{max(right - left, 0.3):.2f}%'></i><b style='left:{middle:.2f}%'></b></span>"
        f"<span class='figure'>{plain(interval_text(mean))}</span>"
    )


# --- runs -------------------------------------------------------------------------------------------------------


def curves(run_ids: Sequence[str]) -> str:
    """Their learning curves in one picture."""
    where = urlencode({"runs": ",".join(run_ids)})
    return _figure("Learning curves", f"plot/curves.svg?{where}", f"plot/curves.png?{where}")


def side_by_side(rows: Sequence[tuple[str, list[Any]]], labels: Sequence[str]) -> str:
    return table(("setting", *labels), [(key, *values) for key, values in rows], "runs")


# --- items ------------------------------------------------------------------------------------------------------


def sealed(found: Items) -> str:
    """What may be said of release: how many items, in which buckets."""
    rows = [(label, *(str(counts.get(name, 0)) for name in BUCKETS)) for label, counts in found.sealed.items()]
    return note(BURN) + table(("subject", *(f"{name} on release" for name in BUCKETS)), rows, "sealed")


def counts(found: Items, subjects: Sequence[str], page: int, pages: int) -> str:
    """What the first subject fixed and broke of the second, in a line."""
    named = ", ".join(f"{number} {kind}" for kind, number in found.counts.items() if number)
    text = f"{subjects[0]} against {subjects[1]}: {named or 'nothing to compare'}. Page {page} of {pages}."
    return f"<p class='soft' id='outcome-counts'>{plain(text)}</p>"


BUCKETS = ("scored", "truncated", "errored", "unscorable")


def cards(found: Items, shown: Sequence[Difference]) -> str:
    if not shown:
        return note("No item of this kind.")
    return "".join(_card(found, one) for one in shown)


def _card(found: Items, one: Difference) -> str:
    change = "" if one.change is None else f" {figures(one.change, sign=True)[0]}"
    tags = "".join(f"<span class='tag'>{plain(tag)}</span>" for tag in one.tags)
    tags += "".join(f"<span class='tag suggested' title='suggested'>{plain(tag)}?</span>" for tag in one.suggested)
    sides = "".join(_side(side) for side in (one.against, one.candidate, *found.others.get(one.item_id, [])))
    return (
        f"<article class='item' data-item='{plain(one.item_id)}'><header><b>{plain(one.item_id)}</b>"
        f"<span class='outcome {one.outcome}'>{one.outcome}{change}</span>{tags}</header>"
        f"<p class='text prompt'>{plain(one.prompt)}</p><div class='sides'>{sides}</div></article>"
    )


def _side(side: Side) -> str:
    scored = NONE if side.value is None else figures(side.value)[0]
    thinking = f"<details><summary>thinking</summary><p class='text'>{plain(side.thinking)}</p></details>"
    evidence = [side.explanation, f"extracted: {side.extracted}" if side.extracted else "", side.error or ""]
    below = "".join(f"<p class='soft'>{plain(text)}</p>" for text in evidence if text)
    bucket = "" if side.bucket == "scored" else f", {side.bucket}"
    return (
        f"<section><h3>{plain(side.subject)} <span class='soft'>{scored}{bucket}</span></h3>"
        f"{thinking if side.thinking else ''}<p class='text'>{plain(side.answer)}</p>{below}</section>"
    )


def tags(found: Items) -> str:
    """Failed items per tag, and the most that fixing each could bring."""
    if not found.tags:
        return note("No tag yet: choose an item, and say in a word or two what is wrong with it.")
    rows = [
        (
            one.tag,
            f"{one.items} of {one.failures}",
            f"{100 * one.share:.0f} %",
            interval_text(one.ceiling, sign=True) if one.ceiling else NONE,
            str(one.suggested),
        )
        for one in found.tags
    ]
    return table(("tag", "failed items", "share", "fixing all would bring", "only suggested"), rows, "tags")


# --- versions ---------------------------------------------------------------------------------------------------


MOVES_HEAD = ("when", "alias", "what", "from", "to", "verdict", "who", "why")


def history(
    record: RegistryRecord, verdicts: dict[str, list[tuple[str, str, str]]], disputes: Sequence[Dispute] = ()
) -> str:
    """Which version each alias served when and why, what every report said of each version's run, and who disputes
    that."""
    number = {name: f"v{version}" for name, version in record.aliases.items()}
    now = note(", ".join(f"{record.name}@{alias} serves {version}" for alias, version in number.items()) or "No alias.")
    made = [
        (
            f"{record.name}@v{one.version}",
            one.run_id,
            at_promotion(one),
            "; ".join(f"{verdict} in {plan}" for _, plan, verdict in verdicts.get(one.run_id, [])) or NONE,
            one.created,
        )
        for one in reversed(record.versions)
    ]
    return (
        now
        + table(MOVES_HEAD, moves(record), "moves")
        + table(("version", "run", "verdict at promotion", "verdicts of reports", "made"), made, "versions")
        + _disputed(disputes)
    )


def _disputed(found: Sequence[Dispute]) -> str:
    if not found:
        return ""
    rows = [(one.at, one.run_id, one.plan_id, one.who, one.text or "(words erased)") for one in found]
    return table(("disputed", "run", "verdict of", "who", "why"), rows, "disputes")


def moves(record: RegistryRecord) -> list[tuple[str, ...]]:
    """The history of all aliases, newest first: what each change was, and the verdict of the version that it led to."""
    known = {one.version: at_promotion(one) for one in record.versions}
    rows: list[tuple[str, ...]] = []
    served: set[tuple[str, int | None]] = set()
    for move in record.history:
        back = (move.alias, move.after) in served and (move.before or 0) > (move.after or 0)
        what = move.kind if move.kind != "move" else "rollback" if back else "promotion"
        served |= {(move.alias, move.before), (move.alias, move.after)}
        verdict = known.get(move.after or 0, NONE)
        name = f"{record.name}@{move.alias}"
        rows.append((move.at, name, what, _version(move.before), _version(move.after), verdict, move.who, move.why))
    return rows[::-1]


def at_promotion(one: Version) -> str:
    """The verdict that a version was made with, or why it needed none."""
    return f"forced: {one.forced_reason}" if one.forced_reason else one.verdict or NONE


def _version(number: int | None) -> str:
    return NONE if number is None else f"v{number}"


# --- plots ------------------------------------------------------------------------------------------------------


def plots(plan_id: str, names: Iterable[str]) -> str:
    """Pictures as files of their own: what an SVG holds cannot act inside an <img>."""
    where = urlencode({"plan": plan_id})
    found = [_figure(PLOTS[name], f"plot/{name}.svg?{where}", f"plot/{name}.png?{where}") for name in names]
    whole = f"<p class='links'><a href='report/{plain(plan_id)}' target='_blank'>The whole report</a></p>"
    return whole + ("".join(found) or note("This plan has nothing to draw."))


def _figure(title: str, svg: str, png: str) -> str:
    return (
        f"<figure><figcaption>{plain(title)} <a href='{plain(png)}' download>PNG</a></figcaption>"
        f"<img alt='{plain(title)}' src='{plain(svg)}'></figure>"
    )
