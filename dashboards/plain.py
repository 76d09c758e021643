"""The portal's pages without Gradio: plain HTML that needs no script, for phones, keyboards and screen readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote

from fastapi import HTTPException, Request
from fastapi.responses import HTMLResponse

from dashboards.texts import Texts
from dashboards.web import PLAIN_CSS, STATIC
from harness.people import Person, Role
from harness.people.accounts import PASSWORD_LENGTH

if TYPE_CHECKING:
    from dashboards.pages import Page

MAX_FORM_BYTES = 8_192
CSS = PLAIN_CSS + (STATIC / "portal.css").read_text(encoding="utf-8")


def page(
    texts: Texts, title: str, body: str, status: int = 200, head: str = "", headers: Mapping[str, str] | None = None
) -> HTMLResponse:
    """A page around `body`, which is HTML already, in the language of `texts`."""
    text = (
        f'<!doctype html><html lang="{texts.language}" class="plain"><head><meta charset="utf-8">{head}'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{CSS}</style></head><body><main>{body}</main></body></html>"
    )
    said = {"cache-control": "no-store", "content-language": texts.language, "vary": "accept-language"}
    return HTMLResponse(text, status, {**said, **(headers or {})})


def message(texts: Texts, title: str, text: str, status: int, home: bool = True) -> HTMLResponse:
    """A page that says one thing; `title` and `text` are keys. `home`: with a link there."""
    body = f"<h1>{texts(title)}</h1><p>{texts(text)}</p>{home_link(texts) if home else ''}"
    return page(texts, texts.raw(title), body, status)


def home_link(texts: Texts) -> str:
    return f'<p><a href="/">{texts("to_home")}</a></p>'


def not_for_you(texts: Texts, roles: Sequence[Role]) -> HTMLResponse:
    """Who has none of these roles learns which they are."""
    who = texts.raw("and_role").join(texts.raw(f"{role}s") for role in roles)
    body = f"<h1>{texts('not_for_you')}</h1><p>{texts('not_for_you_text', roles=who)}</p>{home_link(texts)}"
    return page(texts, texts.raw("not_for_you"), body, 403)


def again(texts: Texts) -> HTMLResponse:
    """The same address once more, from here."""
    refresh = '<meta http-equiv="refresh" content="0">'
    return page(texts, texts.raw("one_moment"), f"<h1>{texts('one_moment')}</h1>", 401, refresh)


def sign_in(
    texts: Texts, name: str = "", onward: str = "/", said: str = "", status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:  # fmt: skip
    """The form, with what went wrong said to eyes and screen readers, and the focus where typing goes on."""
    wrong = bool(said) and status != 200
    body = (
        f"<h1>{texts('sign_in')}</h1>{status_line(said, wrong)}"
        f'<form method="post" action="/sign-in">'
        f'<input type="hidden" name="onward" value="{escape(onward)}">'
        + _field("name", texts("sign_in_name"), "text", "username", value=name, focus=not name, wrong=wrong)
        + _field("password", texts("password"), "password", "current-password", focus=bool(name), wrong=wrong)
        + f'<button type="submit">{texts("sign_in")}</button></form>'
        + f'<p class="hint">{texts("sign_in_hint")}</p>'
    )
    return page(texts, texts.raw("sign_in"), body, status, headers=headers)


def invitation(texts: Texts, name: str, token: str, said: str = "", status: int = 200) -> HTMLResponse:
    """Where an invited person chooses a password."""
    least = PASSWORD_LENGTH[0]
    named = texts.around("invite_name", name=f"<strong>{escape(name)}</strong>")
    body = (
        f"<h1>{texts('welcome', name=name)}</h1>{status_line(said, bool(said))}"
        f"<p>{texts('invite_password', least=least)} {named}</p>"
        f'<form method="post" action="/invite">'
        f'<input type="hidden" name="token" value="{escape(token)}">'
        f'<input type="hidden" name="name" autocomplete="username" value="{escape(name)}">'
        + _field("password", texts("password"), "password", "new-password", focus=True, wrong=bool(said), least=least)
        + _field("again", texts("password_again"), "password", "new-password", wrong=bool(said), least=least)
        + f'<button type="submit">{texts("invite_save")}</button></form>'
    )
    return page(texts, texts.raw("welcome", name=name), body, status)


def no_invitation(texts: Texts) -> HTMLResponse:
    return message(texts, "no_invitation", "no_invitation_text", 403)


def home(texts: Texts, person: Person, pages: Sequence[tuple[Page, list[str] | None]], more: str = "") -> HTMLResponse:
    """What the person may do, by page; names below pages that are one for each of them. `more` is a card as HTML."""
    cards = "".join(_card(texts, one, names) for one, names in pages) + more or f"<p>{texts('home_nothing')}</p>"
    body = (
        f"<header><h1>{texts('hello', name=person.name)}</h1>"
        f'<p class="roles">{", ".join(texts(role) for role in person.roles)}</p></header>'
        f'<nav aria-label="{texts("home_pages")}">{cards}</nav>'
        '<form method="post" action="/sign-out">'
        f'<button type="submit" class="quiet">{texts("sign_out")}</button></form>'
    )
    return page(texts, "Ratchet", body)


def _card(texts: Texts, one: Page, names: list[str] | None) -> str:
    title, about = texts(one.title), f"<p>{texts(one.about)}</p>"
    if names is None:
        return f'<section><h2><a href="{one.path}/">{title}</a></h2>{about}</section>'
    links = "".join(f'<li><a href="{one.path}/{quote(name)}/">{escape(name)}</a></li>' for name in names)
    listed = f"<ul>{links}</ul>" if names else f'<p class="hint">{texts("home_none_open")}</p>'
    return f"<section><h2>{title}</h2>{about}{listed}</section>"


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
        f'<label for="{name}">{label}</label>'
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
