"""`ratchet alias …` and `ratchet registry …`, through the command line."""

from __future__ import annotations

import datetime
import json
import shutil

import fsspec
import pytest

from harness.core.paths import Lab
from harness.core.records import AliasMove
from harness.pipeline import serving
from harness.progress import Silent
from harness.store import query
from serve import registry, webhooks
from serve.adapter_files import content_sha256
from tests.unit.serve.versions import adapter, record


@pytest.fixture
def three(desk):
    """desk@v1 to v3, minted long ago; prod serves v1. Their runs are not in this lab."""
    for mark in (1, 2, 3):
        made = adapter(desk.root, mark)
        version = record(mark, made).model_copy(update={"created": "2026-01-01T00:00:00+00:00"})
        registry.add_version(desk.lab, "desk", version, made)
    registry.move(desk.lab, "desk", "prod", 1, who="ann", why="first")
    return desk


def now_at(desk) -> tuple[dict, dict]:
    found = registry.read(desk.lab, "desk")
    return found.aliases, found.weights


# --- weights and shadows ---


def test_a_canary_gets_its_share_and_is_on_record(three):
    done = three.ratchet("alias", "set", "desk@prod", "v1=90", "v2=10", "--reason", "try v2")
    assert done.code == 0
    assert "desk@prod  v1 90 %, v2 10 %  since" in done.out
    assert now_at(three) == ({"prod": 1}, {"prod": {1: 90, 2: 10}})
    assert "desk@prod is that already" in three.ratchet("alias", "set", "desk@prod", "v2=10", "v1=90").out
    assert "desk@prod  v1 90 %, v2 10 %" in three.ratchet("alias", "ls").out
    history = three.ratchet("alias", "history", "desk").out
    assert "tester  @prod  v1 -> v1 90 %, v2 10 %  (try v2)" in history
    rows = json.loads(three.ratchet("alias", "history", "desk@prod", "--format", "json").out)
    assert [row["kind"] for row in rows] == ["move", "weights"]
    assert query(three.lab, "SELECT weights_after ->> '$.\"2\"' FROM alias_moves WHERE kind = 'weights'")[1] == [
        ("10",)
    ]
    back = three.ratchet("rollback", "desk")
    assert back.out.strip() == "desk@prod -> v1 (it served v1)"
    assert now_at(three) == ({"prod": 1}, {})


def test_another_main_version_needs_what_promote_asks_for(three):
    refused = three.ratchet("alias", "set", "desk@prod", "v1=10", "v2=90")
    assert "run r-2 has no verdict" in refused.error
    assert "run r-2 has no verdict" in three.ratchet("alias", "set", "desk@new", "v2=1").error
    assert now_at(three) == ({"prod": 1}, {})
    assert "--force needs --reason" in three.ratchet("alias", "set", "desk@prod", "v2=9", "--force").error
    done = three.ratchet("alias", "set", "desk@prod", "v1=10", "v2=90", "--force", "--reason", "v1 swears")
    assert done.code == 0
    assert now_at(three) == ({"prod": 2}, {"prod": {1: 10, 2: 90}})
    assert registry.read(three.lab, "desk").history[-1].why == "forced: v1 swears"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("set", "desk@prod", "v1:90"), "'v1:90' is no weight. name an alias and its weights"),
        (("set", "desk@prod", "v1=1", "v1=2"), "'v1=2' is there twice"),
        (("set", "desk@prod", "v9=1"), "desk@v9 does not exist"),
        (("set", "desk@v1", "v1=1"), "'desk@v1' is a version"),
        (("set", "desk@prod", "v1=0"), "weights are whole numbers"),
        (("set", "desk@prod", "v1=9999"), "weights are whole numbers"),
        (("shadow", "desk@prod", "v1"), "desk@prod is answered by v1 already"),
        (("shadow", "desk@prod", "2"), "'2' is no version"),
        (("shadow", "desk@prod", "v9"), "desk@v9 does not exist"),
        (("shadow", "desk@other", "v2"), "desk@other does not exist"),
        (("shadow", "desk@prod", "v2", "--share", "0"), "--share 0 is not above 0"),
    ],
)
def test_what_is_no_move_is_said_and_nothing_moves(three, arguments, said):
    files = three.files()
    assert said in three.ratchet("alias", *arguments).error
    assert now_at(three) == ({"prod": 1}, {})
    assert three.files() - files <= {"registry/desk.lock"}


