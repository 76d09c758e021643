"""What your votes changed: which adapters they shaped, with which verdict; and a form to dispute one. Plain HTML.

A rater sees their own part, of campaigns that are closed; a lead sees that of all. `harness.pipeline.changed` decides
what that is, here too when something is sent.
"""

from __future__ import annotations

from html import escape

import fastapi
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from dashboards import plain
from dashboards.doors import Door
from dashboards.texts import Texts, texts_for
from dashboards.web import complain
from harness.core.errors import InputError, RatchetError
from harness.core.paths import Lab
from harness.people import Person, Refused, Role
from harness.pipeline.changed import Changed, Judged, Shaped, changed, dispute
from harness.pipeline.disputes import MOST_CHARACTERS, Dispute

PATH = "/changed"
ROLES: tuple[Role, ...] = ("rater", "lead")
ON_HOME = 3  # adapters named on the home page
MOST_BYTES = 16_384  # a reason of MOST_CHARACTERS, urlencoded in whatever script
SAID = {"sent": "dispute_sent", "known": "dispute_known"}


def router(lab: Lab, door: Door) -> fastapi.APIRouter:
    """GET shows the page, POST files a dispute; both for raters and leads."""
    found = fastapi.APIRouter()

    @found.get(PATH, response_class=HTMLResponse)
    def page(request: fastapi.Request, said: str = "") -> Response:
        person, texts = _person(door, request), texts_for(request)
        if person is None:
            return plain.not_for_you(texts, ROLES)
        return _page(texts, lab, person, texts.raw(SAID[said]) if said in SAID else "")

    @found.post(PATH, response_class=HTMLResponse)
    async def sent(request: fastapi.Request) -> Response:
        person = await run_in_threadpool(_person, door, request)
        if person is None:
            return plain.not_for_you(texts_for(request), ROLES)
        form = await plain.form(request, MOST_BYTES)
        return await run_in_threadpool(_sent, texts_for(request), lab, person, form)

    return found


def card(texts: Texts, lab: Lab, person: Person) -> str:
    """The part of the home page: the newest adapters and their verdicts, '' for whom the page is not."""
    if not person.has(*ROLES):
        return ""
    try:
        adapters = changed(lab, person.name, person.has("lead")).adapters
    except RatchetError as error:  # a store that cannot be read is no reason to keep anybody from rating
        complain(error)
        adapters = []
    lines = "".join(f"<li>{_line(texts, one)}</li>" for one in adapters[:ON_HOME])
    listed = f"<ul>{lines}</ul>" if lines else ""
    return (
        f'<section><h2><a href="{PATH}">{texts(_title(person))}</a></h2>'
        f"<p>{texts('home_changed')}</p>{listed}</section>"
    )


def _person(door: Door, request: fastapi.Request) -> Person | None:
    """Who asks, if they may."""
    try:
        return door.people.get(door.require(request))
    except Refused:
        return None


def _sent(texts: Texts, lab: Lab, person: Person, form: dict[str, str]) -> Response:
    run_id, plan_id, text = (form.get(name, "") for name in ("run", "plan", "text"))
    try:
        added = dispute(lab, person.name, run_id, plan_id, text, person.has("lead"))
    except InputError as error:
        return _page(texts, lab, person, texts.error(error), 422, (run_id, plan_id, text))
    except RatchetError as error:
        complain(error)
        return _page(texts, lab, person, texts.raw("dispute_not_saved"), 503, (run_id, plan_id, text))
    return RedirectResponse(f"{PATH}?said={'sent' if added else 'known'}", 303)


# --- as HTML: everything that is not ours is escaped ----------------------------------------------------------------

Typed = tuple[str, str, str]  # run, plan, text that was not taken


