"""Try it, over HTTP, with the product's fake behind a lease. Which roles come where is in test_portal.py."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import argon2
import httpx
import psutil
import pytest
from fastapi.testclient import TestClient

from dashboards import chat
from dashboards.gate import cookie_name
from dashboards.pages import PAGES
from dashboards.portal import Portal
from dashboards.texts import Texts
from harness import campaign as campaigns
from harness import captured
from harness.captured import Which
from harness.core.errors import EngineError, InputError
from harness.core.journal import segments
from harness.core.paths import Lab, write_json
from harness.core.records import PromptContract
from harness.core.traffic import CALLS, CapturedCall, read
from harness.data import raw_rows
from harness.people import People
from harness.pipeline import capture, privacy, trying
from serve import registry
from serve.lease import Lease
from serve.supervise import free_port
from tests.unit.serve.versions import BASE, add

ATTACK = "**Bold** <script>document.title = 'ran'</script><img src=x onerror=\"document.title = 'ran'\"> `${1}` {{2}}"
HELLO = [{"role": "user", "content": "Say hello"}]
KIND = 'Be kind, and say "please" {{x}}.'


class FakeEngine:
    """`serve.fake` in a process of its own, with versions aac@v1 (prod) and aac@v2, a base and a candidate, and its
    lease in the lab. Ended by its own pid."""

    def __init__(self, lab: Lab, name: str = "e-fake", **script: Any) -> None:
        folder, port = lab.engines / name, free_port()
        folder.mkdir(parents=True)
        if not lab.registry.exists():
            contract = PromptContract(system_prompts={"mini": KIND})
            add(lab, "aac", 1, folder), add(lab, "aac", 2, folder, contract=contract)
            registry.move(lab, "aac", "prod", 1, who="me", why="first")
        values = {"base": "tiny", "base_sha256": BASE, "registry": str(lab.registry), "adapters": {"r-9": "/x"}}
        write_json(folder / "script.json", values | script)
        command = [sys.executable, "-m", "serve.fake", "--port", str(port), "--script", str(folder / "script.json")]
        self.process = subprocess.Popen(command)
        self.lease = Lease(
            engine_id=name, pid=self.process.pid, pgid=os.getpgid(self.process.pid), port=port, state="ready", spec={},
            started=psutil.Process(self.process.pid).create_time(), admin_token="fake",
        )  # fmt: skip
        self._until_ready()
        self.lease.write(folder / "lease.json")

    def _until_ready(self) -> None:
        while True:
            try:
                assert httpx.get(f"{self.lease.url}/ready").status_code == 200
                return
            except httpx.ConnectError:
                assert self.process.poll() is None
                time.sleep(0.1)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("trying"))
    answers = {"aac@v1": {"Say hello": ATTACK}, "*": {"Say much": "word " * 600, "Say hello": "Hello to you."}}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RATCHET_ENGINES", raising=False)
        engine = FakeEngine(lab, answers=answers)
    yield lab
    engine.kill()


@pytest.fixture(scope="module")
def people(lab: Lab) -> People:
    people = People(lab, hasher=argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    for name, role in (("eve", "lead"), ("max", "engineer"), ("ann", "lead"), ("mia", "lead")):
        people.accept(people.invite(name, [role]), "a sentence will do")
    return people


@pytest.fixture(scope="module")
def served(lab: Lab, people: People) -> Iterator[TestClient]:
    portal = Portal(lab, people, [page for page in PAGES if page.path == "/try"])
    with TestClient(portal.app(), base_url="http://127.0.0.1:7862") as client:
        yield client
    portal.close()


class Guest:
    """Somebody at the page."""

    def __init__(self, client: TestClient, people: People, name: str) -> None:
        self.client, self.cookie = client, {cookie_name(Lab(people._place.parent)): people._new_session(name)}

    def opened(self) -> str:
        self.client.cookies.update(self.cookie)
        answer = self.client.post("/try/gradio_api/run/predict", json={"data": [], "fn_index": 0})
        assert answer.status_code == 200
        return str(answer.json()["data"][0])

    def post(self, path: str, body: Any) -> httpx.Response:
        self.client.cookies.update(self.cookie)
        return self.client.post(f"/try/{path}", **({"content": body} if isinstance(body, str) else {"json": body}))

    def asks(self, model: str, text: str = "Say hello") -> dict[str, Any]:
        """The end of the answer, with the pieces' text under 'said'."""
        answer = self.post("ask", {"model": model, "messages": [{"role": "user", "content": text}]})
        assert answer.status_code == 200, answer.text
        *pieces, end = [json.loads(line) for line in answer.text.splitlines()]
        return {**end, "said": "".join(piece["text"] for piece in pieces)}


