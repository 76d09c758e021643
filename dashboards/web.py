"""What the pages have in common: served on 127.0.0.1 only, reaching nothing outside."""

from __future__ import annotations

import contextlib
import html
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fastapi
import gradio as gr
import uvicorn
from fastapi.responses import PlainTextResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Send

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


def adding(send: Send, headers: Mapping[str, str]) -> Send:
    """An ASGI `send` that puts headers on every response."""

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return with_headers


def names_other_site(headers: Headers) -> bool:
    """Whether the browser names another site as where a request comes from."""
    origin, host = headers.get("origin"), headers.get("host")
    return origin not in (None, f"http://{host}", f"https://{host}")


def complain(error: RatchetError) -> None:
    """Say on the server's own terminal what a page must not tell."""
    print(f"error: {error.one_line()}", file=sys.stderr, flush=True)


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
