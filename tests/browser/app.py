"""`ratchet app` in a process of its own, and its pages for somebody who is signed in already."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import BrowserContext, Page

from dashboards.gate import cookie_name
from harness.core.paths import Lab
from harness.people import People

WAIT_MS = 60_000
SENTENCE = "a sentence will do"


def start(
    lab: Lab, port: str = "0", cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> tuple[subprocess.Popen[str], str]:
    """(process, address) once it says where it answers."""
    command = [sys.executable, "-m", "harness.cli", "app", "--lab", str(lab.root), "--port", port]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=cwd, env=environment)
    assert process.stdout is not None
    found = re.search(r"http://[\d.]+:\d+", process.stdout.readline())
    assert found is not None
    return process, found[0]


@contextmanager
def running(lab: Lab, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """The address of the app, which must end well."""
    process, address = start(lab, cwd=cwd, environment=environment)
    yield address
    process.terminate()
    assert process.wait(30) in (0, -15)


def picture(page: Page, name: str, whole: bool = True) -> None:
    """A PNG in the folder that RATCHET_PICTURES names, where somebody wants to look at the screens, or for the docs."""
    if folder := os.environ.get("RATCHET_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=whole)


def enter(context: BrowserContext, people: People, lab: Lab, name: str, url: str) -> Page:
    """The page at `url`, for a person who signed in before."""
    token = people._new_session(name)
    context.add_cookies([{"name": cookie_name(lab), "value": token, "url": "/".join(url.split("/")[:3])}])
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(url)
    return page
