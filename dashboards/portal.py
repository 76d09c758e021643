"""One address for everybody: sign in, see what is for you, go there. `ratchet app` calls `serve_portal`.

A request passes three checks. `Gate` stands before everything: nobody without a session comes past it but to the
sign-in and invitation pages, nobody to a page that is not for their roles, no other site's request at all. Gradio asks
again for each of its routes (`auth_dependency`). And every handler asks itself (`Door.require`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar
from urllib.parse import quote

import anyio
import fastapi
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from dashboards import changed, plain, web
from dashboards.doors import Door
from dashboards.gate import SIGN_IN, Gate, Identity, cookie_name, is_https
from dashboards.pages import PAGES, Built, Page
from dashboards.texts import Texts, texts_for, texts_of
from harness.audit import AuditLog
from harness.core.errors import InputError, RatchetError
from harness.core.paths import Lab
from harness.people import Locked, People, Person, Refused, read_proxy
from harness.people.accounts import SESSION_DAYS

DEFAULT_PORT = 7862
HASHES_AT_ONCE = 2  # argon2 takes 64 MiB and a core for each; more would only wait for one another
AHEAD_S = 3.0  # of a start, which takes Gradio three times as long, for what people will come back to
NAMES_KEPT_S = 3  # a campaign that was opened or closed shows as such after this

T = TypeVar("T")


def serve_portal(lab: Lab, port: int = DEFAULT_PORT) -> None:
    """Serve all pages until stopped; port 0 takes a free one. InputError for a taken port or a wrong sso.yaml."""
    portal = Portal(lab)

    def build() -> tuple[fastapi.FastAPI, web.Lines]:
        return portal.app(ahead=True), lambda at: [
            f"ratchet on {lab.root} at {at} (stop with Ctrl-C)",
            *_first_steps(portal),
        ]

    web.serve(port, build, behind_proxy=False)
    portal.close()


def _first_steps(portal: Portal) -> list[str]:
    if portal.people.all():
        return []
    return ["nobody can sign in yet: `ratchet people invite NAME --role lead` prints a link"]


class Portal:
    """The lab's people, its pages, and the app that shows them."""

    def __init__(self, lab: Lab, people: People | None = None, pages: Sequence[Page] = PAGES) -> None:
        self.lab, self.pages = lab, tuple(pages)
        self.people = people or People(lab)
        self.audit = AuditLog(lab)
        self.identity = Identity(self.people, read_proxy(lab), cookie_name(lab))
        self._changed = Door(self.people, changed.ROLES, self.identity.of, self.audit)
        self._hashing: anyio.CapacityLimiter | None = None

    def door(self, page: Page) -> Door:
        return Door(self.people, page.roles, self.identity.of, self.audit)

    def close(self) -> None:
        self.audit.close()

    def app(self, ahead: bool = False) -> fastapi.FastAPI:
        """Everything, behind the gate. `ahead`: with what can be made before anybody comes."""
        halls = [Hall(self, page) for page in self.pages]
        if ahead:
            web.settle_matplotlib()
            for hall in halls:
                hall.build_ahead()

        @contextlib.asynccontextmanager
        async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
            yield
            for hall in halls:
                await hall.close()

        app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
        app.include_router(self._router())
        app.include_router(changed.router(self.lab, self._changed))
        for hall in halls:
            app.mount(hall.page.path, hall)
        app.add_middleware(Gate, identity=self.identity, pages=self.pages, audit=self.audit)
        return app

    # --- sign-in, invitation, home ---

    def _router(self) -> fastapi.APIRouter:
        router = fastapi.APIRouter()
        router.add_api_route("/", self._home, methods=["GET"], response_class=HTMLResponse)
        router.add_api_route("/sign-in", self._sign_in_page, methods=["GET"], response_class=HTMLResponse)
        router.add_api_route("/sign-in", self._sign_in, methods=["POST"], response_class=HTMLResponse)
        router.add_api_route("/invite", self._invitation, methods=["GET"], response_class=HTMLResponse)
        router.add_api_route("/invite", self._accept, methods=["POST"], response_class=HTMLResponse)
        router.add_api_route("/sign-out", self._sign_out, methods=["POST"], response_class=HTMLResponse)
        return router

    def _home(self, request: fastapi.Request) -> Response:
        person = self._somebody(request)
        mine = [(page, self._names(page)) for page in self.pages if person.has(*page.roles)]
        texts = texts_for(request)
        return plain.home(texts, person, mine, changed.card(texts, self.lab, person))

    def _somebody(self, request: fastapi.Request) -> Person:
        person = self.identity.of(request)
        if person is None:
            raise fastapi.HTTPException(401)
        return person

    def _names(self, page: Page) -> list[str] | None:
        return page.names(self.lab) if page.names else None

    def _sign_in_page(self, request: fastapi.Request) -> Response:
        if self.identity.of(request):
            return RedirectResponse("/", 303)
        return plain.sign_in(texts_for(request))

    async def _sign_in(self, request: fastapi.Request) -> Response:
        form, texts = await plain.form(request), texts_for(request)
        name, onward = form.get("name", ""), _local(form.get("onward", "/"))
        try:
            token = await self._hashed(lambda: self.people.sign_in(name, form.get("password", "")))
        except Locked as error:
            return _locked(texts, name, onward, error)
        except Refused as error:
            return plain.sign_in(texts, name, onward, texts.error(error), 401)
        await run_in_threadpool(self.audit.add, name.strip().casefold(), "signed_in", "portal")
        return self._with_cookie(request, RedirectResponse(onward, 303), token)

    def _with_cookie(self, request: fastapi.Request, answer: Response, token: str) -> Response:
        age = SESSION_DAYS * 24 * 3600
        secure = is_https(request.scope)
        answer.set_cookie(self.identity.cookie, token, max_age=age, httponly=True, samesite="strict", secure=secure)
        return answer

    def _invitation(self, request: fastapi.Request, token: str = "") -> Response:
        person, texts = self.people.invitation(token), texts_for(request)
        return plain.invitation(texts, person.name, token) if person else plain.no_invitation(texts)

    async def _accept(self, request: fastapi.Request) -> Response:
        form, texts = await plain.form(request), texts_for(request)
        token, password = form.get("token", ""), form.get("password", "")
        person = self.people.invitation(token)
        if person is None:
            return plain.no_invitation(texts)
        if password != form.get("again", ""):
            return plain.invitation(texts, person.name, token, texts.raw("passwords_differ"), 422)
        try:
            await self._hashed(lambda: self.people.accept(token, password))
            session = await self._hashed(lambda: self.people.sign_in(person.name, password))
        except Locked as error:  # others guessed under this name: the password is saved, the way in has to wait
            return _locked(texts, person.name, "/", error)
        except Refused:  # the link was used meanwhile
            return plain.no_invitation(texts)
        except InputError as error:
            return plain.invitation(texts, person.name, token, texts.error(error), 422)
        await run_in_threadpool(self.audit.add, person.name, "signed_in", "invitation")
        return self._with_cookie(request, RedirectResponse("/", 303), session)

    def _sign_out(self, request: fastapi.Request) -> Response:
        person = self._somebody(request)
        token = request.cookies.get(self.identity.cookie)
        if token:
            self.people.sign_out(token)
        self.audit.add(person.name, "signed_out", "portal")
        texts = texts_for(request)
        answer = plain.sign_in(texts, said=texts.raw("signed_out"))
        answer.delete_cookie(self.identity.cookie, httponly=True, samesite="strict", secure=is_https(request.scope))
        return answer

    async def _hashed(self, act: Callable[[], T]) -> T:
        """`act`, which hashes a password, in a thread; others wait without taking one."""
        self._hashing = self._hashing or anyio.CapacityLimiter(HASHES_AT_ONCE)
        return await anyio.to_thread.run_sync(act, limiter=self._hashing)


