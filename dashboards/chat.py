"""Try it: chat with anything that an engine of the lab serves, two side by side; say what an answer is worth.

For leads and engineers: a rater who knows how each version writes would no longer judge blind. The conversation is kept
by the page (static/try.js) and sent along with each question; nothing of it is state of the server. Answers are shown
as text while they come and as safe Markdown when they are whole.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import fastapi
import gradio as gr
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from dashboards.doors import Door
from dashboards.markdown import as_html
from dashboards.web import STATIC, complain, css, plain, theme
from harness.core.errors import EngineError, InputError, RatchetError
from harness.core.paths import Lab
from harness.people import Refused
from harness.pipeline import trying
from serve.plugin import feedback
from serve.plugin.call import Refused as NotTaken

MAX_BYTES = 2**18  # of a question with its conversation, or of an edited answer
AT_ONCE = 4  # answers under way for one person: two sides in two tabs


def look() -> dict[str, Any]:
    """Theme, styles and script, as mount_gradio_app takes them."""
    return {
        "theme": theme(),
        "css": css("markdown.css", "try.css"),
        "head": f"<script>{(STATIC / 'try.js').read_text(encoding='utf-8')}</script>",
    }


def build(lab: Lab, door: Door) -> gr.Blocks:
    """The page: which models there are, when it is opened. Everything else goes through `routes`."""
    with gr.Blocks(title="Try it", analytics_enabled=False) as page:
        frame = gr.HTML("", elem_id="frame", js_on_load=None, apply_default_css=False)

        async def open_page(request: gr.Request) -> str:
            try:
                await run_in_threadpool(door.require, request)
                return _frame(sorted(await trying.models(lab)))
            except Refused:
                return _message("You are not signed in any more, or this page is not for you.")
            except EngineError as error:
                return _message(error.one_line())
            except RatchetError as error:
                complain(error)
                return _message("The server cannot read this lab's engines now. Tell whoever runs it.")

        page.load(open_page, outputs=[frame], queue=False, show_progress="hidden", api_visibility="private")
    return page


def routes(lab: Lab, door: Door, notebook: trying.Notebook, desk: feedback.Desk) -> fastapi.APIRouter:
    """POST /ask streams lines of JSON: {"text"} pieces, then the end. POST /say takes what /v1/feedback takes."""
    router, busy = fastapi.APIRouter(), Counter[str]()

    @router.post("/ask", response_model=None)
    async def ask(request: fastapi.Request) -> fastapi.Response:
        who = await run_in_threadpool(door.require, request)
        try:
            body = await _read(request)
            turns, name = trying.conversation(body.get("messages")), body.get("model")
            model = (await trying.models(lab)).get(name) if isinstance(name, str) else None
            if model is None:
                raise InputError("no engine serves that model now", "reload the page")
        except InputError as error:
            return JSONResponse({"error": error.one_line()}, 400)
        except EngineError as error:
            return JSONResponse({"error": error.one_line()}, 503)
        if busy[who] >= AT_ONCE:
            return JSONResponse({"error": f"{AT_ONCE} answers are under way for you: wait for one"}, 429)
        busy[who] += 1

        async def lines() -> AsyncIterator[str]:
            try:
                async for piece in notebook.ask(model, turns, who):
                    yield json.dumps({"text": piece} if isinstance(piece, str) else _end(piece)) + "\n"
            finally:
                busy[who] -= 1

        return StreamingResponse(lines(), media_type="application/x-ndjson", headers={"cache-control": "no-store"})

    @router.post("/say", response_model=None)
    async def say(request: fastapi.Request) -> fastapi.Response:
        who = await run_in_threadpool(door.require, request)
        try:
            body = await _read(request)
            entry, new = await desk.take({**body, "user": trying.user_of(who)}, trying.KEY)
        except InputError as error:
            return JSONResponse({"error": error.one_line()}, 400)
        except NotTaken as refused:
            return JSONResponse({"error": refused.body["error"]["message"]}, refused.status)
        return JSONResponse({"id": entry.feedback_id, "status": "stored" if new else "unchanged"})

    return router


async def _read(request: fastapi.Request) -> dict[str, Any]:
    """The request's JSON object. InputError where it is none, or too large."""
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > MAX_BYTES:
            raise InputError(f"more than {MAX_BYTES:,} bytes", "start a new conversation")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise InputError("the request is not a JSON object")
    return body


def _end(answer: trying.Answered) -> dict[str, Any]:
    said = {"error": answer.error} if answer.error else {}
    shown = {"html": as_html(answer.text), "id": answer.completion_id, "version": answer.version}
    return {**shown, "cut": answer.finish_reason == "length", **said}


def _frame(names: list[str]) -> str:
    options = "".join(f'<option value="{plain(name)}">{plain(name)}</option>' for name in names)
    sides = "".join(
        f'<section class="side" data-side="{side}" aria-label="{label}"><label>{label} '
        f'<select class="model">{none}{options}</select></label><div class="log" aria-live="polite"></div></section>'
        for side, label, none in (("a", "Model", ""), ("b", "Beside it", '<option value="">nothing</option>'))
    )
    return (
        f'<h1>Try it</h1><p class="soft">What you ask and get here is kept as captured calls are, under your name '
        f"and without e-mail addresses, phone and card numbers and keys; what you say of it can become training data."
        f'</p><div id="sides">{sides}</div>'
        '<form id="composer"><label for="ask">Your message</label><textarea id="ask" rows="3"></textarea>'
        '<div class="row"><button type="submit" id="send" aria-keyshortcuts="Control+Enter">Send</button>'
        '<button type="button" id="stop" hidden>Stop</button><button type="button" id="anew">New conversation</button>'
        '<span id="status" role="status"></span></div></form>'
    )


def _message(text: str) -> str:
    return f'<h1>Try it</h1><p class="note error" role="alert">{plain(text)}</p><p>Then reload this page.</p>'
