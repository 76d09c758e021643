"""The rating page's HTML: what a screen shows, and the tools and dialogs beside it. Pure.

Text of others (prompts, answers, guidelines, names) goes through markdown.py or `plain`; nothing else is put in.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from dashboards.markdown import as_html
from dashboards.screen import Note, Screen
from dashboards.texts import Texts
from dashboards.web import plain, progress_bar

OVER = ("done", "paused", "closed")  # stages in which nothing can be chosen
HIDDEN_BUTTONS = (("choose_skip", "choose-skip"), ("go_on", "go-on"), ("undo", "undo"), ("report", "say"))
LONG_ANSWER = 400  # characters; where one is longer both are set smaller, to be compared with less scrolling
LONG_PROMPT = 1_500  # characters; a longer conversation scrolls by itself, so that the answers stay in sight

_ICON = re.compile(r"(\{[^{}\n]{1,40}\})")

# What is stored, whatever the language; a text 'reason_KEY' or 'tag_KEY' says it to the rater.
REASONS = {"cannot_judge": "cannot judge", "language": "language", "same": "same", "broken": "broken"}
TAGS = {
    "wrong": "wrong", "incomplete": "incomplete", "off_topic": "off topic", "too_long": "too long",
    "too_short": "too short", "tone": "tone", "format": "format", "language": "language",
}  # fmt: skip


def note(texts: Texts, note: Note, screen: Screen | None = None) -> str:
    """One line about what was done last. The time makes every answer of the server a new one to the page's script,
    which learns from the other data what is on screen now; without a screen that is what was there before."""
    text = texts(f"note_{note.key}") if note.key else ""
    now = ""
    if screen is not None:
        first = " data-first" if screen.is_first else ""
        now = f' data-stage="{screen.stage}" data-screen="{plain(screen.name)}"{first}'
    return f'<p class="note {note.tone}" data-at="{time.time_ns()}" lang="{texts.language}"{now}>{text}</p>'


def progress(texts: Texts, screen: Screen) -> str:
    """Where the rater is: this pair, how many are saved and left, and at what pace."""
    if screen.stage in ("practice", "explained"):
        title = texts("practice", n=screen.practice[0], total=screen.practice[1])
    elif screen.stage == "done":
        title = texts("all_rated", total=screen.done)
    else:
        title = texts("title") if screen.stage in OVER else texts("pair", n=screen.done + 1)
    counts = [texts("saved_count", done=screen.done), texts("left_count", left=screen.left)]
    if screen.pace_s is not None:
        counts.append(texts("pace", seconds=round(screen.pace_s)))
    bar = progress_bar(
        title, " · ".join([*counts, plain(screen.rater)]), texts("progress_bar"), screen.done, screen.done + screen.left
    )
    return bar + (f'<p class="hint">{texts("practice_hint")}</p>' if screen.stage == "practice" else "")


def pair(texts: Texts, screen: Screen) -> list[str]:
    """Prompt, left answer, right answer, and what there is to say about a calibration pair."""
    long = max(map(len, screen.answers)) > LONG_ANSWER
    return [
        prompt(texts, screen.prompt),
        *(_answer(texts(side), text, long) for side, text in zip(("left", "right"), screen.answers, strict=True)),
        _why(texts, screen),
    ]


def prompt(texts: Texts, turns: Sequence[dict[str, str]]) -> str:
    """The conversation up to the answers: the assistant's turns as Markdown, the others' as they wrote them."""
    shown = "".join(_turn(texts, turn, named=len(turns) > 1) for turn in turns)
    title = texts("conversation" if len(turns) > 1 else "prompt")
    long = sum(len(turn["content"]) for turn in turns) > LONG_PROMPT
    scrolls = f' class="turns scrolls" tabindex="0" role="region" aria-label="{title}"' if long else ' class="turns"'
    return f"<section><h2>{title}</h2><div{scrolls}>{shown}</div></section>"


def _turn(texts: Texts, turn: dict[str, str], named: bool) -> str:
    role = turn["role"]
    known = role in ("system", "user", "assistant", "tool")
    name = f"<h3>{texts.role(role)}</h3>" if named else ""
    content = turn["content"]
    text = _text(content) if role == "assistant" else f'<p class="text">{_unbroken_icons(content.strip())}</p>'
    return f'<div class="turn {role if known else ""}">{name}{text}</div>'


def _unbroken_icons(text: str) -> str:
    """`plain`, with each { icon ; CLASS } kept on one line."""
    parts = ((plain(part), _ICON.fullmatch(part)) for part in _ICON.split(text))
    return "".join(f'<span class="token">{part}</span>' if icon else part for part, icon in parts)


def _text(text: str) -> str:
    """Markdown, and beside it the text as it was written; the page shows one of them."""
    return f'<div class="text shaped">{as_html(text)}</div><pre class="text raw">\n{plain(text)}</pre>'


def _answer(title: str, text: str, long: bool) -> str:
    return f'<section class="answer {"long" if long else "short"}"><h2>{title}</h2>{_text(text)}</section>'


def _why(texts: Texts, screen: Screen) -> str:
    why = screen.why
    if why is None:
        return ""
    chose = texts("you_chose", choice=texts.raw(f"choose_{why.chosen}"))
    meant = texts("expected", choice=texts.raw(f"choose_{why.expected}")) if why.expected else ""
    on = f'<button type="button" class="chief" data-press="go-on">{texts("go_on")}<kbd>↵</kbd></button>'
    return f'<section class="why"><h2>{chose}</h2><p>{meant}</p>{as_html(why.text)}{on}</section>'


def over(texts: Texts, screen: Screen) -> str:
    """Why there is no pair."""
    about = {"rater": screen.rater, "total": screen.done}
    if screen.stage == "done":
        lines = [texts("thanks_done", **about), texts("thanks_next")]
        return _end("✓", texts("thanks", **about), lines)
    if screen.stage == "paused":
        return _end("‖", texts("paused", **about), [texts("paused_text")])
    return _end("✓", texts("closed"), [texts("closed_text", **about)])


def _end(sign: str, title: str, lines: Sequence[str]) -> str:
    shown = "".join(f"<p>{line}</p>" for line in lines)
    return f'<section class="over"><div class="tick" aria-hidden="true">{sign}</div><h2>{title}</h2>{shown}</section>'


# --- tools and dialogs: made once a page, in the rater's language ---------------------------------------------------

# (name of the tool, its key); what it does is in rate.js.
TOOLS = (("skip", "S"), ("edit", "E"), ("tags", "T"), ("undo", "U"), ("guidelines", "G"), ("raw", "R"), ("report", "F"),
         ("suggest", "P"))  # fmt: skip
PRESSED = ' aria-pressed="false"'
SAID_BY_SCRIPT = (
    "saving",
    "lost",
    "back",
    "back_not_saved",
    "offline",
    "pending",
    "pending_edit",
    "left",
    "right",
    "title",
)


def tools(texts: Texts, guidelines: str | None, home: str = "") -> str:
    """The row of tools, the dialogs that they open, and the texts that the page's script says by itself."""
    row = "".join(
        f'<button type="button" data-tool="{name}" aria-keyshortcuts="{key}"{PRESSED if name == "raw" else ""}>'
        f"{texts(name)}<kbd>{key}</kbd></button>"
        for name, key in TOOLS
    )
    link = f'<a href="{plain(home)}">{texts("home")}</a>' if home else ""
    said = "".join(f' data-{name.replace("_", "-")}="{texts(name)}"' for name in SAID_BY_SCRIPT)
    dialogs = "".join(make(texts) for make in (_skip, _edit, _tags, _report, _suggest))
    return (
        f'<p id="pending" role="status"></p><nav aria-label="{texts("tools")}">{row}{link}</nav>'
        f'<div id="texts" hidden{said}></div>{dialogs}{_guidelines(texts, guidelines)}'
    )


