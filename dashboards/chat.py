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
from typing import Any

import fastapi
import gradio as gr
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from dashboards import chat_view as view
from dashboards.doors import Door
from dashboards.markdown import as_html
from dashboards.texts import I18N, Texts, texts_for
from dashboards.web import complain, css, html_part, script, theme
from harness.core.errors import EngineError, InputError, RatchetError
from harness.core.paths import Lab
from harness.core.rating import Purpose
from harness.data import Turn
from harness.people import Refused
from harness.pipeline import tried, trying
from serve.plugin import feedback
from serve.plugin.call import Refused as NotTaken

MAX_BYTES = 2**18  # of a question with its conversation, or of an edited answer
AT_ONCE = 4  # answers under way for one person: two sides in two tabs


def look() -> dict[str, Any]:
    """Theme, styles, script and languages, as mount_gradio_app takes them."""
    return {
        "theme": theme(),
        "css": css("saving.css", "markdown.css", "try.css"),
        "head": script("saving.js", "try.js"),
        "i18n": I18N,
    }


def build(lab: Lab, door: Door) -> gr.Blocks:
    """The page: which models there are, when it is opened. Everything else goes through `routes`."""
    with gr.Blocks(title="Try it", analytics_enabled=False) as page:
        frame = html_part("frame")

        async def open_page(request: gr.Request) -> str:
            texts = texts_for(request)
            try:
                who = await run_in_threadpool(door.require, request)
                models = list((await _models(lab, door, who)).values())
                return view.frame(texts, who, models, await trying.system_prompts(models))
            except Refused:
                return view.message(texts, texts.raw("try_signed_out"))
            except EngineError as error:
                return view.message(texts, texts.raw("try_problem", why=texts.error(error)))
            except RatchetError as error:
                complain(error)
                return view.message(texts, texts.raw("try_unreadable"))

        page.load(open_page, outputs=[frame], queue=False, show_progress="hidden", api_visibility="private")
    return page


def routes(lab: Lab, door: Door, notebook: trying.Notebook, desk: feedback.Desk) -> fastapi.APIRouter:
    """POST /ask streams lines of JSON: {"text"} pieces, then the end. POST /say takes what /v1/feedback takes."""
    router, busy = fastapi.APIRouter(), Counter[str]()
    router.include_router(_campaigns(lab, door))

    @router.post("/ask", response_model=None)
    async def ask(request: fastapi.Request) -> fastapi.Response:
        who, texts = await run_in_threadpool(door.require, request), texts_for(request)
        try:
            model, turns = await _asked(lab, door, who, await _read(request))
        except InputError as error:
            return _problem(texts, texts.error(error), 400)
        except EngineError as error:
            return _problem(texts, texts.error(error), 503)

        def still_here() -> bool:
            """A person who was erased meanwhile must leave nothing behind."""
            with contextlib.suppress(Refused):
                return door.require(request) == who
            return False

        async def lines() -> AsyncIterator[str]:
            if busy[who] >= AT_ONCE:
                yield json.dumps({"error": texts.raw("try_busy", count=AT_ONCE)}) + "\n"
                return
            busy[who] += 1
            try:
                async with contextlib.aclosing(notebook.ask(model, turns, who, still_here)) as pieces:
                    async for piece in pieces:
                        yield json.dumps({"text": piece} if isinstance(piece, str) else _end(texts, piece)) + "\n"
            finally:
                busy[who] -= 1

        return StreamingResponse(lines(), media_type="application/x-ndjson", headers={"cache-control": "no-store"})

    @router.post("/say", response_model=None)
    async def say(request: fastapi.Request) -> fastapi.Response:
        who, texts = await run_in_threadpool(door.require, request), texts_for(request)
        try:
            body = await _read(request)
            entry, new = await desk.take({**body, "user": trying.user_of(who)}, trying.KEY)
        except InputError as error:
            return _problem(texts, texts.error(error), 400)
        except NotTaken as refused:
            return _problem(texts, texts.said(refused.body["error"]["code"], str(refused)), refused.status)
        return JSONResponse({"id": entry.feedback_id, "status": "stored" if new else "unchanged"})

    return router


def _campaigns(lab: Lab, door: Door) -> fastapi.APIRouter:
    """GET /sent tells what was sent to a campaign, POST /campaign makes one of it."""
    router = fastapi.APIRouter()

    @router.get("/sent", response_model=None)
    def sent(request: fastapi.Request) -> fastapi.Response:
        door.require(request)
        return JSONResponse({"text": view.sent(texts_for(request), tried.sent(lab))})

    @router.post("/campaign", response_model=None)
    async def campaign(request: fastapi.Request) -> fastapi.Response:
        who, texts = await run_in_threadpool(door.require, request), texts_for(request)
        try:
            asked = _wanted(await _read(request))
            record = await run_in_threadpool(tried.create, lab, asked, who)
        except InputError as error:
            return _problem(texts, texts.error(error), 400)
        return JSONResponse({"campaign": record.campaign, "text": view.made(texts, record)})

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
        wanted, fix = repr(str(name)[:80]), "reload the page: it lists what there is"
        raise InputError(f"no engine serves {wanted} to you now", fix, "not_served", model=wanted)
    return model, turns


async def _read(request: fastapi.Request) -> dict[str, Any]:
    """The request's JSON object. InputError where it is none, or too large."""
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > MAX_BYTES:
            raise InputError(f"more than {MAX_BYTES:,} bytes", "start a new conversation", "many_bytes", most=MAX_BYTES)
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise InputError("the request is not a JSON object")
    return body


def _wanted(body: dict[str, Any]) -> tried.Asked:
    """What a campaign is to be. InputError for what is no text, or no purpose."""
    values = {name: body.get(name) for name in ("campaign", "name", "purpose")}
    if not all(isinstance(value, str) for value in values.values()) or values["purpose"] not in ("train", "judge"):
        raise InputError("a campaign has a name, a registry name, and purpose train or judge")
    purpose: Purpose = "train" if values["purpose"] == "train" else "judge"
    return tried.Asked(str(values["campaign"]).strip(), str(values["name"]).strip(), purpose)


def _problem(texts: Texts, why: str, status: int) -> JSONResponse:
    return JSONResponse({"error": texts.raw("try_problem", why=why)}, status)


def _end(texts: Texts, answer: trying.Answered) -> dict[str, Any]:
    """The last line of an answer."""
    if answer.error:
        return {"error": texts.error(answer.error)}
    cut = answer.finish_reason == "length"
    return {"html": as_html(answer.text), "id": answer.completion_id, "version": answer.version, "cut": cut}
