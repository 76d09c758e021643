"""The lineage page: from votes to an adapter, its gate and its aliases. Reads only; items of release show as ids alone.

Handlers keep no state: the run is in the link.
"""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import parse_qs, urlencode

import gradio as gr

from dashboards.doors import Door
from dashboards.results_view import note, table
from dashboards.web import complain, css, html_part, plain, theme
from harness.core.errors import RatchetError
from harness.core.paths import Lab
from harness.people import Refused
from harness.pipeline.lineage import Lineage, lineage, runs_with_votes

MOST_ROWS = 200  # of votes and of touched items on the page; the command and SQL have all
STEPS = (("vote", "votes"), ("pair", "pairs"), ("data file", "data files"), ("run", "runs"),
         ("evaluation", "evaluations"), ("verdict", "verdict"), ("alias", "aliases"))  # fmt: skip


def look() -> dict[str, Any]:
    """Theme and styles, as mount_gradio_app takes them."""
    return {"theme": theme(), "css": css("results.css", "lineage.css")}


class Screen:
    """What the page shows. Holds nothing of any visitor."""

    def __init__(self, lab: Lab, door: Door) -> None:
        self._lab, self._door = lab, door

    def opened(self, search: str, request: gr.Request) -> tuple[Any, str]:
        """The run that the link names, else the one that most votes shaped."""
        asked = parse_qs(str(search or "").removeprefix("?"), max_num_fields=20).get("run", [""])[0]
        return self._answered(asked, request)

    def chosen(self, run: str, request: gr.Request) -> tuple[Any, str]:
        return self._answered(str(run or ""), request)

    def _answered(self, asked: str, request: gr.Request) -> tuple[Any, str]:
        try:
            self._door.require(request)
            offered = runs_with_votes(self._lab)
            run = asked or next((run for run, _ in offered), "")
            if not run:
                return gr.skip(), note("No run yet: `ratchet run` makes one.")
            choices = [(f"{name} · {count} votes", name) for name, count in offered]
            return gr.Dropdown(choices=choices, value=run), shown(lineage(self._lab, run))
        except Refused:
            return gr.skip(), note("This page is not for you: sign in as a lead or an engineer.", "error")
        except RatchetError as error:
            complain(error)
            return gr.skip(), note(error.one_line(), "error")


def build(lab: Lab, door: Door) -> gr.Blocks:
    """The page of one lab."""
    screen = Screen(lab, door)
    with gr.Blocks(title="Lineage", analytics_enabled=False) as page:
        gr.HTML("<h1>Lineage</h1>", js_on_load=None, apply_default_css=False)
        # A custom value: a link may name an alias or a version, and `lineage` looks at every value anyway.
        run = gr.Dropdown([], label="Run, version or alias", elem_id="run", allow_custom_value=True)
        body = html_part("lineage")
        address = gr.Textbox(visible="hidden", label="address")
        quiet: dict[str, Any] = {"outputs": [run, body], "queue": False, "api_visibility": "private"}
        page.load(screen.opened, [address], js="() => [window.location.search]", show_progress="hidden", **quiet)
        run.input(screen.chosen, [run], **quiet)
    return page


# --- as HTML: everything that is not ours goes through `plain` ----------------------------------------------------


def shown(found: Lineage) -> str:
    """The answer first, then every step of the way."""
    tone = "error" if found.overlap else "calm"
    link = (
        f"<p class='links'><a class='here' href='?{plain(urlencode({'run': found.run_id}))}'>Link to this view</a></p>"
    )
    return "".join([f"<div id='answer' role='status'>{note(found.answer(), tone)}</div>", _chain(found), link,
                    *_parts(found)])  # fmt: skip


def _chain(found: Lineage) -> str:
    """One line: how much there is of each step."""
    counts = (
        len(found.votes), len({(one["campaign"], one["pair_id"]) for one in found.votes}), len(found.data),
        len(found.runs), len(found.evals), ", ".join(one["verdict"] for one in found.verdicts) or "none",
        len({(one["name"], one["alias"]) for one in found.aliases}),
    )  # fmt: skip
    steps = "".join(
        f"<li><b>{plain(str(count))}</b> {plain(one if count == 1 else many)}</li>"
        for (one, many), count in zip(STEPS, counts, strict=True)
    )
    return f"<ol class='chain' aria-label='From votes to aliases'>{steps}</ol>"


def _parts(found: Lineage) -> list[str]:
    votes = found.votes[:MOST_ROWS]
    per_campaign = Counter((one["campaign"], one["rater"]) for one in found.votes)
    touches = found.touches[:MOST_ROWS]
    return [
        _part("Gate items that rated prompts touch", ("metric", "item", "how", "campaign", "pair"),
              [(one.metric, one.item_id, one.how, one.campaign, one.pair_id) for one in touches], "touches",
              len(found.touches)),
        _part("Raters", ("campaign", "rater", "votes"),
              [(campaign, rater, count) for (campaign, rater), count in sorted(per_campaign.items())], "raters"),
        _part("Data", ("run", "file", "rows", "format", "sha256"),
              [(one["run_id"], one["path"], one["rows"], one["format"], one["sha256"]) for one in found.data], "data"),
        _part("Runs: this one first, then those that it continues", ("run", "label", "method", "made"),
              [(one["run_id"], one["label"], one["method"], one["created"]) for one in found.runs], "runs"),
        _part("Gate", ("plan", "role", "metric"),
              [(one["plan_id"], one["role"], one["metric"]) for one in found.gates], "gates"),
        _part("Evaluations", ("evaluation", "evalset", "version", "made"),
              [(one["eval_id"], one["evalset"], one["evalset_version"], one["created"]) for one in found.evals],
              "evals"),
        _part("Verdicts", ("plan", "verdict", "made"),
              [(one["plan_id"], one["verdict"], one["created"]) for one in found.verdicts], "verdicts"),
        _part("Disputes", ("when", "plan", "who", "why"),
              [(one.at, one.plan_id, one.who, one.text or "(words erased)") for one in found.disputes], "disputes"),
        _part("Versions", ("version", "verdict"),
              [(f"{one['name']}@v{one['version']}",
                f"forced: {one['forced_reason']}" if one["forced_reason"] else one["verdict"])
               for one in found.versions], "versions"),
        _part("Aliases", ("when", "alias", "version", "who", "why"),
              [(one["at"], f"{one['name']}@{one['alias']}", f"v{one['version']}", one["who"], one["why"])
               for one in found.aliases], "moves"),
        _part("Votes", ("campaign", "pair", "rater", "preferred", "when", "taken back"),
              [(one["campaign"], one["pair_id"], one["rater"], one["preferred"], one["at"],
                "yes" if one["undone"] else "") for one in votes], "votes", len(found.votes)),
    ]  # fmt: skip


def _part(title: str, head: tuple[str, ...], rows: list[tuple[Any, ...]], name: str, count: int | None = None) -> str:
    if not rows:
        return f"<section><h2>{plain(title)}</h2>{note('None.')}</section>"
    more = f"<p class='soft'>The first {len(rows)} of {count}.</p>" if count and count > len(rows) else ""
    return f"<section><h2>{plain(title)}</h2>{table(head, rows, name)}{more}</section>"