def _dialog(name: str, title: str, body: str) -> str:
    first = " tabindex=-1 autofocus" if name == "guidelines" else ""  # long ones are read from the top
    return (
        f'<dialog id="dialog-{name}" aria-labelledby="title-{name}"><form method="dialog">'
        f'<h2 id="title-{name}"{first}>{title}</h2>{body}</form></dialog>'
    )


def _ends(main: str, cancel: str, more: str = "") -> str:
    """The buttons below a dialog. The first submits, so Enter does what it says."""
    return (
        f'<p class="ends"><button type="submit" class="chief" value="go">{main}</button>{more}'
        f'<button type="button" data-close>{cancel}</button></p>'
    )


def _skip(texts: Texts) -> str:
    reasons = "".join(
        f'<button type="button" data-reason="{value}">{texts(f"reason_{key}")}<kbd>{n}</kbd></button>'
        for n, (key, value) in enumerate(REASONS.items(), 1)
    )
    other = (
        f'<label for="skip-other">{texts("skip_other")}</label>'
        '<input id="skip-other" type="text" maxlength="500" autocomplete="off">'
    )
    body = f'<div class="reasons">{reasons}</div>{other}{_ends(texts("skip"), texts("cancel"))}'
    return _dialog("skip", texts("skip_title"), body)


