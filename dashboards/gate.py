"""What stands before every page of the portal: who is there, may they come here, does the request come from here."""

from __future__ import annotations

from collections.abc import Sequence

import fastapi
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

from dashboards import plain
from dashboards.pages import Page
from dashboards.texts import Texts, texts_of
from dashboards.web import HEADERS, adding, complain, names_other_site
from harness.audit import AuditLog
from harness.core.errors import RatchetError
from harness.core.fingerprint import sha256_of
from harness.core.paths import Lab
from harness.people import People, Person, Proxy

SIGN_IN = "/sign-in"
OPEN = (SIGN_IN, "/invite")  # all that anybody may ask for
FOR_ALL = ("/", "/sign-out", "/changed")  # for whoever is signed in; the last asks for roles itself
SAFE = ("GET", "HEAD")

# With 'no-referrer', browsers send 'Origin: null' with our own forms, and they could not be told from other sites'.
PORTAL_HEADERS = {**HEADERS, "referrer-policy": "same-origin", "x-frame-options": "DENY"}


def cookie_name(lab: Lab) -> str:
    """Cookies do not tell ports apart, so two labs need two names."""
    return f"ratchet-{sha256_of(str(lab.root))[:8]}"


def is_https(scope: Scope) -> bool:
    """Whether the browser speaks https. A proxy says so; whoever lies about it spoils only their own cookie."""
    said = Headers(scope=scope).get("x-forwarded-proto", "").partition(",")[0].strip()
    return (said or scope["scheme"]) == "https"


class Identity:
    """Finds out who sent a request: by the company's proxy if there is one, else by the cookie of a session."""

    def __init__(self, people: People, proxy: Proxy | None, cookie: str) -> None:
        self.people, self.cookie = people, cookie
        self._proxy = proxy

    def of(self, request: fastapi.Request) -> Person | None:
        return self.of_scope(request.scope)

    def of_scope(self, scope: Scope) -> Person | None:
        headers = Headers(scope=scope)
        called = self._from_proxy(scope, headers)
        if called is not None:
            return self.people.known_to_proxy(called)
        return self.people.signed_in(cookie_parser(headers.get("cookie", "")).get(self.cookie))

    def _from_proxy(self, scope: Scope, headers: Headers) -> str | None:
        """Whom a trusted proxy names. None without one, and from anybody else: then the header means nothing."""
        if self._proxy is None:
            return None
        said = headers.getlist(self._proxy.header)
        if len(said) != 1 or not said[0]:
            return None  # two: somebody in front added theirs to the proxy's
        secret = headers.get(self._proxy.secret_header) if self._proxy.secret_header else None
        address = scope["client"][0] if scope.get("client") else None
        return said[0] if self._proxy.trusts(address, secret) else None


class Gate:
    """ASGI: 401 for strangers, 403 for wrong roles and other sites; an opened page leaves a line in the audit log."""

    def __init__(self, app: ASGIApp, identity: Identity, pages: Sequence[Page], audit: AuditLog) -> None:
        self._app, self._identity, self._pages, self._audit = app, identity, tuple(pages), audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":  # no route here speaks anything else
            return await send({"type": "websocket.close", "code": 1008})
        if is_https(scope):
            scope["scheme"] = "https"  # so that redirects stay there
        answer = await run_in_threadpool(self._refusal, scope)
        await (answer or self._app)(scope, receive, adding(send, PORTAL_HEADERS))

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        """What to answer in place of the page, or None where the request may pass."""
        path, headers = str(scope["path"]), Headers(scope=scope)
        texts = texts_of(headers)
        if _is_foreign(scope, headers):
            return plain.message(texts, "foreign", "foreign_text", 403)
        if path in OPEN:
            return None
        try:
            person = self._identity.of_scope(scope)
            if person is None:
                return _stranger(texts, scope, headers)
            page = next((page for page in self._pages if path == page.path or path.startswith(f"{page.path}/")), None)
            if page is None:
                return None if path in FOR_ALL else plain.message(texts, "not_here", "not_here_text", 404)
            if not person.has(*page.roles):
                return plain.not_for_you(texts, page.roles)
            if scope["method"] == "GET" and _is_opened(headers):
                self._audit.add(person.name, "opened", path)
        except RatchetError as error:
            complain(error)  # where the lab lies is nothing for strangers
            return plain.message(texts, "not_now", "not_now_people", 503)
        return None


def _is_foreign(scope: Scope, headers: Headers) -> bool:
    """Whether another site sent this, as far as the browser tells. Reading a page by a link from outside is no harm."""
    if names_other_site(headers):
        return True
    return scope["method"] not in SAFE and headers.get("sec-fetch-site") not in (None, "same-origin", "none")


def _stranger(texts: Texts, scope: Scope, headers: Headers) -> ASGIApp:
    """The sign-in page, with where to go on to; others than browsers that open a page get only its status."""
    path = str(scope["path"])
    if scope["method"] != "GET" or not _is_opened(headers):
        return plain.message(texts, "sign_in", "sign_in_first", 401)
    if headers.get("sec-fetch-site") == "cross-site":
        return plain.again(texts)  # a Strict cookie is not sent along a link in a mail; asked for from here, it is
    query = scope.get("query_string", b"").decode("latin-1")
    return plain.sign_in(texts, onward=path + (f"?{query}" if query else ""), status=401)


def _is_opened(headers: Headers) -> bool:
    """Whether a person opens a page, rather than a page asking for its parts."""
    return headers.get("sec-fetch-dest") in (None, "document") and "text/html" in headers.get("accept", "")
