"""The portal's pages without Gradio: plain HTML that needs no script, for phones, keyboards and screen readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote

from fastapi import HTTPException, Request
from fastapi.responses import HTMLResponse

from dashboards.web import PLAIN_CSS, STATIC
from harness.people import Person
from harness.people.accounts import PASSWORD_LENGTH

if TYPE_CHECKING:
    from dashboards.pages import Page

MAX_FORM_BYTES = 8_192
CSS = PLAIN_CSS + (STATIC / "portal.css").read_text(encoding="utf-8")


def page(
    title: str, body: str, status: int = 200, head: str = "", headers: Mapping[str, str] | None = None
) -> HTMLResponse:
    """A page around `body`, which is HTML already."""
    text = (
        f'<!doctype html><html lang="en" class="plain"><head><meta charset="utf-8">{head}'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{CSS}</style></head><body><main>{body}</main></body></html>"
    )
    return HTMLResponse(text, status, {"cache-control": "no-store", **(headers or {})})


def message(title: str, text: str, status: int) -> HTMLResponse:
    body = f'<h1>{escape(title)}</h1><p>{escape(text)}</p><p><a href="/">To your page</a></p>'
    return page(title, body, status)


def again() -> HTMLResponse:
    """The same address once more, from here."""
    return page("One moment", "<h1>One moment</h1>", 401, '<meta http-equiv="refresh" content="0">')


def sign_in(
    name: str = "", onward: str = "/", said: str = "", status: int = 200, headers: Mapping[str, str] | None = None
) -> HTMLResponse:
    """The form, with what went wrong said to eyes and screen readers, and the focus where typing goes on."""
    wrong = bool(said) and status != 200
    body = (
        f"<h1>Sign in</h1>{status_line(said, wrong)}"
        f'<form method="post" action="/sign-in">'
        f'<input type="hidden" name="onward" value="{escape(onward)}">'
        + _field("name", "Name", "text", "username", value=name, focus=not name, wrong=wrong)
        + _field("password", "Password", "password", "current-password", focus=bool(name), wrong=wrong)
        + '<button type="submit">Sign in</button></form>'
        + '<p class="hint">New here, or the password is lost? Ask whoever runs this for an invitation.</p>'
    )
    return page("Sign in", body, status, headers=headers)


def invitation(name: str, token: str, said: str = "", status: int = 200) -> HTMLResponse:
    """Where an invited person chooses a password."""
    least = PASSWORD_LENGTH[0]
    body = (
        f"<h1>Welcome, {escape(name)}</h1>{status_line(said, bool(said))}"
        f"<p>Choose a password of at least {least} characters; a sentence is a good one. "
        f"Your name here is <strong>{escape(name)}</strong>: it is all that others see of you.</p>"
        f'<form method="post" action="/invite">'
        f'<input type="hidden" name="token" value="{escape(token)}">'
        f'<input type="hidden" name="name" autocomplete="username" value="{escape(name)}">'
        + _field("password", "Password", "password", "new-password", focus=True, wrong=bool(said), least=least)
        + _field("again", "The same again", "password", "new-password", wrong=bool(said), least=least)
        + '<button type="submit">Save and sign in</button></form>'
    )
    return page(f"Welcome, {name}", body, status)


def no_invitation() -> HTMLResponse:
    return message("This invitation does not work", "It was used, or is too old. Ask for a new one.", 403)


def home(person: Person, pages: Sequence[tuple[Page, list[str] | None]], more: str = "") -> HTMLResponse:
    """What the person may do, by page; names below pages that are one for each of them. `more` is a card as HTML."""
    cards = "".join(_card(one, names) for one, names in pages) + more or "<p>There is nothing for your role yet.</p>"
    body = (
        f"<header><h1>Hello {escape(person.name)}</h1>"
        f'<p class="roles">{escape(", ".join(person.roles))}</p></header>'
        f'<nav aria-label="Pages">{cards}</nav>'
        '<form method="post" action="/sign-out"><button type="submit" class="quiet">Sign out</button></form>'
    )
    return page("Ratchet", body)


def _card(one: Page, names: list[str] | None) -> str:
    about = f"<p>{escape(one.about)}</p>"
    if names is None:
        return f'<section><h2><a href="{one.path}/">{escape(one.title)}</a></h2>{about}</section>'
    links = "".join(f'<li><a href="{one.path}/{quote(name)}/">{escape(name)}</a></li>' for name in names)
    listed = f"<ul>{links}</ul>" if names else '<p class="hint">Nothing is open now.</p>'
    return f"<section><h2>{escape(one.title)}</h2>{about}{listed}</section>"


def status_line(text: str, wrong: bool) -> str:
    """What just happened, said to eyes and screen readers; '' for nothing."""
    role = "alert" if wrong else "status"
    return f'<p class="said {"wrong" if wrong else ""}" id="said" role="{role}">{escape(text)}</p>' if text else ""


def _field(
    name: str, label: str, kind: str, autocomplete: str, *, value: str = "", focus: bool = False,
    wrong: bool = False, least: int = 0,
) -> str:  # fmt: skip
    more = (" autofocus" if focus else "") + (' aria-describedby="said" aria-invalid="true"' if wrong else "")
    more += f' minlength="{least}"' if least else ""
    more += ' autocapitalize="none" spellcheck="false"' if kind == "text" else ""
    return (
        f'<label for="{name}">{escape(label)}</label>'
        f'<input id="{name}" name="{name}" type="{kind}" autocomplete="{autocomplete}" required maxlength="200"'
        f' value="{escape(value)}"{more}>'
    )


async def form(request: Request, most_bytes: int = MAX_FORM_BYTES) -> dict[str, str]:
    """The fields of a small urlencoded form; 413 for a large one."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > most_bytes:
            raise HTTPException(413)
    return fields(body)


def fields(body: bytes) -> dict[str, str]:
    """The fields of an urlencoded form; of a name that occurs twice the last one."""
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=20))
