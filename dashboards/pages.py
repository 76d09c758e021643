"""The pages of the portal: one line each. How they are shown, guarded and mounted is in portal.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import fastapi
import gradio as gr

from dashboards import board, chat, lineage, rate, results, results_app, write
from dashboards.desk import Desk, Desks
from dashboards.doors import Door
from dashboards.write_desk import WriteDesk
from harness import campaign as campaigns
from harness.core.paths import Lab
from harness.people import Role
from harness.pipeline import trying
from serve.plugin import feedback


@dataclass(frozen=True)
class Built:
    """A page that stands: its Blocks, what mount_gradio_app takes for its look, and routes beside it if it has any.

    Paths of `files` are relative to the page's own; their handlers ask the door, as the page's do. `prepare`: of a page
    for all names, what is done before one of them is shown for the first time.
    """

    blocks: gr.Blocks
    look: dict[str, Any]
    files: fastapi.APIRouter | None = None
    close: Callable[[], None] = lambda: None
    prepare: Callable[[str], object] = lambda name: None


@dataclass(frozen=True)
class Page:
    """One page, or one for each of `names` (campaigns, say) at `path/NAME`. Built when somebody first opens it.

    `title` and `about` are keys of dashboards.texts.
    `shared`: one for all names together, built before anybody comes; its handlers find the name in the request's
    `path_params`. Building takes Gradio a second, and nobody who comes to rate should wait for that. `first`: the
    names in the order in which they are prepared before anybody comes, as far as there is time for it.
    """

    path: str
    title: str
    roles: tuple[Role, ...]
    build: Callable[[Lab, Door, str], Built]  # the last argument is the name, '' where there is one page
    about: str
    names: Callable[[Lab], list[str]] | None = None
    shared: bool = False
    first: Callable[[Lab], list[str]] | None = None


def open_campaigns(lab: Lab, kind: str = "compare") -> list[str]:
    """Campaigns that take votes, oldest first: not those that a lead closed."""
    found = [record.campaign for record in campaigns.list_all(lab) if record.kind == kind]
    return [name for name in found if not campaigns.closed(lab, name)]


def lately_rated(lab: Lab) -> list[str]:
    """Open campaigns, that in which somebody did something last first: to it people will come back."""
    return sorted(open_campaigns(lab), key=lambda name: campaigns.touched_at(lab, name), reverse=True)


def _rate(lab: Lab, door: Door, name: str) -> Built:
    desks = Desks(lab)

    def desk_of(request: gr.Request) -> Desk:
        return desks.of(request.request.path_params["name"])

    return Built(rate.build(desk_of, door, home="/"), rate.look(), close=desks.close, prepare=desks.of)


def open_drafts(lab: Lab) -> list[str]:
    """Campaigns of drafts that take texts, oldest first."""
    return open_campaigns(lab, "write")


def _write(lab: Lab, door: Door, campaign: str) -> Built:
    desk = WriteDesk(lab, campaign)
    return Built(write.build(desk, door), write.look(), close=desk.close)


def _results(lab: Lab, door: Door, name: str) -> Built:
    return Built(results.build(lab, door), results.look(), results_app.files(lab, door.ask))


def _lineage(lab: Lab, door: Door, name: str) -> Built:
    return Built(lineage.build(lab, door), lineage.look())


def _try(lab: Lab, door: Door, name: str) -> Built:
    notebook, desk = trying.Notebook(lab), feedback.Desk(lab.requests)

    def close() -> None:
        notebook.close()
        desk.close()

    return Built(chat.build(lab, door), chat.look(), chat.routes(lab, door, notebook, desk), close)


def _board(lab: Lab, door: Door, name: str) -> Built:
    return Built(board.build(lab, door), board.look())


PAGES: tuple[Page, ...] = (
    Page("/rate", "title", ("rater",), _rate, "home_rate", open_campaigns, shared=True, first=lately_rated),
    Page("/write", "write_title", ("rater",), _write, "home_write", open_drafts),
    Page("/try", "try_title", ("lead", "engineer"), _try, "home_try"),
    Page("/board", "board_title", ("lead", "engineer"), _board, "home_board"),
    Page("/results", "results_title", ("lead", "engineer"), _results, "home_results"),
    Page("/lineage", "lineage_title", ("lead", "engineer"), _lineage, "home_lineage"),
)