@pytest.fixture
def eve(served: TestClient, people: People) -> Guest:
    return Guest(served, people, "eve")


def kept(lab: Lab, user: str = "portal:eve") -> list[CapturedCall]:
    calls = [one for one in read(lab.requests, CALLS) if isinstance(one, CapturedCall)]
    return [call for call in calls if call.user == user]


# --- what is served, and to whom -----------------------------------------------------------------------------------


def test_the_page_lists_what_a_person_may_use(served: TestClient, people: People, eve: Guest) -> None:
    shown = eve.opened()
    names = ["aac", "aac&#64;prod", "aac&#64;v1", "aac&#64;v2", "tiny"]
    places = [shown.index(f'<option value="{name}"') for name in names]
    assert places == sorted(places), "aliases, versions, bases"
    assert "r-9" not in shown, "a candidate is for engineers"
    assert 'value="r-9"' in Guest(served, people, "max").opened()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"model": "aac@v7", "messages": HELLO}, "no engine serves 'aac@v7' to you now"),
        ({"model": "r-9", "messages": HELLO}, "no engine serves 'r-9'"),
        ({"model": {"a": 1}, "messages": HELLO}, "no engine serves"),
        ({"messages": HELLO}, "no engine serves"),
        ({"model": "tiny"}, "1 to 41 turns"),
        ({"model": "tiny", "messages": HELLO * 42}, "1 to 41 turns"),
        ({"model": "tiny", "messages": [*HELLO, {"role": "system", "content": "x"}]}, "a turn is by user or assistant"),
        ({"model": "tiny", "messages": [{"role": "user", "content": " "}]}, "a turn has text"),
        ({"model": "tiny", "messages": [{"role": "system", "content": "x"}]}, "the last turn is yours"),
        ({"model": "tiny", "messages": [{"role": "user", "content": "x" * 32_001}]}, "32,000 characters"),
        ("{", "not a JSON object"),
        ("[" * 5_000, "not a JSON object"),
        ('"' + "x" * 2**18 + '"', "more than 262,144 bytes"),
    ],
)
def test_what_cannot_be_asked_is_one_line(lab: Lab, eve: Guest, body: Any, problem: str) -> None:
    before = len(kept(lab))
    answer = eve.post("ask", body)
    assert answer.status_code == 400
    assert problem in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert len(kept(lab)) == before


