"""The lead's board: what votes are worth, pairs to decide, raters and the campaign to steer, the next round.

Handlers keep no state: the page holds the campaign's name, and a ticket of the pair that is shown. `queue=False`
throughout, and every handler asks itself who is there. Engineers look and write rounds; only leads decide and steer.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import gradio as gr

from dashboards import board_view as view
from dashboards.board_parts import PAGE_TABS, components
from dashboards.doors import Door
from dashboards.results_view import note
from dashboards.web import complain, css, theme
from harness import audit
from harness import campaign as campaigns
from harness.core.errors import InputError, RatchetError
from harness.core.fingerprint import sha256_of
from harness.core.paths import Lab
from harness.people import Refused, Role
from harness.pipeline import steering
from harness.pipeline.adjudicating import VERDICTS, Decision, Docket, rule
from harness.pipeline.board import board_of
from harness.pipeline.rated import Kept
from harness.pipeline.round_preview import preview_round
from harness.pipeline.rounds import Asked, Labels, next_round

MOST_PAIRS = 500  # to choose from; as they are decided the next ones come
MOST_REASON = 500
Values = dict[Any, Any]
Handler = Callable[[Values, gr.Request], Values]
Act = Callable[[str], Values]


def look() -> dict[str, Any]:
    """Theme and styles, as mount_gradio_app takes them."""
    return {"theme": theme(), "css": css("results.css", "markdown.css", "board.css")}


class Screen:
    """The page's components by name, and what to put into them. Holds nothing of any visitor, and of campaigns only
    what is on disk."""

    def __init__(self, lab: Lab, door: Door) -> None:
        self._lab, self._door = lab, door
        self._kept = Kept(lab)
        self.parts: dict[str, Any] = {}

    def opened(self, search: str, request: gr.Request) -> Values:
        """The campaign, tab and pair of the address; else the newest campaign."""
        asked = parse_qs(str(search or "").removeprefix("?"), max_num_fields=20)
        wanted, tab, pair = (asked.get(name, [""])[0] for name in ("campaign", "tab", "pair"))

        def act(who: str) -> Values:
            campaign = wanted or next(iter(self._names()), "")
            if not campaign:
                return {"note": note("No campaign yet: `ratchet campaign create` makes one.")}
            shown = {**self._of(campaign, who), "tabs": gr.Tabs(selected=tab if tab in PAGE_TABS else "board")}
            return {**shown, **self._case(campaign, who, pair)} if pair else shown

        return self._answered(request, act)

    def chosen(self, given: Values, request: gr.Request) -> Values:
        return self._answered(request, lambda who: self._of(self._campaign(given), who))

    def again(self, given: Values, request: gr.Request) -> Values:
        """The board as it is now. Its tab says that it was selected when the page appears, too, before `opened` has
        answered: that is nobody's choice."""

        def act(who: str) -> Values:
            if not given[self.parts["campaign"]]:
                return {"note": gr.skip()}
            return {"board": view.shown(board_of(self._kept.of(self._campaign(given))))}

        return self._answered(request, act)

    def looked(self, given: Values, request: gr.Request) -> Values:
        """The pair that was chosen."""
        return self._answered(request, lambda who: self._case(self._campaign(given), who, self._text(given, "pair")))

    def ruled(self, verdict: str) -> Handler:
        """A handler that decides the pair of the ticket, and shows the next one."""

        def handler(given: Values, request: gr.Request) -> Values:
            def act(who: str) -> Values:
                campaign, pair_id, event = self._ticket(given)
                reason = self._text(given, "reason")[:MOST_REASON]
                rule(self._lab, campaign, who, Decision(pair_id, verdict, reason, event))
                saved = note(f"Saved: {pair_id}, {view.SAID[verdict]}.", "saved")
                return {**self._case(campaign, who), "note": saved}

            return self._answered(request, act, "lead")

        return handler

    # --- raters and the campaign -----------------------------------------------------------------------------------

    def rated(self, what: steering.Steering) -> Handler:
        """A handler that pauses the chosen rater, or lets them go on."""

        def handler(given: Values, request: gr.Request) -> Values:
            def act(who: str) -> Values:
                campaign, rater = self._campaign(given), self._text(given, "rater")
                if rater not in self._raters(campaign):
                    raise InputError(f"{rater!r} is no rater of {campaign}", "choose one in the list")
                reason = self._text(given, "pause-reason")[:MOST_REASON]
                steering.steer(self._lab, campaign, what, who, rater=rater, reason=reason)
                done = "is paused in" if what == "pause" else "goes on in"
                return {**self._of(campaign, who), "note": note(f"Saved: {rater} {done} {campaign}.", "saved")}

            return self._answered(request, act, "lead")

        return handler

    def pair_opened(self, given: Values, request: gr.Request) -> Values:
        """One pair goes to one more rater; pressed twice, to one more all the same."""

        def act(who: str) -> Values:
            campaign, pair_id = self._campaign(given), self._text(given, "again-pair")
            ticket = self._text(given, "again-ticket")
            event = f"{pair_id}/{ticket}" if ticket else ""
            steering.steer(self._lab, campaign, "reopen_pair", who, pair_id=pair_id, event=event)
            saved = note(f"Saved: {pair_id} goes to one more rater.", "saved")
            return {"again-pair": "", "again-ticket": secrets.token_hex(8), "note": saved}

        return self._answered(request, act, "lead")

    def closed(self, what: steering.Steering) -> Handler:
        """A handler that closes or opens the campaign whose name was typed as confirmation."""

        def handler(given: Values, request: gr.Request) -> Values:
            def act(who: str) -> Values:
                campaign = self._campaign(given)
                if self._text(given, "confirm") != campaign:
                    raise InputError(f"not done: type {campaign} to confirm", "once it is closed, names show")
                if campaigns.closed(self._lab, campaign) == (what == "close"):
                    raise InputError(f"{campaign} is {'closed' if what == 'close' else 'open'} already")
                steering.steer(self._lab, campaign, what, who)
                done = "closed; names are shown now" if what == "close" else "open again"
                return {
                    **self._of(campaign, who),
                    "confirm": "",
                    "note": note(f"Saved: {campaign} is {done}.", "saved"),
                }

            return self._answered(request, act, "lead")

        return handler

    # --- the next round --------------------------------------------------------------------------------------------

    def previewed(self, given: Values, request: gr.Request) -> Values:
        """What the next round would be; nothing is written."""
        return self._answered(request, lambda who: self._preview(self._asked(given)))

    def written(self, given: Values, request: gr.Request) -> Values:
        """Write the round, if it is what the page shows."""

        def act(who: str) -> Values:
            asked = self._asked(given)
            if not asked.primary:
                raise InputError("it is not said what the round must win", "look at the preview first")
            now = self._preview(asked)
            if now["seen"] != self._text(given, "seen"):
                return {
                    **now,
                    "note": note("Not written: this is what it would be now. Look, then press again.", "error"),
                }
            made = next_round(self._lab, asked)
            audit.note(self._lab, who, "exported", str(made.files[0]), {"rows": len(made.found.rows)})
            return {"round": view.written(map(str, made.files), made.text)}

        return self._answered(request, act)

    def _asked(self, given: Values) -> Asked:
        name = campaigns.read_record(self._lab, self._campaign(given)).name
        primary, alias = self._text(given, "primary"), self._text(given, "alias") or "prod"
        labels: Labels = "majority" if self._text(given, "labels") == "majority" else "adjudicated"
        return Asked(name, primary, alias, labels=labels)

    def _preview(self, asked: Asked) -> Values:
        found = preview_round(self._lab, asked)
        seen = "" if found.refused else sha256_of(found.model_dump(mode="json"))
        return {"round": view.round_of(found), "primary": found.primary, "seen": seen}

    # --- inside ----------------------------------------------------------------------------------------------------

    def _of(self, campaign: str, who: str) -> Values:
        """Everything of one campaign; the next round only when it is asked for."""
        found = board_of(self._kept.of(campaign))
        raters = [(f"{name} · paused" if name in found.paused else name, name) for name in self._raters(campaign)]
        return {
            "campaign": gr.Dropdown(choices=self._names(), value=campaign),
            "board": view.shown(found),
            "rater": gr.Dropdown(choices=raters, value=None),
            "again-ticket": secrets.token_hex(8),
            "round": "",
            "seen": "",
            **self._case(campaign, who),
        }

    def _case(self, campaign: str, who: str, pair_id: str = "") -> Values:
        """`pair_id`, or the next one to decide, with a new ticket."""
        docket = Docket(self._lab, campaign, self._kept.of(campaign))
        pair_id = pair_id or next(iter(docket.undecided), "")
        found = docket.case(pair_id, who) if pair_id else None
        return {
            "pair": gr.Dropdown(choices=docket.undecided[:MOST_PAIRS], value=pair_id or None),
            "case": view.case(found, len(docket.undecided)),
            "ticket": json.dumps([campaign, pair_id, secrets.token_hex(8)]) if found else "",
            "reason": "",
        }

    def _names(self) -> list[str]:
        """Campaigns that compare, newest first."""
        return [one.campaign for one in reversed(campaigns.list_all(self._lab)) if one.kind == "compare"]

    def _raters(self, campaign: str) -> list[str]:
        """Who voted, and who may."""
        votes = self._kept.of(campaign).look().votes
        return sorted(
            {vote.rater for vote in votes} | {one.name for one in self._door.people.all() if one.has("rater")}
        )

    def _text(self, given: Values, name: str) -> str:
        return str(given[self.parts[name]] or "").strip()

    def _campaign(self, given: Values) -> str:
        found = self._text(given, "campaign")
        if not found:
            raise InputError("no campaign is chosen", "choose one at the top")
        return found

    def _ticket(self, given: Values) -> tuple[str, str, str]:
        try:
            campaign, pair_id, event = map(str, json.loads(self._text(given, "ticket")))
        except (ValueError, TypeError) as error:
            raise InputError("no pair is shown", "choose one in the list") from error
        return campaign, pair_id, event

    def _answered(self, request: gr.Request, act: Act, *roles: Role) -> Values:
        """Values for the parts after `act` by whoever is there; where it fails the page stays, with a note on top."""
        try:
            found = {"note": "", **act(self._door.require(request, *roles))}
        except Refused:
            found = {"note": note("This is for leads: sign in as one." if roles else
                                  "This page is not for you: sign in as a lead or an engineer.", "error")}  # fmt: skip
        except RatchetError as error:
            complain(error)
            found = {"note": note(error.one_line(), "error")}
        return {self.parts[name]: value for name, value in found.items()}


