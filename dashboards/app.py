"""The rating page as a server of its own, behind personal links. `ratchet rate` calls `serve_rating`.

`python -m dashboards.app --lab DIR --campaign NAME [--rater NAME ...] [--port N]` does the same as its own process.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import fastapi

from dashboards import linked, rate, web
from dashboards.desk import Desk
from dashboards.links import Links
from harness import campaign as campaigns
from harness.core.errors import RatchetError
from harness.core.paths import Lab

DEFAULT_PORT = 7860


def serve_rating(lab: Lab, campaign: str, port: int = DEFAULT_PORT, raters: Sequence[str] = ()) -> None:
    """Serve the campaign until stopped (SIGINT or SIGTERM), and print one personal link for each rater.

    Without `raters`, everyone who had a link gets a new one, or one rater named 'rater'. Port 0 takes a free one.
    Raises InputError when the campaign does not exist, a name is not valid or the port is taken.
    """
    desk = Desk(lab, campaign)
    links = Links(campaigns.folder(lab, campaign))

    def build() -> tuple[fastapi.FastAPI, web.Lines]:
        tokens = links.new(list(raters) or links.raters() or ["rater"])
        return build_app(desk, links), linked.link_lines(f"rating {campaign}", tokens)

    web.serve(port, build)
    desk.close()


def build_app(desk: Desk, links: Links) -> fastapi.FastAPI:
    """The page and its login, everything else refused without a rater's cookie."""
    cookie = f"ratchet-rate-{desk.record.campaign}"  # cookies do not tell ports apart, so two campaigns need two names
    app = linked.app_with_login(links, cookie, "opening_pairs")
    return linked.mount(app, rate.build(lambda request: desk, links), links, cookie, rate.look())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dashboards.app", description="Serve a campaign's rating page.")
    parser.add_argument("--lab", type=Path, required=True)
    parser.add_argument("--campaign", required=True)
    parser.add_argument("--rater", action="append", default=[])
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    given = parser.parse_args(arguments)
    try:
        serve_rating(Lab(given.lab), given.campaign, given.port, given.rater)
    except RatchetError as error:
        print(f"error: {error.one_line()}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
