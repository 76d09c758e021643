"""The writing page: one task a screen, the draft beside a text box; or somebody's text to accept or send back.

Drafts, prompts and reasons are untrusted: they are shown as safe Markdown or escaped. No state is kept in the page but
its ticket; what was typed and not saved is kept by the browser (static/write.js), for the ticket it belongs to.
"""

from __future__ import annotations

import difflib
import html
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from dashboards.doors import Door
from dashboards.markdown import as_html
from dashboards.web import complain, css, html_part, no_templates, plain, progress_bar, script, theme
from dashboards.write_desk import Said, Sheet, WriteDesk
from harness.core.errors import RatchetError
from harness.people import Refused

OUTPUTS_BELOW_NOTE = 11
WORDS_COMPARED = 1_500  # of a draft and of a text; more take seconds, and are shown without what changed

REFUSED = Said("Not saved: you are not signed in any more, or this page is not for you. Sign in in another tab, and "
               "press again: what you typed stays here.", "error", keep=True)  # fmt: skip
UNREADABLE = Said("Not saved: the server cannot read this campaign now. What you typed stays here.", "error", keep=True)


def look() -> dict[str, Any]:
    """Theme, styles and script, as mount_gradio_app takes them."""
    return {
        "theme": theme(),
        "css": css("markdown.css", "saving.css", "write.css"),
        "head": script("saving.js", "write.js"),
    }


def build(desk: WriteDesk, door: Door) -> gr.Blocks:
    """The page of one campaign. `queue=False` throughout: a queued event is lost when its tab closes."""
    with gr.Blocks(title="Write answers", analytics_enabled=False) as page:
        progress, note = html_part("progress"), html_part("note")
        with gr.Column(elem_id="desk", visible=False) as column:
            prompt = html_part("prompt")
            with gr.Row(elem_id="sheets"):
                draft = html_part("draft")
                with gr.Column(elem_id="mine"):
                    text = gr.Textbox(label="Your text", elem_id="text", lines=10, max_lines=30, interactive=True)
                    reason = gr.Textbox(label="Why you send it back", elem_id="reason", lines=2, interactive=True)
            with gr.Row(elem_id="choices"):
                save = gr.Button("Save", elem_id="do-save")
                accept = gr.Button("Accept", elem_id="do-accept")
                send_back = gr.Button("Send back", elem_id="do-send-back")
                skip = gr.Button("Skip", elem_id="do-skip")
            with gr.Accordion("How to write and to read", open=False, elem_id="guidelines"):
                gr.Markdown(desk.guidelines)  # sanitised, unlike gr.HTML
        over = html_part("over")
        ticket = gr.Textbox(visible="hidden", elem_id="ticket", label="ticket", interactive=True)
        quiet: dict[str, Any] = {
            "outputs": [note, progress, column, prompt, draft, text, reason, save, accept, send_back, over, ticket],
            "queue": False,
            "trigger_mode": "multiple",  # "once" swallows a press while the last one is under way; the desk counts once
            "show_progress": "hidden",
            "api_visibility": "private",
        }

        def open_page(request: gr.Request) -> list[Any]:
            return _answered(door, request, desk.sheet)

        def on_save(held: str, text: str, request: gr.Request) -> list[Any]:
            return _answered(door, request, lambda who: desk.write(who, held, text))

        def on_accept(held: str, text: str, request: gr.Request) -> list[Any]:
            return _answered(door, request, lambda who: desk.accept(who, held, text))

        def on_send_back(held: str, text: str, reason: str, request: gr.Request) -> list[Any]:
            return _answered(door, request, lambda who: desk.send_back(who, held, text, reason))

        def on_skip(held: str, reason: str, request: gr.Request) -> list[Any]:
            return _answered(door, request, lambda who: desk.skip(who, held, reason))

        page.load(open_page, **quiet)
        save.click(on_save, inputs=[ticket, text], **quiet)
        accept.click(on_accept, inputs=[ticket, text], **quiet)
        send_back.click(on_send_back, inputs=[ticket, text, reason], **quiet)
        skip.click(on_skip, inputs=[ticket, reason], **quiet)
    return page


