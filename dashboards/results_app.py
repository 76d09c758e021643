"""The results page as a server of its own, behind personal links. `ratchet dashboard` calls `serve_results`.

Besides the page: /table/NAME.csv, /plot/NAME.svg and .png, /report/PLAN, and /live/PLAN (how far it is), all behind the
same link, all read-only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import fastapi
from fastapi.responses import PlainTextResponse

from dashboards import linked, results, results_live, web
from dashboards.links import Links
from dashboards.results_files import as_csv, picture, table_of
from harness import audit
from harness.core.errors import InputError, RatchetError
from harness.core.fingerprint import sha256_of
from harness.core.paths import Lab, check_name
from harness.people import Refused

DEFAULT_PORT = 7861


def serve_results(lab: Lab, port: int = DEFAULT_PORT, viewers: Sequence[str] = ("owner",)) -> None:
    """Serve the lab's results until stopped, and print one personal link for each viewer.

    Port 0 takes a free one. Raises InputError when a name is not valid or the port is taken.
    """
    for viewer in viewers:
        check_name(viewer, "viewer")
    links = links_of(lab)

    def build() -> tuple[fastapi.FastAPI, web.Lines]:
        tokens = links.new(list(viewers))
        return build_app(lab, links), linked.link_lines(f"results of {lab.root}", tokens)

    web.serve(port, build)


def links_of(lab: Lab) -> Links:
    """Who may see the lab's results."""
    place = lab.root / "dashboard"
    place.mkdir(parents=True, exist_ok=True)
    return Links(place, "viewers.json")


def build_app(lab: Lab, links: Links) -> fastapi.FastAPI:
    """The page with its files, everything refused without a viewer's cookie."""
    cookie = f"ratchet-results-{sha256_of(str(lab.root))[:8]}"  # cookies do not tell ports apart, so labs need names
    app = linked.app_with_login(links, cookie, "opening_results")

    @app.exception_handler(RatchetError)
    def wrong(request: fastapi.Request, error: RatchetError) -> PlainTextResponse:
        return PlainTextResponse(error.one_line(), status_code=404)

    def who(request: fastapi.Request, did: audit.Did | None = None, what: str = "") -> None:
        name = links.rater_of(request.cookies.get(cookie))
        if name is None:
            raise Refused("your link has stopped working", "ask for a new one")
        if did:
            log.add(name, did, what)

    log = audit.AuditLog(lab)
    app.include_router(files(lab, who))
    return linked.mount(app, results.build(lab, links), links, cookie, results.look())


class Ask(Protocol):
    """Raises Refused for whoever may not; where something was done, keeps a line of it."""

    def __call__(self, request: fastapi.Request, did: audit.Did | None = None, what: str = "") -> None: ...


def files(lab: Lab, ask: Ask) -> fastapi.APIRouter:
    """Tables, plots and reports, for whom `ask` lets through."""
    router = fastapi.APIRouter()

    @router.get("/table/{name}.csv")
    def table(name: str, request: fastapi.Request) -> fastapi.Response:
        ask(request)
        head, rows = table_of(lab, name, request.url.query)
        ask(request, "exported", f"{name}.csv")
        named = {"content-disposition": f'attachment; filename="{name}.csv"'}
        return fastapi.Response(as_csv(head, rows), media_type="text/csv; charset=utf-8", headers=named)

    @router.get("/plot/{name}.{kind}")
    def plot(name: str, kind: str, request: fastapi.Request, plan: str = "", runs: str = "") -> fastapi.Response:
        ask(request)
        run_ids = [run for run in runs.split(",") if run]
        content = picture(lab, name, kind, plan, run_ids)
        return fastapi.Response(content, media_type="image/svg+xml" if kind == "svg" else "image/png")

    @router.get("/live/{plan_id}")
    def live(plan_id: str, request: fastapi.Request) -> fastapi.Response:
        ask(request)
        content = results_live.live(lab, plan_id)
        headers = {"cache-control": "no-store"}
        return fastapi.Response(content, media_type="text/html; charset=utf-8", headers=headers)

    @router.get("/report/{plan_id}")
    def report(plan_id: str, request: fastapi.Request) -> fastapi.Response:
        ask(request)
        path = lab.reports / f"{check_name(plan_id, 'plan')}.html"
        if not path.is_file():
            raise InputError(f"plan {plan_id} has no page yet", "run `ratchet report` for it")
        ask(request, "saw", f"report {plan_id}")
        return fastapi.Response(path.read_bytes(), media_type="text/html; charset=utf-8")

    return router