def _locked(texts: Texts, name: str, onward: str, error: Locked) -> Response:
    headers = {"retry-after": str(round(error.wait_s) + 1)}
    return plain.sign_in(texts, name, onward, texts.error(error), 429, headers)


def _local(path: str) -> str:
    """`path` where it is one of ours, else the home page: a sign-in must not send anybody to another site."""
    safe = path.startswith("/") and not path.startswith(("//", "/\\", SIGN_IN)) and path.isprintable()
    return quote(path, safe="/?=&%,.@+~-") if safe else "/"


class Hall:
    """ASGI: one entry of PAGES. Builds the page (of a name) when it is first asked for, and keeps it until the end."""

    def __init__(self, portal: Portal, page: Page) -> None:
        self.page = page
        self._portal = portal
        self._open: dict[str, Stand] = {}
        self._lock = asyncio.Lock()
        self._known: list[str] = []
        self._looked = float("-inf")

    def build_ahead(self) -> None:
        """Build what all names share, before anybody asks, and prepare the page's `first` names: those that AHEAD_S is
        enough for. A campaign of 100,000 pairs and half as many votes takes two seconds, which nobody should wait."""
        if not self.page.shared or self._open:
            return
        stand = self._open[""] = Stand.of(self._portal, self.page, "")
        until = time.monotonic() + AHEAD_S
        for name in self.page.first(self._portal.lab) if self.page.first else []:
            if time.monotonic() < until:
                with contextlib.suppress(RatchetError):  # whoever comes for it is told
                    stand.prepare(name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = ""
        if self.page.names:
            rest = str(scope["path"]).removeprefix(self.page.path).strip("/")
            name = rest.partition("/")[0]
        answer: ASGIApp
        try:
            if self.page.names and not name:
                raise KeyError(name)
            answer = (await self._stand(name)).app
        except KeyError:
            answer = plain.message(texts_of(Headers(scope=scope)), "not_here", "not_here_closed", 404)
        except RatchetError as error:
            web.complain(error)
            answer = plain.message(texts_of(Headers(scope=scope)), "not_now", "not_now_text", 503)
        # The page's own app looks at whole paths, as if nothing stood in front of it.
        await answer({**scope, "root_path": "", "app_root_path": ""}, receive, send)

    async def close(self) -> None:
        for stand in self._open.values():
            await stand.close()

    async def _stand(self, name: str) -> Stand:
        """The running page; KeyError where there is none of that name."""
        if self.page.names and name not in await self._names(self.page.names):
            raise KeyError(name)
        which = "" if self.page.shared else name
        found = self._open.get(which)
        if found is not None and found.is_ready_for(name):
            return found
        async with self._lock:
            if which not in self._open:
                self._open[which] = await run_in_threadpool(Stand.of, self._portal, self.page, which)
            stand = self._open[which]
            await stand.start()
        await stand.ready_for(name)  # without the lock: nobody waits for another campaign
        return stand

    async def _names(self, names: Callable[[Lab], list[str]]) -> list[str]:
        """The names that there are, looked up anew every few seconds: a page asks for many parts."""
        if time.monotonic() - self._looked > NAMES_KEPT_S:
            self._known = await run_in_threadpool(names, self._portal.lab)
            self._looked = time.monotonic()
        return self._known


class Stand:
    """A page that runs. Its app starts and ends in one task of its own, as async contexts must."""

    def __init__(self, app: fastapi.FastAPI, built: Built) -> None:
        self.app, self._built = app, built
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._started = asyncio.Event()
        self._ready: set[str] = set()
        self._preparing: dict[str, asyncio.Lock] = {}

    @classmethod
    def of(cls, portal: Portal, page: Page, name: str) -> Stand:
        """Build a page (about a second)."""
        path = f"{page.path}/{{name}}" if page.shared else f"{page.path}/{name}" if name else page.path
        door = portal.door(page)
        built = page.build(portal.lab, door, name)
        app = web.app_of_files(built.files, path)
        web.mount_at(app, built.blocks, path, door.who, built.look)
        return cls(app, built)

    def is_ready_for(self, name: str) -> bool:
        return self._started.is_set() and name in self._ready

    async def start(self) -> None:
        """Start it, where it does not run yet."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        await self._started.wait()

    async def ready_for(self, name: str) -> None:
        """Have it prepare, once, what it shows under a name. Raises as `Built.prepare`."""
        async with self._preparing.setdefault(name, asyncio.Lock()):
            if name not in self._ready:
                await run_in_threadpool(self.prepare, name)

    def prepare(self, name: str) -> None:
        """`ready_for`, of a page that need not run yet."""
        self._built.prepare(name)
        self._ready.add(name)

    async def _run(self) -> None:
        async with self.app.router.lifespan_context(self.app):
            self._started.set()
            await self._over.wait()

    async def close(self) -> None:
        self._over.set()
        if self._task:
            await self._task
        self._built.close()
