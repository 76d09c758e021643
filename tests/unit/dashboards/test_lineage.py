"""The lineage page over HTTP; which roles come where is in test_portal.py, for every page."""

from __future__ import annotations

from collections.abc import Iterator

import argon2
import pytest
from fastapi.testclient import TestClient

from dashboards.gate import cookie_name
from dashboards.pages import PAGES
from dashboards.portal import Portal
from harness.core.paths import Lab
from harness.people import People
from harness.store import ingest
from tests.unit.harness.store.made import fill

PREDICT = "/lineage/gradio_api/run/predict"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A lead at the page of a lab with one of everything."""
    lab = Lab(tmp_path_factory.mktemp("lab"))
    fill(lab, tmp_path_factory.mktemp("data"))
    ingest(lab)
    people = People(lab, hasher=argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    people.accept(people.invite("eve", ["lead"]), "a sentence will do")
    portal = Portal(lab, people, [page for page in PAGES if page.path == "/lineage"])
    with TestClient(portal.app(), base_url="http://127.0.0.1:7862") as client:
        client.cookies.set(cookie_name(lab), people._new_session("eve"))
        yield client
    portal.close()


def opened(client: TestClient, search: str) -> str:
    answer = client.post(PREDICT, json={"data": [search], "fn_index": 0})
    assert answer.status_code == 200
    return str(answer.json()["data"][1])


def test_the_page_answers_the_question_and_shows_the_way(client: TestClient) -> None:
    shown = opened(client, "")
    assert "1 vote by 1 rater on 1 pair shaped it" in shown
    assert "Yes, they touch its gate" in shown
    for name in ("touches", "raters", "data", "runs", "gates", "evals", "verdicts", "versions", "moves", "votes"):
        assert f"id='{name}'" in shown
    assert "Say it" not in shown, "what release asks is not shown"
    assert shown == opened(client, "?run=r-1")


@pytest.mark.parametrize("search", ["?run=r-9", "?run=<script>alert(1)</script>", "?run=../../x@y", "?run=a@b@c"])
def test_what_is_not_there_is_a_note_and_only_text(client: TestClient, search: str) -> None:
    shown = opened(client, search)
    assert "note error" in shown
    assert "<script" not in shown
