"""Metrics per alias and version; usage per key and day; a watcher that fails disturbs nobody."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from harness.core.errors import LabError
from harness.core.paths import Lab
from harness.core.traffic import USAGE, read
from harness.pipeline.usage import by_day, totals
from serve import registry as versions
from serve.plugin.metrics import instruments
from serve.plugin.usage import Usage
from serve.plugin.watchers import Watch, build
from tests.unit.serve.calls import call, key
from tests.unit.serve.versions import add

DASHBOARD = Path(__file__).resolve().parents[3] / "dashboards" / "grafana" / "ratchet.json"


@pytest.fixture
def registry():
    return CollectorRegistry()


def settings(lab: Lab | None = None):
    return SimpleNamespace(
        registry=lab.registry if lab else None, requests=lab.requests if lab else None, engine_id="e-1"
    )


def told(registry, *calls, lab=None):
    (watch,) = build(settings(lab), registry)
    for one in calls:
        watch.wants_text(one)
        watch.ended(one)
    return watch


def value(registry, name, **labels):
    return registry.get_sample_value(name, labels)


def test_requests_tokens_and_times_per_alias_and_version(registry):
    told(registry, call(streaming=True), call(), call(alias=None, model="tiny"))
    named = {"alias": "aac@prod", "version": "aac@v1"}
    assert value(registry, "ratchet_requests_total", **named, endpoint="chat", status="200") == 2
    assert value(registry, "ratchet_tokens_total", **named, kind="prompt") == 6
    assert value(registry, "ratchet_tokens_total", **named, kind="completion") == 10
    assert value(registry, "ratchet_latency_seconds_count", **named) == 2
    assert value(registry, "ratchet_latency_seconds_sum", **named) == pytest.approx(1.0)
    assert value(registry, "ratchet_time_to_first_token_seconds_count", **named) == 1  # only the stream has one
    assert value(registry, "ratchet_requests_total", alias="", version="tiny", endpoint="chat", status="200") == 1


def test_what_clients_make_up_becomes_no_label(registry):
    for number in range(50):
        told(registry, call(
            asked=f"nobody-{number}", model="", alias=None, status=404, problem=f"Made{number}", path=f"/x/{number}"
        ))  # fmt: skip
    text = generate_latest(registry).decode()
    assert "nobody" not in text
    assert "Made" not in text
    assert value(registry, "ratchet_requests_total", alias="", version="", endpoint="other", status="404") == 50
    assert value(registry, "ratchet_errors_total", alias="", version="", problem="other") == 50


def test_errors_have_their_kind_and_a_client_that_left_is_one(registry):
    told(registry, call(status=429, problem="RateLimitError", model="aac@v1"), call(left=True))
    named = {"alias": "aac@prod", "version": "aac@v1"}
    assert value(registry, "ratchet_errors_total", **named, problem="RateLimitError") == 1
    assert value(registry, "ratchet_errors_total", **named, problem="client_left") == 1
    assert value(registry, "ratchet_latency_seconds_count", **named) is None or (
        value(registry, "ratchet_latency_seconds_count", **named) == 0
    )


def test_swaps_are_the_registrys_moves(registry, tmp_path):
    lab = Lab(tmp_path / "lab")
    for number in (1, 2):
        add(lab, "aac", number, tmp_path)
    versions.move(lab, "aac", "prod", 1, who="t", why="t")
    versions.move(lab, "aac", "prod", 2, who="t", why="t")
    told(registry, lab=lab).close()
    assert value(registry, "ratchet_swaps_total", alias="aac@prod") == 2
    assert value(registry, "ratchet_alias_version", alias="aac@prod") == 2
    (lab.registry / "broken.json").write_text("{")
    assert value(registry, "ratchet_swaps_total", alias="aac@prod") == 2


def test_loads(registry):
    told(registry, call(path="/v1/load_lora_adapter", model="", alias=None))
    assert value(registry, "ratchet_adapter_loads_total", version="candidate") == 1


def test_probes_count_nowhere(registry):
    told(registry, call(path="/health"))
    assert b"ratchet_requests_total{" not in generate_latest(registry)


class Broken:
    def wants_text(self, call):
        raise KeyError("text")

    def ended(self, call):
        raise ValueError("ended")

    def close(self):
        raise OSError("close")


class Told:
    def __init__(self):
        self.seen = []

    def wants_text(self, call):
        return True

    def ended(self, call):
        self.seen.append(call)

    def close(self):
        self.seen.append(None)


def test_a_watcher_that_fails_is_counted_and_disturbs_nobody(registry):
    other = Told()
    watch = Watch({"broken": Broken(), "other": other}, registry=registry)
    one = call()
    assert watch.wants_text(one)
    watch.ended(one)
    watch.close()
    assert other.seen == [one, None]
    assert value(registry, "ratchet_watch_failures_total", watcher="broken") == 3


def test_two_engines_in_one_process_share_metrics(registry):
    assert instruments(registry) is instruments(registry)
    told(registry, call())
    told(registry, call())
    named = {"alias": "aac@prod", "version": "aac@v1", "endpoint": "chat", "status": "200"}
    assert value(registry, "ratchet_requests_total", **named) == 2


def test_what_was_written_and_dropped_is_in_metrics_and_health(registry, tmp_path, monkeypatch):
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "capture.event")
    watch = told(registry, call(), lab=Lab(tmp_path / "lab"))
    watch.close()
    assert watch.report()["capture"] == {"written": 0, "waiting": 0, "dropped": {"disk": 1}}
    assert watch.report()["requestlog"]["written"] == 1
    assert value(registry, "ratchet_watch_dropped_total", watcher="capture", reason="disk") == 1
    assert value(registry, "ratchet_watch_written_total", watcher="requestlog") == 1
    assert value(registry, "ratchet_watch_waiting", watcher="capture") == 0


def test_usage_adds_up_over_processes_and_days(tmp_path):
    lab = Lab(tmp_path / "lab")
    for _ in range(2):
        usage = Usage(lab.requests)
        usage.ended(call())
        usage.flush()
        usage.ended(call(status=429))
        usage.ended(call(key=key(name="k-2"), model="", status=404, prompt_tokens=None, completion_tokens=None))
        usage.ended(call(key=None, model="", status=401))
        usage.close()
    found = totals(lab)
    assert set(found) == {"k-1", "k-2"}
    assert (found["k-1"].requests, found["k-1"].errors, found["k-1"].prompt_tokens) == (4, 2, 12)
    assert (found["k-2"].requests, found["k-2"].errors, found["k-2"].completion_tokens) == (2, 2, 0)
    assert [row.key_id for row in by_day(lab)] == ["k-1", "k-2"]
    assert [row.requests for row in by_day(lab)] == [4, 2]
    assert by_day(lab, since="2999-01-01") == []


def test_usage_on_a_full_disk_is_kept_for_later(tmp_path):
    full = [True]
    written = []

    def append(events):
        if full[0]:
            raise LabError("the disk is full")
        written.extend(events)

    usage = Usage(tmp_path, append)
    usage.ended(call())
    usage.flush()
    usage.ended(call())
    full[0] = False
    usage.close()
    assert [event["requests"] for event in written] == [2]
    assert usage.failures == 1
    assert list(read(tmp_path, USAGE)) == []


def test_the_dashboard_asks_only_for_metrics_that_there_are(registry, tmp_path):
    import re

    lab = Lab(tmp_path / "lab")
    add(lab, "aac", 1, tmp_path)
    versions.move(lab, "aac", "prod", 1, who="t", why="t")
    watch = told(registry, call(streaming=True), call(status=500), call(path="/v1/load_lora_adapter"), lab=lab)
    watch.desk.counts["thumb"] += 1
    watch.close()
    text = generate_latest(registry).decode()
    there = set(re.findall(r"^(ratchet_[a-z_]+?)(?:\{|\s)", text, re.MULTILINE))
    there |= set(re.findall(r"^# TYPE (ratchet_\w+) ", text, re.MULTILINE))
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    queries += [variable["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    asked = {name for query in queries for name in re.findall(r"ratchet_\w+", query)}
    assert len(asked) >= 10
    assert asked <= there
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