def test_a_shadow_comes_and_goes(three):
    assert "; shadow v2 for 50 %" in three.ratchet("alias", "shadow", "desk@prod", "v2", "--share", "0.5").out
    assert registry.read(three.lab, "desk").shadows["prod"].version == 2
    assert "@prod  shadow v2 for 50 %" in three.ratchet("alias", "history", "desk").out
    assert three.ratchet("alias", "shadow", "desk@prod", "off").code == 0
    assert registry.read(three.lab, "desk").shadows == {}
    assert "has no earlier version" in three.ratchet("rollback", "desk").error, "shadows are no moves to go back over"


def test_webhooks_by_command(three):
    assert "is no http(s) URL" in three.ratchet("registry", "webhook", "add", "file:///x").error
    url = "http://127.0.0.1:9/hook?token=abc"
    added = three.ratchet("registry", "webhook", "add", url, "--secret-env", "HOOK")
    assert "http://127.0.0.1:9/hook is told of every move, signed with $HOOK" in added.out
    done = three.ratchet("alias", "set", "desk@prod", "v1=9", "v2=1")
    assert done.code == 0
    assert "warning: webhook http://127.0.0.1:9/hook: HOOK is not set" in done.err
    shown = three.ratchet("registry", "webhook", "ls").out
    assert "not delivered" in shown
    assert "abc" not in shown
    assert three.ratchet("registry", "webhook", "remove", url).code == 0
    assert webhooks.read(three.lab) == []


# --- collecting ---


def removed(desk, *options: str) -> list[str]:
    result = json.loads(desk.ratchet("registry", "gc", "--format", "json", *options).out)
    return [one["version"] for one in result["removed"]]


def test_gc_takes_only_what_nothing_refers_to(three):
    three.ratchet("alias", "shadow", "desk@prod", "v2")
    before = three.files()
    assert removed(three, "--dry-run") == ["desk@v3"]
    assert three.files() == before
    assert removed(three) == ["desk@v3"]
    assert not registry.version_folder(three.lab.registry, "desk", 3).exists()
    version = registry.read(three.lab, "desk").versions[2]
    assert version.removed
    assert query(three.lab, "SELECT version FROM versions WHERE removed IS NOT NULL")[1] == [(3,)]
    assert removed(three) == []
    made = adapter(three.root, 3)
    assert registry.add_version(three.lab, "desk", record(3, made), made).version == 4, "3 is never used again"
    assert "desk@v3 was removed" in three.ratchet("alias", "shadow", "desk@prod", "v3").error
    assert "removed 20" in three.ratchet("registry", "show", "desk").out


def test_gc_keeps_what_a_rollback_or_weights_need(three):
    three.ratchet("alias", "set", "desk@prod", "v1=9", "v2=1")
    registry.move(three.lab, "desk", "prod", 3, who="t", why="t")
    assert removed(three) == []
    kept = json.loads(three.ratchet("registry", "gc", "--format", "json").out)["kept"]
    assert {one["version"]: one["why"] for one in kept} == {
        "desk@v1": "@prod served it less than 30 days ago",
        "desk@v2": "@prod served it less than 30 days ago",
        "desk@v3": "@prod serves it",
    }
    current = registry.read(three.lab, "desk")
    old = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=31)).isoformat(timespec="seconds")
    history = [AliasMove.model_validate(step.model_dump() | {"at": old}) for step in current.history]
    registry.write(three.lab, current.model_copy(update={"history": history}))
    assert removed(three) == ["desk@v1", "desk@v2"]
    assert "desk@v1 was removed" in three.ratchet("rollback", "desk").error


def test_gc_keeps_young_versions_and_only_copies_that_something_names(desk):
    run_id = desk.evaluated().plan.runs[0].run_id
    desk.ratchet("report", "spec.yaml")
    desk.ratchet("promote", run_id, "--as", "desk@prod")
    made = adapter(desk.root, 7)
    registry.add_version(desk.lab, "desk", record(7, made), made)
    registry.move(desk.lab, "desk", "prod", 2, who="t", why="t")
    current = registry.read(desk.lab, "desk")
    versions = [one.model_copy(update={"created": "2026-01-01T00:00:00+00:00"}) for one in current.versions[:1]]
    registry.write(desk.lab, current.model_copy(update={"versions": [*versions, current.versions[1]]}))
    shutil.move(desk.lab.runs / run_id, desk.root / "away")
    kept = json.loads(desk.ratchet("registry", "gc", "--keep-days", "0", "--format", "json").out)["kept"]
    assert "evaluation e-" in kept[0]["why"], "the run's folder is gone: this is the only copy"
    shutil.move(desk.root / "away", desk.lab.runs / run_id)
    registry.move(desk.lab, "desk", "prod", 1, who="t", why="t")
    registry.move(desk.lab, "desk", "beta", 1, who="t", why="t")
    assert removed(desk, "--keep-days", "0") == []


