"""The rating page: one pair a screen, two blind answers side by side, by keyboard, mouse or thumb.

Every handler asks who is there itself; no state is kept in the page but its ticket. What goes with a choice (tags, a
better answer, a reason to skip) is collected by rate.js and sent with it. What the page shows is made in rate_view.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from dashboards import rate_view as view
from dashboards.desk import Desk
from dashboards.doors import Guests
from dashboards.screen import Note, Screen
from dashboards.texts import I18N, Texts, texts_for
from dashboards.web import complain, css, html_part, script, theme
from harness.core.errors import RatchetError
from harness.core.rating import Choice

# In focus order, which is the order on the screen. The keys are in rate.js.
CHOICES: tuple[Choice, ...] = ("left", "tie", "both_bad", "right")
OUTPUTS_BELOW_NOTE = 8
DeskOf = Callable[[gr.Request], Desk]
NO_LINK, FAILED = Note("no_link", "error"), Note("failed", "error")


def look() -> dict[str, Any]:
    """Theme, styles, keyboard script and languages, as mount_gradio_app takes them."""
    return {
        "theme": theme(),
        "css": css("markdown.css", "saving.css", "rate.css"),
        "head": script("saving.js", "rate.js"),
        "i18n": I18N,
    }


def build(desk_of: DeskOf, guests: Guests, home: str = "") -> gr.Blocks:
    """The page of every campaign: `desk_of` says whose desk a request is at; `home` is where a link leads back to.
    `queue=False` throughout: a queued event is lost when its tab closes."""
    with gr.Blocks(title="Rate answers", analytics_enabled=False) as page:
        progress, note = html_part("progress"), html_part("note")
        with gr.Column(elem_id="desk", visible=False) as column:
            prompt = html_part("prompt")
            with gr.Row(elem_id="answers"):
                left, right = html_part("left"), html_part("right")
            why = html_part("why")
            with gr.Row(elem_id="choices"):
                buttons = {choice: _button(f"choose_{choice}", f"choose-{choice}") for choice in CHOICES}
        over, tools = html_part("over"), html_part("tools")
        # Pressed by rate.js, from its dialogs.
        skip, go_on, undo, say = (_button(*names, hidden=True) for names in view.HIDDEN_BUTTONS)
        ticket, details = _hidden("ticket"), _hidden("details")
        outputs = [note, progress, column, prompt, left, right, why, over, ticket]

        def open_page(request: gr.Request) -> list[Any]:
            texts = texts_for(request)
            return [*screen(request), view.tools(texts, desk_of(request).guidelines(texts.language), home)]

        def screen(request: gr.Request) -> list[Any]:
            return _answered(guests, request, lambda rater: desk_of(request).screen(rater))

        def chooses(choice: Choice) -> Callable[[str, str, gr.Request], list[Any]]:
            def choose(held: str, given: str, request: gr.Request) -> list[Any]:  # no partial: Gradio reads its types
                return _answered(guests, request, lambda rater: desk_of(request).choose(rater, held, choice, given))

            return choose

        def take_back(held: str, request: gr.Request) -> list[Any]:
            return _answered(guests, request, lambda rater: desk_of(request).undo(rater, held))

        def tell(held: str, said: str, request: gr.Request) -> list[Any]:
            return _answered(guests, request, lambda rater: desk_of(request).say(rater, held, said))

        quiet: dict[str, Any] = {
            "queue": False,
            # Gradio's "once" swallows a press until the last one is over, a moment after its answer is on the page: the
            # press would get no word back. Every press is sent; the server counts a pair once.
            "trigger_mode": "multiple",
            "show_progress": "hidden",
            "api_visibility": "private",
        }
        page.load(open_page, outputs=[*outputs, tools], **quiet)
        for choice, button in (*buttons.items(), ("skip", skip)):
            button.click(
                chooses(choice), [ticket, details], outputs, js="(held, _) => [held, ratchet.details()]", **quiet
            )
        go_on.click(screen, None, outputs, **quiet)
        undo.click(take_back, [ticket], outputs, **quiet)
        say.click(tell, [ticket, details], outputs, js="(held, _) => [held, ratchet.said()]", **quiet)
    return page


def _button(label: str, name: str, hidden: bool = False) -> gr.Button:
    return gr.Button(I18N(label), elem_id=name, visible="hidden" if hidden else True)


def _hidden(name: str) -> gr.Textbox:
    return gr.Textbox(visible="hidden", elem_id=name, label=I18N(name), interactive=True)


def _answered(guests: Guests, request: gr.Request, act: Callable[[str], Screen | Note]) -> list[Any]:
    """What to show after `act` by whoever is there. Where it fails the page stays as it is, with a note on top.

    Files that cannot be read are the campaign owner's to hear of in full, not the rater's.
    """
    texts = texts_for(request)
    try:
        rater = request.username
        if not rater or rater not in guests.raters():
            found: Screen | Note = NO_LINK
        else:
            found = act(rater)
    except RatchetError as error:
        complain(error)
        found = FAILED
    return _only(texts, found) if isinstance(found, Note) else _whole(texts, found)


def _only(texts: Texts, note: Note) -> list[Any]:
    return [view.note(texts, note), *[gr.skip()] * OUTPUTS_BELOW_NOTE]


def _whole(texts: Texts, screen: Screen) -> list[Any]:
    """Values for the outputs of `build`, in their order, the note first."""
    over = screen.stage in view.OVER
    return [
        view.note(texts, screen.note, screen),
        view.progress(texts, screen),
        gr.Column(visible=not over),
        *([""] * 4 if over else view.pair(texts, screen)),
        view.over(texts, screen) if over else "",
        screen.ticket,
    ]
