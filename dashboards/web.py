"""What the pages have in common: served on 127.0.0.1 only, behind personal links, reaching nothing outside."""

from __future__ import annotations

import contextlib
import html
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastapi
import gradio as gr
import uvicorn
from fastapi.responses import HTMLResponse, PlainTextResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboards.links import LINK_DAYS, Links
from harness.core.errors import InputError, RatchetError
from harness.people import Refused

Lines = Callable[[str], list[str]]  # what to print, given the address that is served

HOST = "127.0.0.1"
STOP_GRACE_S = 2  # open pages hold a heartbeat connection that would keep the server alive for ever
STATIC = Path(__file__).parent / "static"
PLAIN_CSS = (STATIC / "plain.css").read_text(encoding="utf-8")

# Gradio builds its page with inline scripts and Function(); what matters is that nothing reaches another host.
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

# Gradio fills ${…} and {{…}} in the HTML it is given; in text of others these characters are only characters.
_TEMPLATE_CHARACTERS = str.maketrans({character: f"&#{ord(character)};" for character in "{}$`\\@"})


def plain(text: str) -> str:
    """HTML that shows `text` as it is, whatever it contains."""
    return no_templates(html.escape(text))


def no_templates(markup: str) -> str:
    """HTML in which Gradio finds nothing to fill; for markup whose tags have none of these characters in them."""
    return markup.translate(_TEMPLATE_CHARACTERS)


def html_part(name: str) -> gr.HTML:
    """A part of a Gradio page that shows our own HTML and nothing of Gradio's."""
    return gr.HTML("", elem_id=name, js_on_load=None, apply_default_css=False)


def progress_bar(title: str, counts: str, label: str, done: int, total: int) -> str:
    """A heading with counts beside it, over a bar; the texts are HTML already."""
    share = 100 * done / max(total, 1)
    return (
        f'<div class="bar-line"><h1>{title}</h1><span class="count">{counts}</span></div>'
        f'<div class="bar" role="progressbar" aria-label="{label}" aria-valuemin="0" aria-valuenow="{done}" '
        f'aria-valuemax="{total}"><i style="width: {share:.2f}%"></i></div>'
    )


def script(*files: str) -> str:
    """A Gradio page's own scripts, for its head."""
    return f"<script>{''.join((STATIC / file).read_text(encoding='utf-8') for file in files)}</script>"


def css(*files: str) -> str:
    """A Gradio page's styles: the shared ones, then the page's own."""
    return PLAIN_CSS + "".join((STATIC / file).read_text(encoding="utf-8") for file in ("frame.css", *files))


def theme() -> gr.themes.Base:
    """Fonts of the system: none is fetched."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    return gr.themes.Base(font=fonts, font_mono=["ui-monospace", "monospace"])


def app_with_login(links: Links, cookie: str, greeting: str) -> fastapi.FastAPI:
    """An app with /login alone; everything else is refused without the cookie that a personal link sets."""
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/login", response_class=HTMLResponse)
    def login(token: str = "") -> HTMLResponse:
        who = links.rater_of(token)
        if who is None:
            return _refused()
        # Not a redirect: a Strict cookie is not sent along one that began in a chat or a mail.
        found = _page(f"Hello {who}", greeting, '<meta http-equiv="refresh" content="0; url=/">')
        age = LINK_DAYS * 24 * 3600
        found.set_cookie(cookie, token, max_age=age, httponly=True, samesite="strict")
        return found

    app.add_middleware(Gate, links=links, cookie=cookie)
    return app


def mount(
    app: fastapi.FastAPI, blocks: gr.Blocks, links: Links, cookie: str, look: dict[str, Any]
) -> fastapi.FastAPI:  # fmt: skip
    """The Gradio page at /, for whoever has the cookie; handlers find the name in `request.username`."""

    def who(request: fastapi.Request) -> str | None:
        return links.rater_of(request.cookies.get(cookie))

    return mount_at(app, blocks, "/", who, look)


def settle_matplotlib() -> None:
    """Gradio asks matplotlib for its backend around every handler. Said before, nobody who comes first waits for the
    import, nor for the search for a screen that ends in pyplot."""
    import matplotlib as mpl

    mpl.use("agg")


def mount_at(
    app: fastapi.FastAPI,
    blocks: gr.Blocks,
    path: str,
    who: Callable[[fastapi.Request], str | None],
    look: dict[str, Any],
) -> fastapi.FastAPI:
    """The Gradio page at `path`, for whom `who` has a name; handlers find it in `request.username`."""
    mounted: fastapi.FastAPI = gr.mount_gradio_app(
        app,
        blocks,
        path=path,
        server_name=HOST,
        auth_dependency=who,
        run_history=False,
        footer_links=[],
        show_error=False,
        max_file_size="1kb",  # the pages take no files; Gradio's upload route is there all the same
        ssr_mode=False,
        **look,
    )
    return mounted


def app_of_files(files: fastapi.APIRouter | None, path: str) -> fastapi.FastAPI:
    """An app with `files` below `path`, where a RatchetError is a 404 (a Refused one a 403) that says what it is."""
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(RatchetError)
    def wrong(request: fastapi.Request, error: RatchetError) -> PlainTextResponse:
        return PlainTextResponse(error.one_line(), status_code=403 if isinstance(error, Refused) else 404)

    if files is not None:
        app.include_router(files, prefix=path)
    return app


def complain(error: RatchetError) -> None:
    """Say on the server's own terminal what a page must not tell."""
    print(f"error: {error.one_line()}", file=sys.stderr, flush=True)


def link_lines(what: str, tokens: dict[str, str]) -> Lines:
    """What to print for an address: what is served there, and one personal link per person."""
    head = f"(stop with Ctrl-C). Personal links, valid for {LINK_DAYS} days:"
    return lambda at: [
        f"{what} at {at} {head}",
        *(f"{who}: {at}/login?token={token}" for who, token in tokens.items()),
    ]


def serve(port: int, build: Callable[[], tuple[fastapi.FastAPI, Lines]], behind_proxy: bool = True) -> None:
    """Serve on 127.0.0.1 until SIGINT or SIGTERM. `build` gives the app, and the lines to print for its address.

    `behind_proxy` believes X-Forwarded-For: never where an address decides whose word is taken for who is there.
    Port 0 takes a free one. Raises InputError when the port is taken, before anything is built.
    """
    with _listen(port) as listener:
        app, lines = build()  # takes seconds; a link that is printed works
        for line in lines(f"http://{HOST}:{listener.getsockname()[1]}"):
            print(line, flush=True)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            proxy_headers=behind_proxy,
            timeout_graceful_shutdown=STOP_GRACE_S,
        )
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn ends well first and then raises it again
            uvicorn.Server(config).run(sockets=[listener])


class Gate:
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
        f"<title>{html.escape(title)}</title><style>{PLAIN_CSS}</style></head>"
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