# --- copies behind URLs ---


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path):
    yield f"file://{tmp_path}/share" if request.param == "file" else f"memory://names{tmp_path}"
    if request.param == "memory":
        fsspec.filesystem("memory").rm("/", recursive=True)


def test_push_and_pull_by_content(three, url, tmp_path):
    three.ratchet("alias", "set", "desk@prod", "v1=9", "v2=1")
    done = three.ratchet("registry", "push", url)
    assert done.out.strip() == "desk: 3 versions sent, record written"
    assert three.ratchet("registry", "push", url).out.strip() == "desk: 0 versions sent, record as it was"
    other = ("--lab", tmp_path / "other")
    assert three.ratchet("registry", "pull", url, *other).out.strip() == "desk: 3 versions fetched, record written"
    for number in (1, 2, 3):
        here, there = (root / "registry" / "desk" / f"v{number}" for root in (three.lab.root, tmp_path / "other"))
        assert content_sha256(here) == content_sha256(there)
    assert "v1 90 %, v2 10 %" in three.ratchet("alias", "ls", *other).out
    assert three.ratchet("registry", "pull", url, *other).out.strip() == "desk: 0 versions fetched, record as it was"


def test_two_labs_that_moved_apart_are_told(three, url, tmp_path):
    other = ("--lab", tmp_path / "other")
    three.ratchet("registry", "push", url)
    three.ratchet("registry", "pull", url, *other)
    three.ratchet("alias", "set", "desk@prod", "v1=9", "v2=1", *other)
    three.ratchet("alias", "set", "desk@prod", "v1=9", "v3=1")
    assert three.ratchet("registry", "push", url, *other).code == 0
    assert "has moves of desk that this lab does not" in three.ratchet("registry", "push", url).error
    assert "this lab has moves of desk that" in three.ratchet("registry", "pull", url).error


def test_damage_on_the_way_is_found(three, tmp_path):
    url = f"file://{tmp_path}/share"
    three.ratchet("registry", "push", url)
    sha256 = registry.read(three.lab, "desk").versions[1].adapter_sha256
    path = tmp_path / "share" / "adapters" / sha256 / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    refused = three.ratchet("registry", "pull", url, "--lab", tmp_path / "other")
    assert "is not what desk@v2 names" in refused.error
    assert not (tmp_path / "other" / "registry" / "desk.json").exists()


def test_urls_that_are_none(three):
    assert "Protocol not known" in three.ratchet("registry", "push", "nosuch://x").error
    assert "registry name 'a/b' is not a valid name" in three.ratchet("registry", "push", "memory://x", "a/b").error


# --- what an engine is started with ---


@pytest.fixture
def of_base(desk):
    """desk@v1 of rank 32 on the desk's own base, recorded before ranks were."""
    made = adapter(desk.root, 1, rank=32)
    version = record(1, made, desk.resolve().base.ref.sha256).model_copy(update={"base_path": str(desk.root / "base")})
    registry.add_version(desk.lab, "desk", version, made)
    registry.move(desk.lab, "desk", "prod", 1, who="ann", why="first")
    current = registry.read(desk.lab, "desk")
    old = [one.model_copy(update={"rank": None}) for one in current.versions]
    registry.write(desk.lab, current.model_copy(update={"versions": old}))
    return desk


def test_old_records_without_ranks_are_read_from_their_files(of_base):
    spec, names = serving.engine_for(of_base.lab, serving.Wanted("desk"), Silent())
    assert spec.max_lora_rank == 32
    assert names[:2] == ["desk@prod", "desk@v1"]


def test_an_engine_may_read_another_registry(of_base, url, tmp_path):
    of_base.ratchet("registry", "push", url)
    spec, names = serving.engine_for(Lab(tmp_path / "empty"), serving.Wanted("desk", registry=url), Silent())
    assert spec.as_json()["registry"] == url
    assert names[:2] == ["desk@prod", "desk@v1"]