def _page(
    texts: Texts, lab: Lab, person: Person, said: str = "", status: int = 200, typed: Typed = ("", "", "")
) -> Response:
    try:
        found = changed(lab, person.name, person.has("lead"))
    except RatchetError as error:
        complain(error)
        return plain.message(texts, "not_now", "changed_unreadable", 503)
    title = _title(person)
    body = (
        f"<header><h1>{texts(title)}</h1></header>{plain.status_line(said, status != 200)}"
        f"{_adapters(texts, found, person, typed)}{_waiting(texts, found)}{plain.home_link(texts)}"
    )
    return plain.page(texts, texts.raw(title), body, status)


def _title(person: Person) -> str:
    return "changed_title_lead" if person.has("lead") else "changed_title"


def _adapters(texts: Texts, found: Changed, person: Person, typed: Typed) -> str:
    if not found.adapters:
        return f"<p>{texts('changed_nothing')}</p>" if not found.waiting else ""
    return "".join(_adapter(texts, one, person, typed) for one in found.adapters)


def _waiting(texts: Texts, found: Changed) -> str:
    if not found.waiting:
        return ""
    return f'<p class="hint">{texts("changed_waiting", names=", ".join(found.waiting))}</p>'


def _line(texts: Texts, one: Shaped) -> str:
    verdict = one.verdicts[-1].verdict if one.verdicts else texts.raw("changed_not_judged")
    return f"<strong>{escape(one.name)}</strong>: {escape(verdict)}"


def _adapter(texts: Texts, one: Shaped, person: Person, typed: Typed) -> str:
    counted = texts.counted("changed_votes", one.votes)
    if not person.has("lead"):
        counted = texts.counted("changed_mine", one.mine, votes=counted)
    trained = "changed_inherited" if one.inherited else "changed_trained"
    serving = texts.around("changed_serving", names=escape(", ".join(one.serving))) if one.serving else ""
    verdicts = "".join(_verdict(texts, one, judged, typed) for judged in reversed(one.verdicts))
    never = "" if verdicts else f"<p>{texts('changed_never_judged')}</p>"
    run = "" if one.versions else f' <span class="hint">{texts("changed_no_version", run=one.run_id)}</span>'
    return (
        f'<section class="adapter"><h2>{escape(one.name)}{run}</h2>'
        f"<p>{texts(trained, names=', '.join(one.campaigns), votes=counted)}</p>{serving and f'<p>{serving}</p>'}"
        f"{verdicts}{never}</section>"
    )


def _verdict(texts: Texts, one: Shaped, judged: Judged, typed: Typed) -> str:
    mine = typed[:2] == (one.run_id, judged.plan_id)
    name = f"{one.run_id}-{judged.plan_id}"
    disputed = "".join(_disputed(texts, each) for each in judged.disputes)
    when = texts("changed_plan", at=judged.created[:10], plan=judged.plan_id)
    return (
        f"<h3>{escape(judged.verdict)}</h3><p>{_meaning(texts, judged)}."
        f' <span class="hint">{when}</span></p>{disputed}'
        f"<details{' open' if mine else ''}><summary>{texts('dispute')}</summary>"
        f'<form method="post" action="{PATH}"><input type="hidden" name="run" value="{escape(one.run_id)}">'
        f'<input type="hidden" name="plan" value="{escape(judged.plan_id)}">'
        f'<label for="{escape(name)}">{texts("dispute_what")}</label>'
        f'<textarea id="{escape(name)}" name="text" rows="4" maxlength="{MOST_CHARACTERS}" required>'
        f"{escape(typed[2]) if mine else ''}</textarea>"
        f'<button type="submit">{texts("dispute_send")}</button></form></details>'
    )


def _meaning(texts: Texts, judged: Judged) -> str:
    """What a verdict means, and the gate's own reason, which is English for all."""
    key = f"verdict_{judged.verdict}"
    reason = f' (<span lang="en">{escape(judged.reason)}</span>)' if judged.reason else ""
    return (texts(key) if key in texts else "") + reason


def _disputed(texts: Texts, one: Dispute) -> str:
    words = one.text or texts.raw("dispute_erased")
    return f'<p class="disputed">{texts("disputed", who=one.who, at=one.at[:10], words=words)}</p>'