def test_without_an_engine_page_and_question_say_what_to_do(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    dead = FakeEngine(lab)
    assert list(asyncio.run(trying.models(lab, candidates=True)))[-1] == "r-9"
    dead.kill()
    people = People(lab, hasher=argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    people.accept(people.invite("eve", ["lead"]), "a sentence will do")
    portal = Portal(lab, people, [page for page in PAGES if page.path == "/try"])
    with TestClient(portal.app(), base_url="http://127.0.0.1:7862") as client:
        guest = Guest(client, people, "eve")
        problem = "no engine runs on this lab. start one: ratchet serve."
        assert problem in guest.opened()
        answer = guest.post("ask", {"model": "tiny", "messages": HELLO})
        assert (answer.status_code, answer.json()["error"]) == (503, problem)
        client.headers["accept-language"] = "de"
        assert "In diesem Labor läuft keine Engine." in guest.opened()
    portal.close()
    busy = dead.lease.model_copy(update={"pid": os.getpid(), "started": psutil.Process().create_time()})
    busy.model_copy(update={"state": "restarting"}).write(lab.engines / "e-fake" / "lease.json")
    with pytest.raises(EngineError, match="no engine answers now: e-fake is restarting"):
        asyncio.run(trying.models(lab, candidates=True))


# --- asking --------------------------------------------------------------------------------------------------------


def test_an_answer_comes_in_pieces_ends_as_safe_markdown_and_is_on_disk(lab: Lab, eve: Guest) -> None:
    end = eve.asks("aac@prod")
    assert end["said"] == ATTACK
    assert end["version"] == "aac@v1"
    assert "<strong>Bold</strong>" in end["html"]
    assert "<script" not in end["html"]
    assert "<img" not in end["html"]
    assert "${" not in end["html"]
    (call,) = [one for one in kept(lab) if one.completion_id == end["id"]]
    assert (call.key_id, call.alias, call.model, call.answers) == ("portal", "aac@prod", "aac@v1", [ATTACK])
    assert call.prompt == HELLO


def test_what_looks_like_personal_data_is_not_kept(lab: Lab, eve: Guest) -> None:
    end = eve.asks("tiny", "I am jane@example.com")
    assert "jane@example.com" in end["said"], "the model sees what was asked"
    for path in lab.requests.iterdir():
        assert b"jane@example.com" not in path.read_bytes()
    assert kept(lab)[-1].redacted == {"email": 2}


def test_an_answer_that_was_cut_says_so_and_is_no_row(lab: Lab, eve: Guest) -> None:
    end = eve.asks("tiny", "Say much")
    assert end["cut"] is True
    assert eve.post("say", {"completion_id": end["id"], "thumb": "up"}).status_code == 200
    made = captured.rows(captured.load(lab.requests).only(Which(key=trying.KEY)), "kto")
    assert made.refused["truncated"] == 1


def test_one_person_cannot_take_all_of_an_engine(eve: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "AT_ONCE", 0)
    answer = eve.post("ask", {"model": "tiny", "messages": HELLO})
    assert "under way for you" in json.loads(answer.text)["error"]


def test_an_engine_that_dies_in_the_middle_is_one_line_and_nothing_is_kept(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    engine = FakeEngine(lab, piece_s=0.05, answers={"*": {"Say hello": "word " * 400}})
    notebook = trying.Notebook(lab)

    async def ask() -> list[str | trying.Answered]:
        model = (await trying.models(lab, candidates=False))["tiny"]
        found = []
        async for piece in notebook.ask(model, HELLO, "eve", lambda: True):
            engine.kill()
            found.append(piece)
        return found

    *pieces, end = asyncio.run(ask())
    assert pieces
    assert isinstance(end, trying.Answered)
    assert end.error is not None
    assert str(end.error).startswith("the engine stopped answering")
    assert Texts("en").error(end.error) == str(end.error)
    assert Texts("de").error(end.error).startswith("Die Engine hat aufgehört")
    assert end.completion_id is None
    assert not list(segments(lab.requests, CALLS))
    notebook.close()


# --- saying --------------------------------------------------------------------------------------------------------


def test_thumbs_edits_and_choices_are_rows_by_message_id(lab: Lab, served: TestClient, people: People) -> None:
    ann = Guest(served, people, "ann")
    one, other = ann.asks("aac@v1", "Say it"), ann.asks("aac@v2", "Say it")
    assert one["version"] != other["version"]
    for body in (
        {"completion_id": one["id"], "thumb": "down", "reason": "too long"},
        {"completion_id": one["id"], "thumb": "up", "reason": "on second thoughts", "user": "eve"},
        {"completion_id": one["id"], "edited": "It, said better."},
        {"chosen": one["id"], "rejected": other["id"]},
        {"completion_id": other["id"], "campaign": True},
    ):
        assert ann.post("say", body).json()["status"] == "stored"
    assert ann.post("say", {"chosen": one["id"], "rejected": other["id"]}).json()["status"] == "unchanged"
    traffic = captured.load(lab.requests)
    (row,) = [row for row in captured.rows(traffic, "kto").rows if row["completion_ids"] == [one["id"]]]
    assert (row["label"], row["raters"], row["reasons"]) == (True, ["portal:ann"], ["on second thoughts"])
    assert row["prompt"] == [{"role": "user", "content": "Say it"}]
    pairs = [row for row in captured.rows(traffic, "pairs").rows if one["id"] in row["completion_ids"]]
    assert {row["source"] for row in pairs} == {"edit", "preference"}
    out = lab.root / "pool.jsonl"
    assert capture.export(lab, "pool", out, Which(key=trying.KEY, sent=True), "owner").rows == 1
    ((_, sent),) = raw_rows(out)
    assert (sent["id"], sent["prompt"]) == (other["id"], row["prompt"])
    assert sent["cluster"].startswith("talk-"), "the conversation, not the person"
    with pytest.raises(InputError, match="nothing captured"):
        capture.export(lab, "pool", lab.root / "none.jsonl", Which(key="k-1"), "owner")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"completion_id": "chatcmpl-1", "thumb": "sideways"}, "thumb must be up or down"),
        ({"completion_id": "../x", "thumb": "up"}, "completion_id must be the id"),
        ({"completion_id": "chatcmpl-1", "edited": " "}, "edited is empty"),
        ({"completion_id": "chatcmpl-1", "campaign": "yes"}, "campaign must be true"),
        ({"completion_id": "chatcmpl-1", "rating": 5}, "'rating' is no field"),
        ("nothing", "not a JSON object"),
    ],
)
def test_what_cannot_be_said_is_one_line(eve: Guest, body: Any, problem: str) -> None:
    answer = eve.post("say", body)
    assert answer.status_code == 400
    assert problem in answer.json()["error"]


# --- a campaign of what was sent -----------------------------------------------------------------------------------


