"""The rating page: one pair a screen, two blind answers side by side, five choices.

Answers come from models and are shown as they are: escaped, never as HTML or Markdown, so nothing in them runs, loads
or changes how the page looks. Every handler asks who is there itself; no state is kept in the page but its ticket.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from dashboards.desk import Desk, Note, Screen
from dashboards.doors import Guests
from dashboards.web import STATIC, css, plain, theme
from harness.core.errors import RatchetError
from harness.core.rating import Choice

# In focus order. The key of each is in rate.js.
BUTTONS: tuple[tuple[Choice, str], ...] = (
    ("left", "Left is better"),
    ("tie", "Tie"),
    ("both_bad", "Both bad"),
    ("right", "Right is better"),
    ("skip", "Skip"),
)

OUTPUTS_BELOW_NOTE = 7
LONG_ANSWER = 400  # characters; where one is longer both are set smaller, to be compared with less scrolling

_ICON = re.compile(r"(\{[^{}\n]{1,40}\})")


def look() -> dict[str, Any]:
    """Theme, styles and keyboard script, as mount_gradio_app takes them."""
    return {
        "theme": theme(),
        "css": css("rate.css"),
        "head": f"<script>{(STATIC / 'rate.js').read_text(encoding='utf-8')}</script>",
    }


def build(desk: Desk, links: Guests) -> gr.Blocks:
    """The page of one campaign. `queue=False` throughout: a queued event is lost when its tab closes."""
    with gr.Blocks(title="Rate answers", analytics_enabled=False) as page:
        progress, note = _html("progress"), _html("note")
        with gr.Column(elem_id="desk", visible=False) as column:
            prompt = _html("prompt")
            with gr.Row(elem_id="answers"):
                left, right = _html("left"), _html("right")
            with gr.Row(elem_id="choices"):
                buttons = {choice: gr.Button(label, elem_id=f"choose-{choice}") for choice, label in BUTTONS}
            with gr.Accordion("How to judge", open=False, elem_id="guidelines"):
                gr.Markdown(desk.guidelines)  # sanitised, unlike gr.HTML
        thanks = _html("thanks")
        ticket = gr.Textbox(visible="hidden", elem_id="ticket", label="ticket", interactive=True)
        outputs = [note, progress, column, prompt, left, right, thanks, ticket]

        def open_page(request: gr.Request) -> list[Any]:
            return _answered(links, request, desk.screen)

        def chooses(choice: Choice) -> Callable[[str, gr.Request], list[Any]]:
            def choose(held: str, request: gr.Request) -> list[Any]:  # no partial: Gradio could not read its types
                return _answered(links, request, lambda rater: desk.choose(rater, held, choice))

            return choose

        quiet: dict[str, Any] = {
            "outputs": outputs,
            "queue": False,
            # Gradio's "once" swallows a press until the last one is over, a moment after its answer is on the page: the
            # press would get no word back. Every press is sent; the server counts a pair once.
            "trigger_mode": "multiple",
            "show_progress": "hidden",
            "api_visibility": "private",
        }
        page.load(open_page, **quiet)
        for choice, button in buttons.items():
            button.click(chooses(choice), inputs=[ticket], **quiet)
    return page


def _html(name: str) -> gr.HTML:
    return gr.HTML("", elem_id=name, js_on_load=None, apply_default_css=False)


def _answered(links: Guests, request: gr.Request, act: Callable[[str], Screen]) -> list[Any]:
    """What to show after `act` by whoever is there. Where it fails the page stays as it is, with a note on top.

    Files that cannot be read are the campaign owner's to hear of in full, not the rater's.
    """
    try:
        rater = request.username
        if not rater or rater not in links.raters():
            note = Note("Not saved: your link has stopped working. Ask for a new one.", "error")
        else:
            return _render(act(rater))
    except RatchetError as error:
        print(f"error: {error.one_line()}", file=sys.stderr, flush=True)
        note = Note("Not saved: the server cannot read this campaign now. Tell whoever sent you the link.", "error")
    return [_note(note), *[gr.skip()] * OUTPUTS_BELOW_NOTE]


def _render(screen: Screen) -> list[Any]:
    """Values for the outputs of `build`, in their order, the note first."""
    over = not screen.ticket
    long = max(len(screen.left), len(screen.right)) > LONG_ANSWER
    return [
        _note(screen.note),
        _progress(screen),
        gr.Column(visible=not over),
        _prompt(screen.prompt),
        _answer("Left", "1", screen.left, long),
        _answer("Right", "2", screen.right, long),
        _thanks(screen) if over else "",
        screen.ticket,
    ]


def _progress(screen: Screen) -> str:
    place = f"Pair {screen.done + 1} of {screen.total}" if screen.ticket else f"All {screen.total} rated"
    share = 100 * screen.done / max(screen.total, 1)
    return (
        f'<div class="bar-line"><h1>{place}</h1>'
        f'<span class="count">{screen.done} saved · {plain(screen.rater)}</span></div>'
        f'<div class="bar" role="progressbar" aria-label="Pairs rated" aria-valuemin="0" aria-valuenow="{screen.done}" '
        f'aria-valuemax="{screen.total}"><i style="width: {share:.2f}%"></i></div>'
    )


def _note(note: Note) -> str:
    """The time makes every answer of the server a new one to the page's script, whatever it says."""
    return f'<p class="note {note.tone}" data-at="{time.time_ns()}">{plain(note.text)}</p>'


def _prompt(turns: Sequence[dict[str, str]]) -> str:
    shown = [
        (f"<h3>{plain(turn['role'].capitalize())}</h3>" if len(turns) > 1 else "")
        + f'<p class="text">{_unbroken_icons(turn["content"].strip())}</p>'
        for turn in turns
    ]
    return f"<section><h2>Prompt</h2>{''.join(shown)}</section>"


def _unbroken_icons(text: str) -> str:
    """`plain`, with each { icon ; CLASS } kept on one line."""
    parts = ((plain(part), _ICON.fullmatch(part)) for part in _ICON.split(text))
    return "".join(f'<span class="token">{part}</span>' if icon else part for part, icon in parts)


def _answer(side: str, key: str, text: str, long: bool) -> str:
    return (
        f'<section class="answer {"long" if long else "short"}"><h2>{side}<kbd>{key}</kbd></h2>'
        f'<p class="text">{plain(text.strip())}</p></section>'
    )


def _thanks(screen: Screen) -> str:
    return (
        '<section class="thanks"><div class="tick" aria-hidden="true">✓</div>'
        f"<h2>Thank you, {plain(screen.rater)}</h2>"
        f"<p>You rated all {screen.total} pairs, and every choice is saved. You can close this page.</p>"
        "<p>Your ratings become the examples that the next round learns from.</p></section>"
    )
