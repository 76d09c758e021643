"""Try it: chat with anything that an engine of the lab serves, two side by side; say what an answer is worth.

For leads and engineers: a rater who knows how each version writes would no longer judge blind. Candidates, which no
verdict has let through yet, are for engineers. The conversation is kept by the page (static/try.js) and sent along with
each question; nothing of it is state of the server. Answers are shown as text while they come and as safe Markdown when
they are whole.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from itertools import groupby
from typing import Any

import fastapi
import gradio as gr
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from dashboards.doors import Door
from dashboards.markdown import as_html
from dashboards.web import complain, css, html_part, plain, script, theme
from harness.core.errors import EngineError, InputError, RatchetError
from harness.core.paths import Lab
from harness.data import Turn
from harness.people import Refused
from harness.pipeline import trying
from serve.plugin import feedback
from serve.plugin.call import Refused as NotTaken

MAX_BYTES = 2**18  # of a question with its conversation, or of an edited answer
AT_ONCE = 4  # answers under way for one person: two sides in two tabs
GROUPS = {"alias": "Aliases", "version": "Versions", "base": "Bases", "candidate": "Candidates"}


def look() -> dict[str, Any]:
    """Theme, styles and script, as mount_gradio_app takes them."""
    return {
        "theme": theme(),
        "css": css("saving.css", "markdown.css", "try.css"),
        "head": script("saving.js", "try.js"),
    }


def build(lab: Lab, door: Door) -> gr.Blocks:
    """The page: which models there are, when it is opened. Everything else goes through `routes`."""
    with gr.Blocks(title="Try it", analytics_enabled=False) as page:
        frame = html_part("frame")

        async def open_page(request: gr.Request) -> str:
            try:
                who = await run_in_threadpool(door.require, request)
                return _frame(who, list((await _models(lab, door, who)).values()))
            except Refused:
                return _message("You are not signed in any more, or this page is not for you: sign in.")
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
            model, turns = await _asked(lab, door, who, await _read(request))
        except InputError as error:
            return _problem(error.one_line(), 400)
        except EngineError as error:
            return _problem(error.one_line(), 503)

        def still_here() -> bool:
            """A person who was erased meanwhile must leave nothing behind."""
            with contextlib.suppress(Refused):
                return door.require(request) == who
            return False

        async def lines() -> AsyncIterator[str]:
            if busy[who] >= AT_ONCE:
                yield json.dumps({"error": f"{AT_ONCE} answers are under way for you: wait for one"}) + "\n"
                return
            busy[who] += 1
            try:
                async with contextlib.aclosing(notebook.ask(model, turns, who, still_here)) as pieces:
                    async for piece in pieces:
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
            return _problem(error.one_line(), 400)
        except NotTaken as refused:
            return _problem(str(refused), refused.status)
        return JSONResponse({"id": entry.feedback_id, "status": "stored" if new else "unchanged"})

    return router


async def _models(lab: Lab, door: Door, who: str) -> dict[str, trying.Model]:
    """What this person may ask for, by name."""
    person = await run_in_threadpool(door.people.require, who, *door.roles)
    return await trying.models(lab, candidates=person.has("engineer"))


async def _asked(lab: Lab, door: Door, who: str, body: dict[str, Any]) -> tuple[trying.Model, list[Turn]]:
    """Model and conversation of a request. InputError for what cannot be asked, EngineError where nobody answers."""
    turns, name = trying.conversation(body.get("messages")), body.get("model")
    model = (await _models(lab, door, who)).get(name) if isinstance(name, str) else None
    if model is None:
        raise InputError(f"no engine serves {str(name)[:80]!r} to you now", "reload the page: it lists what there is")
    return model, turns


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


def _problem(text: str, status: int) -> JSONResponse:
    return JSONResponse({"error": text}, status)


def _end(answer: trying.Answered) -> dict[str, Any]:
    """The last line of an answer."""
    if answer.error:
        return {"error": answer.error}
    cut = answer.finish_reason == "length"
    return {"html": as_html(answer.text), "id": answer.completion_id, "version": answer.version, "cut": cut}


def _frame(who: str, models: list[trying.Model]) -> str:
    options = "".join(
        f'<optgroup label="{GROUPS[kind]}">{"".join(_option(model) for model in group)}</optgroup>'
        for kind, group in groupby(models, key=lambda model: model.kind)
    )
    sides = "".join(
        f'<section class="side" data-side="{side}" aria-label="{label}"><label>{label} '
        f'<select class="model">{none}{options}</select></label><div class="log" aria-live="polite"></div></section>'
        for side, label, none in (("a", "Model", ""), ("b", "Beside it", '<option value="">nothing</option>'))
    )
    return (
        '<h1>Try it</h1><p class="soft">What you ask and get here is kept under your name like captured calls, without '
        "e-mail addresses, phone and card numbers and keys. What you say of it can become training data.</p>"
        f'<div id="sides" data-who="{plain(who)}">{sides}</div><form id="composer">'
        '<details id="instruct"><summary>System prompt</summary>'
        '<textarea id="system" rows="3" aria-label="System prompt"></textarea></details>'
        '<label for="ask">Your message</label><textarea id="ask" rows="3"></textarea><div class="row">'
        '<button type="submit" id="send" aria-keyshortcuts="Control+Enter">Send</button>'
        '<button type="button" id="stop" hidden>Stop</button><button type="button" id="anew">New conversation</button>'
        '<span id="status" role="status"></span></div></form>'
    )


def _option(model: trying.Model) -> str:
    return f'<option value="{plain(model.name)}">{plain(model.name)}</option>'


def _message(text: str) -> str:
    return f'<h1>Try it</h1><p class="note error" role="alert">{plain(text)}</p><p>Then reload this page.</p>'
