"""The results page: leaderboard, runs side by side, items, versions, plots and the progress of one lab, for whoever has
a link.

Everything is read; only tags are written. Handlers keep no state: the filters are the state, and a view's link has them
all. `queue=False` throughout, and every handler asks itself who is there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr

from dashboards import results_data as data
from dashboards import results_live as now
from dashboards import results_view as show
from dashboards.doors import Guests
from dashboards.view import ALL_PLANS, KINDS, PER_PAGE, Choices, View, fit, read_query
from dashboards.web import css, html_part, script, theme
from harness.core.errors import InputError, RatchetError
from harness.core.paths import Lab
from harness.gate import DECIDING_SPLIT
from harness.pipeline.disputes import disputes
from harness.pipeline.failures import add_tag
from harness.report import gallery

TABS = {
    "leaderboard": "Leaderboard",
    "runs": "Runs side by side",
    "items": "Items",
    "versions": "Versions",
    "plots": "Plots",
    "progress": "Progress",
}
FILTERS = ("tab", "plan", "evalset", "metric", "split", "runs", "subjects", "kind", "place", "name", "watch")
Values = dict[Any, Any]
Handler = Callable[[Values, gr.Request], Values]


def look() -> dict[str, Any]:
    """Theme, styles and script, as mount_gradio_app takes them."""
    return {"theme": theme(), "css": css("results.css"), "head": script("results.js")}


class Screen:
    """The components of one page by name, and what to put into them. Holds nothing of any visitor."""

    def __init__(self, lab: Lab, links: Guests) -> None:
        self._lab, self._links = lab, links
        self.parts: dict[str, Any] = {}

    def opened(self, search: str, request: gr.Request) -> Values:
        """The view of the address, or the lab's newest plan: its progress, as long as nothing is stored."""

        def act(who: str) -> Values:
            view = read_query(search)
            if not self._lab.database.is_file():
                view = replace(view, tab="progress")
            return {**self._shown(view), "tabs": gr.Tabs(selected=view.tab if view.tab in TABS else "leaderboard")}

        return self._answered(request, act)

    def changed(self, given: Values, request: gr.Request) -> Values:
        """The tab that is open, with the filters as they are now."""
        return self._answered(request, lambda who: self._shown(self._view(given)))

    def selected(self, tab: str) -> Handler:
        """A handler that opens `tab`. The first tab also says that it was selected when the page appears, before
        `opened` has answered: that is nobody's choice."""

        def handler(given: Values, request: gr.Request) -> Values:
            def act(who: str) -> Values:
                if not given[self.parts["tab"]]:
                    return {"note": gr.skip()}
                return self._shown(replace(self._view(given), tab=tab))

            return self._answered(request, act)

        return handler

    def turned(self, step: int) -> Handler:
        """A handler that goes one page of items on or back."""

        def handler(given: Values, request: gr.Request) -> Values:
            view = self._view(given)
            return self._answered(request, lambda who: self._shown(replace(view, place=view.place + step)))

        return handler

    def tagged(self, removed: bool) -> Handler:
        """A handler that puts a tag on an item, or takes it away, and shows the items again."""

        def handler(given: Values, request: gr.Request) -> Values:
            item_id, tag = (str(given[self.parts[name]] or "") for name in ("item", "tag"))
            return self._answered(request, lambda who: self._tag(self._view(given), item_id, tag, who, removed))

        return handler

    def _tag(self, view: View, item_id: str, tag: str, who: str, removed: bool) -> Values:
        fitted, choices = fit(self._lab, view)
        if not item_id or not fitted.subjects:
            raise InputError("no item is chosen", "choose one in the list")
        target = choices.subjects[fitted.subjects[0]]
        words = "-".join(tag.lower().split())  # a tag is a name: people write it as words
        changed = add_tag(self._lab, target, item_id, [words], who, removed=removed)
        done = "taken from" if removed else "put on"
        text = f"{words} {done} {item_id}." if changed else f"Nothing to change: {item_id} was so already."
        return {**self._shown(fitted), "note": show.note(text, "saved"), "tag": ""}

    def _answered(self, request: gr.Request, act: Callable[[str], Values]) -> Values:
        """Values for the parts after `act` by whoever is there; where it fails the page stays, with a note on top."""
        who = request.username
        try:
            if not who or who not in self._links.raters():
                raise InputError("your link has stopped working", "ask for a new one")
            found = {"note": "", **act(who)}
        except RatchetError as error:
            print(f"error: {error.one_line()}", file=sys.stderr, flush=True)
            found = {"note": show.note(error.one_line(), "error")}
        return {self.parts[name]: value for name, value in found.items()}

    def _view(self, given: Values) -> View:
        """The view of the filters' values: lists and numbers as the components give them, or nothing."""
        values = {name: given[self.parts[name]] for name in FILTERS}
        found: dict[str, Any] = {key: str(value or "") for key, value in values.items()}
        place = values["place"]
        found["place"] = int(place) if isinstance(place, int | float) else 1
        for key in ("runs", "subjects"):
            found[key] = [str(one) for one in values[key] or []]
        return View(**found)

    # --- what each tab shows ------------------------------------------------------------------------------------

    def _shown(self, view: View) -> Values:
        view = view if view.tab in TABS else replace(view, tab="leaderboard")
        if view.tab == "progress" and not self._lab.database.is_file():
            return {"tab": view.tab, **self._progress(view)}  # nothing is stored yet that filters could offer
        view, choices = fit(self._lab, view)
        if view.tab == "progress":
            return {**_filters(view, choices), **self._progress(view)}
        tab: Callable[[View, Choices], Values] = {
            "leaderboard": self._leaderboard,
            "runs": self._runs,
            "items": self._items,
            "versions": self._versions,
            "plots": self._plots,
        }[view.tab]
        return {**_filters(view, choices), **tab(view, choices)}

    def _leaderboard(self, view: View, choices: Choices) -> Values:
        plan = None if view.plan == ALL_PLANS else view.plan
        board = data.leaderboard(self._lab, view.metric, view.split, plan)
        return {"board": show.leaderboard(board), "link": _link(view, ("CSV", "leaderboard"))}

    def _runs(self, view: View, choices: Choices) -> Values:
        found = {one["run_id"]: one for one in data.runs(self._lab)}
        chosen = [found[run] for run in view.runs]
        labels = [one["label"] for one in chosen]
        rows = [*data.side_by_side(chosen), *data.run_means(self._lab, view.runs, view.split)]
        body = show.side_by_side(rows, labels) + show.curves(view.runs)
        return {"side": body, "link": _link(view, ("CSV", "runs"))}

    def _items(self, view: View, choices: Choices) -> Values:
        found = data.items(self._lab, view.metric, view.split, {one: choices.subjects[one] for one in view.subjects})
        if view.split == DECIDING_SPLIT:
            nothing = {"cards": show.sealed(found), "tags": "", "item": gr.Dropdown(choices=[], value=None)}
            return {**nothing, "counts": "", "link": _link(view)}
        kept = [one for one in found.found if view.kind in ("all", one.outcome)]
        pages = max(-(-len(kept) // PER_PAGE), 1)
        view = replace(view, place=min(view.place, pages))
        shown = kept[(view.place - 1) * PER_PAGE : view.place * PER_PAGE]
        names = [one.item_id for one in shown]
        return {
            "counts": show.counts(found, view.subjects, view.place, pages),
            "cards": show.cards(found, shown),
            "tags": show.tags(found),
            "place": view.place,
            "item": gr.Dropdown(choices=names, value=names[0] if names else None),
            "link": _link(view, ("CSV", "items")),
        }

    def _versions(self, view: View, choices: Choices) -> Values:
        record = next((one for one in data.registries(self._lab) if one.name == view.name), None)
        if record is None:
            return {"history": show.note("Nothing was promoted yet."), "link": _link(view)}
        runs = [version.run_id for version in record.versions]
        told = show.history(record, data.verdicts(self._lab, runs), disputes(self._lab, run_ids=runs))
        return {"history": told, "link": _link(view, ("CSV", "history"))}

    def _plots(self, view: View, choices: Choices) -> Values:
        if view.plan == ALL_PLANS:
            return {"pictures": show.note("Plots belong to one plan: choose it above."), "link": _link(view)}
        found = data.report(self._lab, view.plan)
        drawn = gallery(found, data.extras(self._lab, found), show.PLOT_COLUMNS)
        return {"pictures": show.plots(view.plan, drawn), "link": _link(view)}

    def _progress(self, view: View) -> Values:
        plans = now.offered(self._lab)
        if not plans:
            return {"live": show.note("No plan yet: `ratchet run SPEC` makes one."), "link": _link(view)}
        known = [plan_id for _, plan_id in plans]
        view = replace(view, watch=view.watch if view.watch in known else known[0])
        body = now.frame(view.watch, now.live(self._lab, view.watch))
        return {"watch": gr.Dropdown(choices=plans, value=view.watch), "live": body, "link": _link(view)}


def _filters(view: View, choices: Choices) -> Values:
    """Every filter with what it offers now."""
    return {
        "tab": view.tab,
        "plan": gr.Dropdown(choices=choices.plans, value=view.plan),
        "evalset": gr.Dropdown(choices=choices.evalsets, value=view.evalset),
        "metric": gr.Dropdown(choices=choices.metrics, value=view.metric),
        "split": gr.Dropdown(choices=list(data.SPLITS), value=view.split),
        "runs": gr.Dropdown(choices=choices.runs, value=view.runs),
        "subjects": gr.Dropdown(choices=list(choices.subjects), value=view.subjects),
        "kind": gr.Dropdown(choices=list(KINDS), value=view.kind),
        "place": view.place,
        "name": gr.Dropdown(choices=choices.names, value=view.name or None),
    }


def _link(view: View, *files: tuple[str, str]) -> str:
    return show.links(view.query(), *files)


# --- the page ---------------------------------------------------------------------------------------------------


def build(lab: Lab, links: Guests) -> gr.Blocks:
    """The page of one lab."""
    screen = Screen(lab, links)
    with gr.Blocks(title="Results", analytics_enabled=False) as page:
        screen.parts = parts = _components()
        address = gr.Textbox(visible="hidden", label="address")
        filters = {parts[name] for name in FILTERS}
        quiet: dict[str, Any] = {"outputs": list(parts.values()), "queue": False, "api_visibility": "private"}
        page.load(screen.opened, [address], js="() => [window.location.search]", show_progress="hidden", **quiet)
        for tab in TABS:
            parts[f"tab-{tab}"].select(screen.selected(tab), filters, **quiet)
        for name in FILTERS[1:]:
            parts[name].input(screen.changed, filters, **quiet)
        for name, step in (("back", -1), ("next", 1)):
            parts[name].click(screen.turned(step), filters, **quiet)
        for name, removed in (("add", False), ("take", True)):
            parts[name].click(screen.tagged(removed), filters | {parts["item"], parts["tag"]}, **quiet)
        parts["tag"].submit(screen.tagged(False), filters | {parts["item"], parts["tag"]}, **quiet)
    return page


def _components() -> dict[str, Any]:
    """Everything on the page by name, in its place."""
    parts: dict[str, Any] = {"note": html_part("note")}
    with gr.Row(elem_id="filters"):
        for name, label in (("plan", "Plan"), ("evalset", "Evalset"), ("metric", "Metric"), ("split", "Split")):
            parts[name] = _dropdown(name, label)
    parts["tab"] = gr.Textbox(visible="hidden", label="tab")
    with gr.Tabs(elem_id="tabs") as parts["tabs"]:
        with _tab(parts, "leaderboard"):
            parts["board"] = html_part("board")
        with _tab(parts, "runs"):
            parts["runs"] = _dropdown("runs", "Runs", multiselect=True)
            parts["side"] = html_part("side")
        with _tab(parts, "items"):
            _item_components(parts)
        with _tab(parts, "versions"):
            parts["name"] = _dropdown("name", "Name")
            parts["history"] = html_part("history")
        with _tab(parts, "plots"):
            parts["pictures"] = html_part("pictures")
        with _tab(parts, "progress"):
            parts["watch"] = _dropdown("watch", "Plan to watch")
            parts["live"] = html_part("progress")
    parts["link"] = html_part("link")
    return parts


def _item_components(parts: dict[str, Any]) -> None:
    with gr.Row():
        parts["subjects"] = _dropdown("subjects", "Subjects: the first two are compared", multiselect=True)
        parts["kind"] = _dropdown("kind", "Show")
    parts["counts"], parts["cards"] = html_part("counts"), html_part("cards")
    with gr.Row(elem_id="pages"):
        parts["back"] = gr.Button("Back", elem_id="back", size="sm")
        parts["place"] = gr.Number(value=1, precision=0, minimum=1, label="Page", elem_id="page")
        parts["next"] = gr.Button("Next", elem_id="next", size="sm")
    with gr.Row(elem_id="tagging"):
        parts["item"] = _dropdown("item", "Item")
        parts["tag"] = gr.Textbox(label="What is wrong with it", placeholder="wrong tense", elem_id="tag", max_lines=1)
        parts["add"] = gr.Button("Add tag", elem_id="add", size="sm")
        parts["take"] = gr.Button("Take away", elem_id="take", size="sm")
    parts["tags"] = html_part("tag-counts")


def _tab(parts: dict[str, Any], name: str) -> gr.Tab:
    parts[f"tab-{name}"] = gr.Tab(TABS[name], id=name, elem_id=f"tab-{name}")
    return parts[f"tab-{name}"]


def _dropdown(name: str, label: str, multiselect: bool = False) -> gr.Dropdown:
    # Custom values: what is on offer changes while a page is open, and `fit` looks at every value anyway.
    return gr.Dropdown([], label=label, elem_id=name, multiselect=multiselect, allow_custom_value=True)