def _which(texts: Texts, name: str, legend: str, places: Sequence[str]) -> str:
    options = "".join(
        f'<label><input type="radio" name="{name}" value="{place}"{" checked" if not n else ""}>{texts(place)}</label>'
        for n, place in enumerate(places)
    )
    return f'<fieldset class="which"><legend>{legend}</legend>{options}</fieldset>'


def _area(name: str, label: str, hint: str, most: int, rows: int) -> str:
    return (
        f'<label for="{name}">{label}</label>'
        f'<textarea id="{name}" rows="{rows}" maxlength="{most}" aria-describedby="{name}-hint"></textarea>'
        f'<p class="hint" id="{name}-hint">{hint}</p>'
    )


def _edit(texts: Texts) -> str:
    drop = f'<button type="button" data-drop-edit>{texts("edit_drop")}</button>'
    body = (
        _which(texts, "edit-place", texts("edit_which"), ("left", "right"))
        + _area("edit-text", texts("edit_text"), texts("edit_hint"), 20_000, 10)
        + _ends(texts("edit_keep"), texts("cancel"), drop)
    )
    return _dialog("edit", texts("edit_title"), body)


def _tags(texts: Texts) -> str:
    known = "".join(
        f'<label><input type="checkbox" value="{value}">{texts(f"tag_{key}")}</label>' for key, value in TAGS.items()
    )
    body = (
        f'<fieldset class="known"><legend class="hint">{texts("tags_hint")}</legend>{known}</fieldset>'
        f'<label for="tags-own">{texts("tags_own")}</label>'
        '<input id="tags-own" type="text" maxlength="200" autocomplete="off">'
        + _ends(texts("tags_keep"), texts("cancel"))
    )
    return _dialog("tags", texts("tags_title"), body)


def _guidelines(texts: Texts, guidelines: str | None) -> str:
    shown = as_html(guidelines if guidelines is not None else texts.raw("default_guidelines"), wrapped=True)
    label = f'<span class="begin">{texts("begin")}</span><span class="done">{texts("close")}</span>'
    body = f'<div class="guide">{shown}</div><p class="ends"><button type="submit" class="chief">{label}</button></p>'
    return _dialog("guidelines", texts("guidelines"), body)


def _report(texts: Texts) -> str:
    body = (
        _which(texts, "report-place", texts("report_which"), ("left", "right", "both"))
        + _area("report-text", texts("report_text"), texts("report_hint"), 2_000, 4)
        + _ends(texts("report_send"), texts("cancel"))
    )
    return _dialog("report", texts("report_title"), body)


def _suggest(texts: Texts) -> str:
    body = _area("suggest-text", texts("suggest_text"), texts("suggest_hint"), 10_000, 6)
    return _dialog("suggest", texts("suggest_title"), body + _ends(texts("suggest_send"), texts("cancel")))
