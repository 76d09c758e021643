"""Serves the rating page on 127.0.0.1, behind personal links. `ratchet rate` calls `serve_rating`.

`python -m dashboards.app --lab DIR --campaign NAME [--rater NAME ...] [--port N]` does the same as its own process.
"""

from __future__ import annotations

import argparse
import contextlib
import html
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import fastapi
import gradio as gr
import uvicorn
from fastapi.responses import HTMLResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboards import rate
from dashboards.desk import Desk
from dashboards.links import LINK_DAYS, Links
from harness import campaign as campaigns
from harness.core.errors import InputError, RatchetError
from harness.core.paths import Lab

HOST = "127.0.0.1"
DEFAULT_PORT = 7860
STOP_GRACE_S = 2  # open pages hold a heartbeat connection that would keep the server alive for ever

# Gradio builds its page with inline scripts and Function(); what matters is that nothing reaches another host.
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def serve_rating(lab: Lab, campaign: str, port: int = DEFAULT_PORT, raters: Sequence[str] = ()) -> None:
    """Serve the campaign until stopped (SIGINT or SIGTERM), and print one personal link for each rater.

    Without `raters`, everyone who had a link gets a new one, or one rater named 'rater'. Port 0 takes a free one.
    Raises InputError when the campaign does not exist, a name is not valid or the port is taken.
    """
    desk = Desk(lab, campaign)
    links = Links(campaigns.folder(lab, campaign))
    with _listen(port) as listener:
        tokens = links.new(list(raters) or links.raters() or ["rater"])
        app = build_app(desk, links)  # takes seconds; a link that is printed works
        at = f"http://{HOST}:{listener.getsockname()[1]}"
        print(f"rating {campaign} at {at} (stop with Ctrl-C). Personal links, valid for {LINK_DAYS} days:")
        for rater, token in tokens.items():
            print(f"{rater}: {at}/login?token={token}", flush=True)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=STOP_GRACE_S)
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn ends well first and then raises it again
            uvicorn.Server(config).run(sockets=[listener])
    desk.close()


def build_app(desk: Desk, links: Links) -> fastapi.FastAPI:
    """The page and its login, everything else refused without a rater's cookie."""
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    cookie = f"ratchet-rate-{desk.record.campaign}"  # cookies do not tell ports apart, so two campaigns need two names

    @app.get("/login", response_class=HTMLResponse)
    def login(token: str = "") -> HTMLResponse:
        rater = links.rater_of(token)
        if rater is None:
            return _refused()
        # Not a redirect: a Strict cookie is not sent along one that began in a chat or a mail.
        page = _page(f"Hello {rater}", "Opening your pairs.", '<meta http-equiv="refresh" content="0; url=/">')
        age = LINK_DAYS * 24 * 3600
        page.set_cookie(cookie, token, max_age=age, httponly=True, samesite="strict")
        return page

    def rater_of(request: fastapi.Request) -> str | None:
        return links.rater_of(request.cookies.get(cookie))

    app.add_middleware(Gate, links=links, cookie=cookie)
    mounted: fastapi.FastAPI = gr.mount_gradio_app(
        app,
        rate.build(desk, links),
        path="/",
        server_name=HOST,
        auth_dependency=rater_of,
        run_history=False,
        footer_links=[],
        show_error=False,
        max_file_size="1kb",  # the page takes no files; Gradio's upload route is there all the same
        ssr_mode=False,
        **rate.look(),
    )
    return mounted


class Gate:
    """ASGI: 401 for whoever has no rater's cookie, on every path but /login; 403 for another site's requests."""

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
            app = _refused()
        elif headers.get("origin") not in (None, f"http://{headers.get('host')}", f"https://{headers.get('host')}"):
            app = _page("Refused", "This request came from another site.", status=403)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await app(scope, receive, with_headers)


def _refused() -> HTMLResponse:
    text = "Open the personal link that you were sent. If it has stopped working, ask for a new one."
    return _page("This page needs your link", text, status=401)


def _page(title: str, text: str, head: str = "", status: int = 200) -> HTMLResponse:
    body = (
        f"<!doctype html><html lang=en class=plain><head><meta charset=utf-8>{head}"
        f"<meta name=viewport content='width=device-width'>"
        f"<title>{html.escape(title)}</title><style>{rate.PLAIN_CSS}</style></head>"
        f"<body><main><h1>{html.escape(title)}</h1><p>{html.escape(text)}</p></main></body></html>"
    )
    return HTMLResponse(body, status_code=status, headers={"cache-control": "no-store"})


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        raise InputError(f"port {port} on {HOST} cannot be used ({error})", "choose another with --port") from error
    return listener


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dashboards.app", description="Serve a campaign's rating page.")
    parser.add_argument("--lab", type=Path, required=True)
    parser.add_argument("--campaign", required=True)
    parser.add_argument("--rater", action="append", default=[])
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    given = parser.parse_args(arguments)
    try:
        serve_rating(Lab(given.lab), given.campaign, given.port, given.rater)
    except RatchetError as error:
        print(f"error: {error.one_line()}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