def test_what_was_sent_becomes_a_campaign_in_the_language_of_whoever_asks(
    lab: Lab, served: TestClient, people: People
) -> None:
    ann, german = Guest(served, people, "ann"), {"accept-language": "de"}
    one, _ = ann.asks("aac@v1", "Say hello"), ann.asks("aac@v2", "Say hello")
    assert ann.post("say", {"completion_id": one["id"], "campaign": True}).status_code == 200
    told = served.get("/try/sent", headers=german).json()["text"]
    assert told.startswith("Dafür bestimmte Antworten: 2. Paare daraus: 2;")
    purpose = campaigns.purpose_of(captured.cluster_of("", kept(lab, "portal:ann")[-1]))
    body = {"campaign": " hello ", "name": "aac", "purpose": purpose}
    made = ann.post("campaign", body).json()
    assert made.get("campaign") == "hello", made
    assert "Pairs to rate: " in made["text"]
    record, pairs = campaigns.read(lab, "hello")
    assert (record.purpose, len(pairs)) == (purpose, record.pairs)
    assert {answer.text for pair in pairs for answer in (pair.a, pair.b)} >= {ATTACK}
    assert "exists already" in ann.post("campaign", body).json()["error"]
    refused = served.post("/try/campaign", json=body, headers=german).json()["error"]
    assert refused.startswith("Das geht gerade nicht: Die Kampagne 'hello' gibt es schon")
    unsaid = served.post("/try/say", json={"completion_id": one["id"], "edited": " "}, headers=german).json()["error"]
    assert unsaid.startswith("Das geht gerade nicht: Die Verbesserung ist leer")


@pytest.mark.parametrize(
    "changed", [{"purpose": "sell"}, {"purpose": None}, {"campaign": ["x"]}, {"campaign": "../x"}, {"name": "A B"}]
)
def test_what_is_no_campaign_is_one_line(lab: Lab, eve: Guest, changed: dict[str, Any]) -> None:
    answer = eve.post("campaign", {"campaign": "x", "name": "aac", "purpose": "train"} | changed)
    assert answer.status_code == 400
    assert "\n" not in answer.json()["error"]
    assert not (lab.campaigns / "x").exists()


def test_a_versions_contract_says_how_to_begin(eve: Guest) -> None:
    """v2 has a contract; the alias prod, and with it the bare name, is v1, which has none."""
    shown = eve.opened()
    options = re.findall(r'<option value="([^"]*)" data-system="([^"]*)">', shown)
    assert [(unescape(name), unescape(text)) for name, text in options] == [("aac@v2", KIND)] * 2


# --- what a person typed is theirs ---------------------------------------------------------------------------------


def test_erasing_a_person_takes_what_they_tried(lab: Lab, served: TestClient, people: People) -> None:
    mia, others = Guest(served, people, "mia"), len(kept(lab))
    end = mia.asks("tiny", "My dog is called Rex")
    mia.post("say", {"completion_id": end["id"], "edited": "Rex is a good dog"})
    out = lab.root / "sft.jsonl"
    capture.export(lab, "sft", out, Which(key=trying.KEY), "owner")
    assert "Rex" in out.read_text()
    found = privacy.erase(lab, "mia", "owner")
    assert found.counts["tried"] == 2
    for path in (out, *(one for one in lab.root.rglob("*") if one.suffix in (".json", ".jsonl"))):
        text = path.read_text(encoding="utf-8")
        assert "Rex" not in text, path
        assert "portal:mia" not in text, path
    assert len(kept(lab)) == others, "what others tried stays"
    assert mia.post("ask", {"model": "tiny", "messages": HELLO}).status_code == 401
    assert not trying.knows(lab, "mia")
    with pytest.raises(InputError, match="nothing"):
        privacy.erase(lab, "mia", "owner")


def test_an_answer_that_ends_after_its_person_was_erased_is_not_kept(lab: Lab) -> None:
    notebook = trying.Notebook(lab)

    async def ask() -> trying.Answered:
        model = (await trying.models(lab, candidates=False))["tiny"]
        *_, end = [piece async for piece in notebook.ask(model, HELLO, "gone", lambda: False)]
        assert isinstance(end, trying.Answered)
        return end

    assert (asyncio.run(ask())).completion_id is None
    assert not kept(lab, "portal:gone")
    notebook.close()


def test_retention_takes_old_ones_and_the_page_goes_on(lab: Lab, eve: Guest) -> None:
    old = time.time() - 91 * 86_400
    for path in segments(lab.requests, CALLS):
        os.utime(path, (old, old))
    assert capture.purge_old(lab, None, "owner") > 0
    assert not kept(lab)
    assert eve.asks("tiny")["id"]
    assert len(kept(lab)) == 1
