"""The components of the board page, by name and in their place."""

from __future__ import annotations

from typing import Any

import gradio as gr

from dashboards.web import html_part

PAGE_TABS = {"board": "Board", "decide": "To decide", "steer": "Raters and campaign", "next": "Next round"}
RULINGS = {"left": "Left", "right": "Right", "tie": "Tie", "both_bad": "Both bad"}


def components() -> dict[str, Any]:
    """Everything on the page."""
    parts: dict[str, Any] = {}
    gr.HTML("<h1>Board</h1>", js_on_load=None, apply_default_css=False)
    # Custom values: what is on offer changes while a page is open, and handlers look at every value anyway.
    parts["campaign"] = gr.Dropdown([], label="Campaign", elem_id="campaign", allow_custom_value=True)
    parts["note"] = html_part("note")
    with gr.Tabs(elem_id="tabs") as parts["tabs"]:
        with _tab(parts, "board"):
            parts["board"] = html_part("board")
        with _tab(parts, "decide"):
            _decide(parts)
        with _tab(parts, "steer"):
            _steer(parts)
        with _tab(parts, "next"):
            _next(parts)
    return parts


def _tab(parts: dict[str, Any], name: str) -> gr.Tab:
    parts[f"tab-{name}"] = gr.Tab(PAGE_TABS[name], id=name, elem_id=f"tab-{name}")
    return parts[f"tab-{name}"]


def _decide(parts: dict[str, Any]) -> None:
    parts["pair"] = gr.Dropdown([], label="Pair", elem_id="pair", allow_custom_value=True)
    parts["case"] = html_part("case")
    parts["ticket"] = _hidden("ticket")
    _line(parts, "reason", "Why (may stay empty)")
    with gr.Row(elem_id="rulings"):
        for name, label in RULINGS.items():
            parts[name] = gr.Button(label, elem_id=f"do-{name}")


def _steer(parts: dict[str, Any]) -> None:
    gr.HTML(
        "<h2>A rater: paused, they get no more pairs; their votes stay</h2>", js_on_load=None, apply_default_css=False
    )
    with gr.Row(elem_classes="acts"):
        parts["rater"] = gr.Dropdown([], label="Rater", elem_id="rater", allow_custom_value=True)
        _line(parts, "pause-reason", "Why (may stay empty)")
        _button(parts, "pause", "Pause")
        _button(parts, "resume", "Let go on")
    gr.HTML("<h2>A pair: it goes to one more rater</h2>", js_on_load=None, apply_default_css=False)
    with gr.Row(elem_classes="acts"):
        _line(parts, "again-pair", "Pair")
        parts["again-ticket"] = _hidden("again-ticket")
        _button(parts, "reopen-pair", "Open again")
    gr.HTML(
        "<h2>The campaign: closed, nobody gets more pairs, and names of subjects show</h2>",
        js_on_load=None,
        apply_default_css=False,
    )
    with gr.Row(elem_classes="acts"):
        _line(parts, "confirm", "Type the campaign's name to confirm")
        _button(parts, "close", "Close the campaign")
        _button(parts, "reopen", "Open it again")


def _next(parts: dict[str, Any]) -> None:
    with gr.Row(elem_classes="acts"):
        _line(parts, "primary", "Metric it must win (empty: the last round's)")
        parts["alias"] = gr.Textbox("prod", label="Alias it continues", elem_id="alias", max_lines=1)
        choices = [("rulings before votes", "adjudicated"), ("majority of votes alone", "majority")]
        parts["labels"] = gr.Radio(choices, value="adjudicated", label="Labels", elem_id="labels")
    with gr.Row(elem_classes="acts"):
        _button(parts, "preview", "Preview")
        _button(parts, "write", "Write the round")
    parts["round"] = html_part("round")
    parts["seen"] = _hidden("seen")


def _line(parts: dict[str, Any], name: str, label: str) -> None:
    parts[name] = gr.Textbox(label=label, elem_id=name, max_lines=1, interactive=True)


def _button(parts: dict[str, Any], name: str, label: str) -> None:
    parts[name] = gr.Button(label, elem_id=f"do-{name}", size="sm")


def _hidden(name: str) -> gr.Textbox:
    return gr.Textbox(visible="hidden", elem_id=name, label=name, interactive=True)