def _answered(door: Door, request: gr.Request, act: Callable[[str], Sheet]) -> list[Any]:
    """What to show after `act` by whoever is there. Where it fails the page stays as it is, with a note on top."""
    try:
        sheet = act(door.require(request))
    except Refused:
        return [_note(REFUSED), *[gr.skip()] * OUTPUTS_BELOW_NOTE]
    except RatchetError as error:
        complain(error)
        return [_note(UNREADABLE), *[gr.skip()] * OUTPUTS_BELOW_NOTE]
    if sheet.said.keep:
        return [_note(sheet.said), _progress(sheet), *[gr.skip()] * (OUTPUTS_BELOW_NOTE - 1)]
    return _render(sheet)


def _render(sheet: Sheet) -> list[Any]:
    """Values for the outputs of `build`, in their order, the note first."""
    reading = sheet.step == "review"
    return [
        _note(sheet.said, sheet),
        _progress(sheet),
        gr.Column(visible=bool(sheet.ticket)),
        _prompt(sheet.prompt),
        _draft(sheet),
        gr.Textbox(value=sheet.text, label="Somebody's text" if reading else "Your text"),
        gr.Textbox(value="", visible=reading),
        gr.Button(visible=not reading),
        gr.Button(visible=reading),
        gr.Button(visible=reading),
        _over(sheet) if sheet.over else "",
        sheet.ticket,
    ]


def _note(said: Said, sheet: Sheet | None = None) -> str:
    """The time makes every answer of the server a new one to the page's script, whatever it says. Where there is a new
    sheet, the script learns whose it is, which text was saved, and what the box starts with."""
    about = "" if sheet is None else "".join(
        f' data-{name}="{plain(value)}"'
        for name, value in (("who", sheet.who), ("ticket", sheet.ticket), ("saved", sheet.saved), ("start", sheet.text))
    )  # fmt: skip
    return f'<p class="note {said.tone}" data-at="{time.time_ns()}"{about}>{plain(said.text)}</p>'


def _progress(sheet: Sheet) -> str:
    at = sheet.progress
    what = "Read somebody's text" if sheet.step == "review" else "Correct the draft"
    title = what if sheet.ticket else "Nothing for you now"
    counts = (
        f"{at.mine} saved by you · {at.accepted} of {at.total} accepted · {at.to_write} to write, "
        f"{at.to_review} to read · {plain(sheet.who)}"
    )
    return progress_bar(title, counts, "Texts accepted", at.accepted, at.total)


def _prompt(turns: Sequence[dict[str, str]]) -> str:
    shown = [
        (f"<h3>{plain(turn['role'].capitalize())}</h3>" if len(turns) > 1 else "") + as_html(turn["content"])
        for turn in turns
    ]
    return f"<section><h2>Prompt</h2>{''.join(shown)}</section>"


def _draft(sheet: Sheet) -> str:
    """The draft; to a reader, with what became of it marked; to whoever writes again, under the reader's reason."""
    sent_back = f'<p class="sent-back">Sent back: {plain(sheet.reason)}</p>' if sheet.reason else ""
    if sheet.step == "write":
        return f'<section class="sheet">{sent_back}<h2>Draft</h2>{as_html(sheet.draft)}</section>'
    return f'<section class="sheet"><h2>What changed from the draft</h2>{_changes(sheet.draft, sheet.text)}</section>'


def _changes(draft: str, text: str) -> str:
    """Both texts in one, word by word: <del> only in the draft, <ins> only in the text."""
    before, after = (re.findall(r"\s+|[^\s]+", one) for one in (draft, text))
    if max(len(before), len(after)) > WORDS_COMPARED:
        return as_html(draft)
    if before == after:
        return f'<p class="soft">Nothing: the draft was left as it is.</p>{as_html(draft)}'
    parts = []
    for tag, i, j, k, m in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            parts.append(html.escape("".join(before[i:j])))
            continue
        parts += [f"<del>{html.escape(''.join(before[i:j]))}</del>"] if i < j else []
        parts += [f"<ins>{html.escape(''.join(after[k:m]))}</ins>"] if k < m else []
    return f'<div class="md written">{no_templates("".join(parts))}</div>'


def _over(sheet: Sheet) -> str:
    return f'<section class="over"><h2>Thank you, {plain(sheet.who)}</h2><p>{plain(sheet.over)}</p></section>'
