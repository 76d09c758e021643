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
from dashboards.texts import I18N, Texts, texts_for
from dashboards.web import complain, css, html_part, no_templates, plain, progress_bar, script, theme
from dashboards.write_desk import MAX_REASON, MAX_TEXT, Said, Sheet, WriteDesk
from harness.core.errors import RatchetError
from harness.people import Refused

OUTPUTS_BELOW_NOTE = 11
SAID_BY_SCRIPT = {"title": "write_title", "restored": "write_restored", "saving": "saving", "lost": "write_lost"}
WORDS_COMPARED = 1_500  # of a draft and of a text; more take seconds, and are shown without what changed

REFUSED, UNREADABLE = Said("no_access", "error", keep=True), Said("unreadable", "error", keep=True)


def look() -> dict[str, Any]:
    """Theme, styles, script and languages, as mount_gradio_app takes them."""
    return {
        "theme": theme(),
        "css": css("markdown.css", "saving.css", "write.css"),
        "head": script("saving.js", "write.js"),
        "i18n": I18N,
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
                    text = _box("write_yours", "text", lines=10, max_lines=30)
                    reason = _box("write_reason", "reason", lines=2)
            with gr.Row(elem_id="choices"):
                save = gr.Button(I18N("write_save"), elem_id="do-save")
                accept = gr.Button(I18N("write_accept"), elem_id="do-accept")
                send_back = gr.Button(I18N("write_send_back"), elem_id="do-send-back")
                skip = gr.Button(I18N("write_skip"), elem_id="do-skip")
            with gr.Accordion(I18N("write_how"), open=False, elem_id="guidelines"):
                guidelines = gr.Markdown()  # sanitised, unlike gr.HTML
        over = html_part("over")
        ticket = _box("ticket", "ticket", visible="hidden")
        outputs = [note, progress, column, prompt, draft, text, reason, save, accept, send_back, over, ticket]
        quiet: dict[str, Any] = {
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

        def on_guidelines(request: gr.Request) -> str:
            return _guidelines(desk, door, request)

        page.load(open_page, None, outputs, **quiet)
        save.click(on_save, [ticket, text], outputs, **quiet)
        accept.click(on_accept, [ticket, text], outputs, **quiet)
        send_back.click(on_send_back, [ticket, text, reason], outputs, **quiet)
        skip.click(on_skip, [ticket, reason], outputs, **quiet)
        page.load(on_guidelines, None, [guidelines], **quiet)
    return page


def _box(label: str, name: str, **more: Any) -> gr.Textbox:
    return gr.Textbox(label=I18N(label), elem_id=name, interactive=True, **more)


def _guidelines(desk: WriteDesk, door: Door, request: gr.Request) -> str:
    texts = texts_for(request)
    try:
        door.require(request)
    except Refused:
        return texts.raw("said_no_access")
    own = desk.guidelines(texts.language)
    return texts.raw("write_guidelines") if own is None else own


def _answered(door: Door, request: gr.Request, act: Callable[[str], Sheet]) -> list[Any]:
    """What to show after `act` by whoever is there. Where it fails the page stays as it is, with a note on top."""
    texts = texts_for(request)
    try:
        sheet = act(door.require(request))
    except Refused:
        return [_note(texts, REFUSED), *[gr.skip()] * OUTPUTS_BELOW_NOTE]
    except RatchetError as error:
        complain(error)
        return [_note(texts, UNREADABLE), *[gr.skip()] * OUTPUTS_BELOW_NOTE]
    if sheet.said.keep:
        return [_note(texts, sheet.said), _progress(texts, sheet), *[gr.skip()] * (OUTPUTS_BELOW_NOTE - 1)]
    return _render(texts, sheet)


def _render(texts: Texts, sheet: Sheet) -> list[Any]:
    """Values for the outputs of `build`, in their order, the note first."""
    reading = sheet.step == "review"
    return [
        _note(texts, sheet.said, sheet),
        _progress(texts, sheet),
        gr.Column(visible=bool(sheet.ticket)),
        _prompt(texts, sheet.prompt),
        _draft(texts, sheet),
        gr.Textbox(value=sheet.text, label=texts.raw("write_others" if reading else "write_yours")),
        gr.Textbox(value="", visible=reading),
        gr.Button(visible=not reading),
        gr.Button(visible=reading),
        gr.Button(visible=reading),
        _over(texts, sheet) if sheet.over else "",
        sheet.ticket,
    ]


def _note(texts: Texts, said: Said, sheet: Sheet | None = None) -> str:
    """The time makes every answer of the server a new one to the page's script, whatever it says. Where there is a new
    sheet, the script learns whose it is, which text was saved, and what the box starts with. It also learns what it may
    have to say by itself."""
    about = {name: texts(key) for name, key in SAID_BY_SCRIPT.items()}
    if sheet is not None:
        told = {"who": sheet.who, "ticket": sheet.ticket, "saved": sheet.saved, "start": sheet.text}
        about |= {name: plain(value) for name, value in told.items()}
    data = "".join(f' data-{name}="{value}"' for name, value in about.items())
    limits = {"text": texts.number(MAX_TEXT), "reason": texts.number(MAX_REASON)}
    text = texts(f"said_{said.key}", **limits) if said.key else ""
    return f'<p class="note {said.tone}" data-at="{time.time_ns()}" lang="{texts.language}"{data}>{text}</p>'


def _progress(texts: Texts, sheet: Sheet) -> str:
    at = sheet.progress
    what = "write_read" if sheet.step == "review" else "write_correct"
    title = texts(what if sheet.ticket else "write_nothing")
    counts = texts("write_counts", mine=at.mine, accepted=at.accepted, total=at.total, to_write=at.to_write,
                   to_review=at.to_review)  # fmt: skip
    return progress_bar(title, f"{counts} · {plain(sheet.who)}", texts("write_bar"), at.accepted, at.total)


def _prompt(texts: Texts, turns: Sequence[dict[str, str]]) -> str:
    shown = [
        (f"<h3>{texts.role(turn['role'])}</h3>" if len(turns) > 1 else "") + as_html(turn["content"]) for turn in turns
    ]
    return f"<section><h2>{texts('prompt')}</h2>{''.join(shown)}</section>"


def _draft(texts: Texts, sheet: Sheet) -> str:
    """The draft; to a reader, with what became of it marked; to whoever writes again, under the reader's reason."""
    sent_back = f'<p class="sent-back">{texts("write_sent_back", reason=sheet.reason)}</p>' if sheet.reason else ""
    if sheet.step == "write":
        return f'<section class="sheet">{sent_back}<h2>{texts("write_draft")}</h2>{as_html(sheet.draft)}</section>'
    changed = _changes(texts, sheet.draft, sheet.text)
    return f'<section class="sheet"><h2>{texts("write_changed")}</h2>{changed}</section>'


def _changes(texts: Texts, draft: str, text: str) -> str:
    """Both texts in one, word by word: <del> only in the draft, <ins> only in the text."""
    before, after = (re.findall(r"\s+|[^\s]+", one) for one in (draft, text))
    if max(len(before), len(after)) > WORDS_COMPARED:
        return as_html(draft)
    if before == after:
        return f'<p class="soft">{texts("write_unchanged")}</p>{as_html(draft)}'
    parts = []
    for tag, i, j, k, m in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            parts.append(html.escape("".join(before[i:j])))
            continue
        parts += [f"<del>{html.escape(''.join(before[i:j]))}</del>"] if i < j else []
        parts += [f"<ins>{html.escape(''.join(after[k:m]))}</ins>"] if k < m else []
    return f'<div class="md written">{no_templates("".join(parts))}</div>'


def _over(texts: Texts, sheet: Sheet) -> str:
    at = sheet.progress
    counts = {"total": at.total, "to_write": at.to_write, "to_review": at.to_review, "skipped": at.skipped}
    why = texts(f"write_over_{sheet.over}", **counts)
    return f'<section class="over"><h2>{texts("thanks", rater=sheet.who)}</h2><p>{why}</p></section>'
