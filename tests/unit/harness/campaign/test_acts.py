"""Acts are on disk before they count, once each, whoever wrote them."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from harness import campaign as campaigns
from harness.core.errors import LabError
from harness.core.rating import Steer
from tests.unit.harness.campaign.conftest import make


def act(name: str, at: str = "2026-11-20T09:00:00.000+00:00") -> Steer:
    return Steer(event_id=name, campaign="style", who="lead", at=at, what="close")


@pytest.fixture
def place(lab):
    make(lab, 3)
    return campaigns.folder(lab, "style")


def test_the_first_with_an_id_counts(place, lab):
    one, two = campaigns.ActLog(place), campaigns.ActLog(place)
    assert one.add(act("x"))
    assert not one.add(act("x", "2026-11-20T10:00:00.000+00:00"))
    assert not two.add(act("x"))
    assert two.add(act("y", "2026-11-20T08:00:00.000+00:00"))
    assert [found.event_id for found in campaigns.read_acts(lab, "style")] == ["y", "x"]
    seen, place_now = one.since(0)
    assert [found.event_id for found in seen] == ["x", "y"]
    assert one.since(place_now) == ([], 2)


def test_threads_of_one_process_write_each_act_once(place, lab):
    log = campaigns.ActLog(place)
    added: list[bool] = []
    threads = [
        threading.Thread(target=lambda: added.extend(log.add(act(f"a{n}")) for n in range(20))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert added.count(True) == 20
    assert len(campaigns.read_acts(lab, "style")) == 20


def test_a_full_disk_adds_nothing(place, lab, monkeypatch):
    log = campaigns.ActLog(place)
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "act.event")
    with pytest.raises(LabError, match="disk is full"):
        log.add(act("x"))
    monkeypatch.delenv("RATCHET_FULL_DISK_AT")
    assert log.acts() == []
    assert log.add(act("x"))


def test_a_killed_process_keeps_what_it_acknowledged(place, lab):
    script = (
        "import os, sys; from pathlib import Path\n"
        "from harness import campaign as c; from harness.core.rating import Steer\n"
        "log = c.ActLog(Path(sys.argv[1]))\n"
        "for n, line in enumerate(sys.argv[2:]):\n"
        "    if n == 2: os.environ['RATCHET_KILL_AT'] = 'act.event'\n"
        "    log.add(Steer.model_validate_json(line)); print(n, flush=True)\n"
    )
    acts = [act(f"a{n}").model_dump_json() for n in range(3)]
    ended = subprocess.run(
        [sys.executable, "-c", script, str(place), *acts], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout.split()) == (-9, ["0", "1"])
    assert [found.event_id for found in campaigns.read_acts(lab, "style")] == ["a0", "a1"]


def test_something_else_in_the_journal_is_damage(place, lab):
    (place / "acts-00000000000000000000-abcdef.jsonl").write_text('{"kind": "joke"}\n')
    with pytest.raises(LabError, match="something else than an act"):
        campaigns.read_acts(lab, "style")