def build(lab: Lab, door: Door) -> gr.Blocks:
    """The page of one lab."""
    screen = Screen(lab, door)
    with gr.Blocks(title="Board", analytics_enabled=False) as page:
        screen.parts = parts = components()
        address = gr.Textbox(visible="hidden", label="address")
        quiet: dict[str, Any] = {"outputs": list(parts.values()), "queue": False, "api_visibility": "private"}

        def on(name: str, handler: Handler, *inputs: str) -> None:
            event = getattr(parts[name], {gr.Dropdown: "input", gr.Tab: "select"}.get(type(parts[name]), "click"))
            event(handler, {parts[one] for one in inputs}, **quiet)

        page.load(screen.opened, [address], js="() => [window.location.search]", show_progress="hidden", **quiet)
        on("campaign", screen.chosen, "campaign")
        on("tab-board", screen.again, "campaign")
        on("pair", screen.looked, "campaign", "pair")
        for verdict in VERDICTS:
            on(verdict, screen.ruled(verdict), "ticket", "reason")
        pauses: tuple[steering.Steering, ...] = ("pause", "resume")
        for what in pauses:
            on(what, screen.rated(what), "campaign", "rater", "pause-reason")
        on("reopen-pair", screen.pair_opened, "campaign", "again-pair", "again-ticket")
        closings: tuple[steering.Steering, ...] = ("close", "reopen")
        for what in closings:
            on(what, screen.closed(what), "campaign", "confirm")
        on("preview", screen.previewed, "campaign", "primary", "alias", "labels")
        on("write", screen.written, "campaign", "primary", "alias", "labels", "seen")
    return page
