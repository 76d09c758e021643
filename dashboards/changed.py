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
from dashboards.web import complain
from harness.core.errors import InputError, RatchetError
from harness.core.paths import Lab
from harness.people import Person, Refused, Role
from harness.pipeline.changed import Changed, Judged, Shaped, changed, dispute
from harness.pipeline.disputes import MOST_CHARACTERS, Dispute

PATH, TITLE = "/changed", "What your votes changed"
ROLES: tuple[Role, ...] = ("rater", "lead")
ON_HOME = 3  # adapters named on the home page
MOST_BYTES = 16_384  # a reason of MOST_CHARACTERS, urlencoded in whatever script
MEANING = {
    "SHIP": "better where it had to be, and not worse where it must not be",
    "BLOCK": "worse somewhere than it may be",
    "INCONCLUSIVE": "too little evidence to tell",
    "INVALID": "the evidence cannot be trusted",
}
SAID = {"sent": "Sent. Engineers see it beside the verdict.", "known": "You said the same before; it is there once."}


def router(lab: Lab, door: Door) -> fastapi.APIRouter:
    """GET shows the page, POST files a dispute; both for raters and leads."""
    found = fastapi.APIRouter()

    @found.get(PATH, response_class=HTMLResponse)
    def page(request: fastapi.Request, said: str = "") -> Response:
        person = _person(door, request)
        return _page(lab, person, SAID.get(said, "")) if person else _not_for_you()

    @found.post(PATH, response_class=HTMLResponse)
    async def sent(request: fastapi.Request) -> Response:
        person = await run_in_threadpool(_person, door, request)
        if person is None:
            return _not_for_you()
        form = await plain.form(request, MOST_BYTES)
        return await run_in_threadpool(_sent, lab, person, form)

    return found


def card(lab: Lab, person: Person) -> str:
    """The part of the home page: the newest adapters and their verdicts, '' for whom the page is not."""
    if not person.has(*ROLES):
        return ""
    try:
        adapters = changed(lab, person.name, person.has("lead")).adapters
    except RatchetError as error:  # a store that cannot be read is no reason to keep anybody from rating
        complain(error)
        adapters = []
    lines = "".join(f"<li>{_line(one)}</li>" for one in adapters[:ON_HOME])
    listed = f"<ul>{lines}</ul>" if lines else ""
    return (
        f'<section><h2><a href="{PATH}">{_title(person)}</a></h2>'
        f"<p>Which adapters were trained on them, and what was said of those.</p>{listed}</section>"
    )


def _person(door: Door, request: fastapi.Request) -> Person | None:
    """Who asks, if they may."""
    try:
        return door.people.get(door.require(request))
    except Refused:
        return None


def _not_for_you() -> Response:
    return plain.message("Not for you", "This page is for raters and leads. Ask a lead for the role.", 403)


def _sent(lab: Lab, person: Person, form: dict[str, str]) -> Response:
    run_id, plan_id, text = (form.get(name, "") for name in ("run", "plan", "text"))
    try:
        added = dispute(lab, person.name, run_id, plan_id, text, person.has("lead"))
    except InputError as error:
        return _page(lab, person, error.one_line(), 422, (run_id, plan_id, text))
    except RatchetError as error:
        complain(error)
        return _page(lab, person, "Not saved. Your text is still here: try again.", 503, (run_id, plan_id, text))
    return RedirectResponse(f"{PATH}?said={'sent' if added else 'known'}", 303)


# --- as HTML: everything that is not ours is escaped ----------------------------------------------------------------

Typed = tuple[str, str, str]  # run, plan, text that was not taken


def _page(lab: Lab, person: Person, said: str = "", status: int = 200, typed: Typed = ("", "", "")) -> Response:
    try:
        found = changed(lab, person.name, person.has("lead"))
    except RatchetError as error:
        complain(error)
        return plain.message("Not now", "The results cannot be read. Tell whoever runs this.", 503)
    body = (
        f"<header><h1>{_title(person)}</h1></header>{plain.status_line(said, status != 200)}"
        f'{_adapters(found, person, typed)}{_waiting(found)}<p><a href="/">To your page</a></p>'
    )
    return plain.page(_title(person), body, status)


def _title(person: Person) -> str:
    return "What votes changed" if person.has("lead") else TITLE


def _adapters(found: Changed, person: Person, typed: Typed) -> str:
    if not found.adapters:
        return "<p>No adapter was trained on them yet.</p>" if not found.waiting else ""
    return "".join(_adapter(one, person, typed) for one in found.adapters)


def _waiting(found: Changed) -> str:
    if not found.waiting:
        return ""
    names = ", ".join(escape(name) for name in found.waiting)
    return f'<p class="hint">Still open, and shown here once a lead has closed them: {names}.</p>'


def _line(one: Shaped) -> str:
    verdict = one.verdicts[-1].verdict if one.verdicts else "not judged yet"
    return f"<strong>{escape(one.name)}</strong>: {escape(verdict)}"


def _adapter(one: Shaped, person: Person, typed: Typed) -> str:
    counted = f"{one.votes:,} vote{'' if one.votes == 1 else 's'}"
    if not person.has("lead"):
        counted = f"{one.mine:,} of {counted} {'is' if one.mine == 1 else 'are'} yours"
    how = " (through the adapter that it continues)" if one.inherited else ""
    serving = f"<p>Serves now as {escape(', '.join(one.serving))}.</p>" if one.serving else ""
    verdicts = "".join(_verdict(one, judged, typed) for judged in reversed(one.verdicts))
    run = "" if one.versions else f' <span class="hint">run {escape(one.run_id)}, in no version yet</span>'
    return (
        f'<section class="adapter"><h2>{escape(one.name)}{run}</h2>'
        f"<p>Trained on votes of {escape(', '.join(one.campaigns))}{how}; {counted}.</p>{serving}"
        f"{verdicts or '<p>It was not judged yet.</p>'}</section>"
    )


def _verdict(one: Shaped, judged: Judged, typed: Typed) -> str:
    mine = typed[:2] == (one.run_id, judged.plan_id)
    name = f"{one.run_id}-{judged.plan_id}"
    disputed = "".join(_disputed(each) for each in judged.disputes)
    why = MEANING.get(judged.verdict, "") + (f" ({judged.reason})" if judged.reason else "")
    return (
        f"<h3>{escape(judged.verdict)}</h3><p>{escape(why)}."
        f' <span class="hint">{escape(judged.created[:10])}, plan {escape(judged.plan_id)}</span></p>{disputed}'
        f"<details{' open' if mine else ''}><summary>Dispute this verdict</summary>"
        f'<form method="post" action="{PATH}"><input type="hidden" name="run" value="{escape(one.run_id)}">'
        f'<input type="hidden" name="plan" value="{escape(judged.plan_id)}">'
        f'<label for="{escape(name)}">What is wrong with it?</label>'
        f'<textarea id="{escape(name)}" name="text" rows="4" maxlength="{MOST_CHARACTERS}" required>'
        f"{escape(typed[2]) if mine else ''}</textarea>"
        f'<button type="submit">Send to the engineers</button></form></details>'
    )


def _disputed(one: Dispute) -> str:
    words = escape(one.text) or "(its words were erased)"
    return f'<p class="disputed">Disputed by {escape(one.who)}, {escape(one.at[:10])}: {words}</p>'
