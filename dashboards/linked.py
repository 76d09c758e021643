"""A page as a server of its own, behind personal links: nobody comes past the gate without the cookie of one."""

from __future__ import annotations

from typing import Any

import fastapi
import gradio as gr
from fastapi.responses import HTMLResponse
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

from dashboards import plain
from dashboards.links import LINK_DAYS, Links
from dashboards.texts import texts_for, texts_of
from dashboards.web import HEADERS, Lines, adding, mount_at, names_other_site


def app_with_login(links: Links, cookie: str, greeting: str) -> fastapi.FastAPI:
    """An app with /login alone; everything else is refused without the cookie that a personal link sets.

    `greeting` is the key of what is said in between."""
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/login", response_class=HTMLResponse)
    def login(request: fastapi.Request, token: str = "") -> HTMLResponse:
        who, texts = links.rater_of(token), texts_for(request)
        if who is None:
            return plain.message(texts, "link_needed", "link_needed_text", 401, home=False)
        # Not a redirect: a Strict cookie is not sent along one that began in a chat or a mail.
        body = f"<h1>{texts('hello', name=who)}</h1><p>{texts(greeting)}</p>"
        onward = '<meta http-equiv="refresh" content="0; url=/">'
        found = plain.page(texts, texts.raw("hello", name=who), body, head=onward)
        age = LINK_DAYS * 24 * 3600
        found.set_cookie(cookie, token, max_age=age, httponly=True, samesite="strict")
        return found

    app.add_middleware(LinkGate, links=links, cookie=cookie)
    return app


def mount(
    app: fastapi.FastAPI, blocks: gr.Blocks, links: Links, cookie: str, look: dict[str, Any]
) -> fastapi.FastAPI:  # fmt: skip
    """The Gradio page at /, for whoever has the cookie; handlers find the name in `request.username`."""

    def who(request: fastapi.Request) -> str | None:
        return links.rater_of(request.cookies.get(cookie))

    return mount_at(app, blocks, "/", who, look)


def link_lines(what: str, tokens: dict[str, str]) -> Lines:
    """What to print for an address: what is served there, and one personal link per person."""
    head = f"(stop with Ctrl-C). Personal links, valid for {LINK_DAYS} days:"
    return lambda at: [
        f"{what} at {at} {head}",
        *(f"{who}: {at}/login?token={token}" for who, token in tokens.items()),
    ]


class LinkGate:
    """ASGI: 401 for whoever has no cookie of a link, on every path but /login; 403 for another site's requests."""

    def __init__(self, app: ASGIApp, links: Links, cookie: str) -> None:
        self._app = app
        self._links = links
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":  # no route here speaks anything else
            return await send({"type": "websocket.close", "code": 1008})
        headers = Headers(scope=scope)
        token = cookie_parser(headers.get("cookie", "")).get(self._cookie)
        app: ASGIApp = self._app
        if scope["path"] != "/login" and self._links.rater_of(token) is None:
            app = plain.message(texts_of(headers), "link_needed", "link_needed_text", 401, home=False)
        elif names_other_site(headers):
            app = plain.message(texts_of(headers), "foreign", "foreign_text", 403, home=False)
        await app(scope, receive, adding(send, HEADERS))
