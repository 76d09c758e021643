"""Prometheus metrics per alias and version, on vLLM's own `/metrics` (admin scope): they stand in its registry.

Labels hold what exists here: versions and aliases that were resolved, the routes of our table, statuses. What a client
made up (a model that does not exist, a path, an error's text) never becomes a label's value.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serve.plugin.call import Call
from serve.storage import Source

PATHS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/feedback": "feedback",
    "/ratchet/score": "score",
    "/tokenize": "tokenize",
    "/detokenize": "tokenize",
}
UNCOUNTED = frozenset({"/health", "/ping", "/ready", "/ratchet/ready", "/metrics"})
LOAD_PATH = "/v1/load_lora_adapter"
# What a call may end with; anything else counts as "other".
PROBLEMS = frozenset(
    {
        *("AuthenticationError", "PermissionDeniedError", "NotFoundError", "BadRequestError", "RateLimitError"),
        *("MethodNotAllowedError", "ServiceUnavailableError", "InternalServerError", "StreamError", "client_left"),
    }
)
TTFT_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LATENCY_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
NAMED = ("alias", "version")


class Instruments:
    """The metrics of one registry. Prometheus refuses a name that stands twice, so a registry has one of these."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "ratchet_requests", "Finished requests", (*NAMED, "endpoint", "status"), registry=registry
        )
        self.tokens = Counter("ratchet_tokens", "Tokens read and written", (*NAMED, "kind"), registry=registry)
        self.ttft = Histogram(
            "ratchet_time_to_first_token_seconds", "Of streams: until the first chunk with an answer",
            NAMED, registry=registry, buckets=TTFT_S,
        )  # fmt: skip
        self.latency = Histogram(
            "ratchet_latency_seconds", "From the request's arrival to the end of its answer",
            NAMED, registry=registry, buckets=LATENCY_S,
        )  # fmt: skip
        self.errors = Counter(
            "ratchet_errors", "Requests that were refused or failed", (*NAMED, "problem"), registry=registry
        )
        self.loads = Counter("ratchet_adapter_loads", "Adapters handed to vLLM", ("version",), registry=registry)
        self.failures = Counter("ratchet_watch_failures", "Watchers that failed", ("watcher",), registry=registry)
        self.asked = Asked()
        registry.register(self.asked)


_made: WeakKeyDictionary[CollectorRegistry, Instruments] = WeakKeyDictionary()
_making = threading.Lock()


def instruments(registry: CollectorRegistry = REGISTRY) -> Instruments:
    """Those of `registry`, made at the first call."""
    with _making:
        if registry not in _made:
            _made[registry] = Instruments(registry)
        return _made[registry]


def count_load(version: str) -> None:
    """An adapter is about to be loaded by vLLM, for the first time in this process (the resolver says so)."""
    instruments().loads.labels(version).inc()


class Metrics:
    """The watcher. Keeps the children of each combination of labels: looking them up costs more than counting."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.of = instruments(registry)
        self._requests: dict[tuple[str, str, str, int], Counter] = {}
        self._versions: dict[tuple[str, str], tuple[Counter, Counter, Histogram, Histogram]] = {}

    def wants_text(self, call: Call) -> bool:
        return False

    def ended(self, call: Call) -> None:
        if call.path in UNCOUNTED:
            return
        names = (call.alias or "", call.model)
        place = (*names, PATHS.get(call.path, "other"), call.status)
        requests = self._requests.get(place)
        if requests is None:
            requests = self._requests[place] = self.of.requests.labels(*place[:3], str(call.status))
        requests.inc()
        if call.path == LOAD_PATH and call.status == 200:
            self.of.loads.labels("candidate").inc()
        problem = call.problem or ("client_left" if call.left else "")
        if problem or call.status >= 400:
            self.of.errors.labels(*names, problem if problem in PROBLEMS else "other").inc()
        if call.model:
            self._version(call, names)

    def _version(self, call: Call, names: tuple[str, str]) -> None:
        found = self._versions.get(names)
        if found is None:
            found = self._versions[names] = (
                self.of.tokens.labels(*names, "prompt"),
                self.of.tokens.labels(*names, "completion"),
                self.of.latency.labels(*names),
                self.of.ttft.labels(*names),
            )
        prompt, completion, latency, ttft = found
        if call.prompt_tokens:
            prompt.inc(call.prompt_tokens)
        if call.completion_tokens:
            completion.inc(call.completion_tokens)
        if call.status == 200 and call.ended is not None and not call.left:
            latency.observe(call.ended - call.began)
            if call.streaming and call.first_byte is not None:
                ttft.observe(call.first_byte - call.began)

    def close(self) -> None:
        """Nothing to close: metrics live as long as their registry."""


class Asked(Collector):
    """What is known elsewhere and read when somebody looks: what watchers wrote and dropped, and the registry's moves.

    `report` is Watch.report; `versions` reads the registry. Every engine on one registry says the same of its
    aliases, and a move that no request followed yet counts too.
    """

    def __init__(self) -> None:
        self.report: Callable[[], dict[str, dict[str, Any]]] = dict
        self.versions: Source | None = None

    def collect(self) -> Iterable[Metric]:
        written = CounterMetricFamily("ratchet_watch_written", "Entries that are on disk", labels=["watcher"])
        dropped = CounterMetricFamily(
            "ratchet_watch_dropped", "Entries that were not written", labels=["watcher", "reason"]
        )
        waiting = GaugeMetricFamily("ratchet_watch_waiting", "Entries that wait for the disk", labels=["watcher"])
        feedback = CounterMetricFamily("ratchet_feedback", "Feedback that is on disk", labels=["about"])
        for watcher, found in self.report().items():
            if watcher == "feedback":
                for about, count in found.items():
                    feedback.add_metric([about], count)
                continue
            written.add_metric([watcher], found["written"])
            waiting.add_metric([watcher], found["waiting"])
            for reason, count in found["dropped"].items():
                dropped.add_metric([watcher, reason], count)
        return [written, dropped, waiting, feedback, *self._moves()]

    def describe(self) -> Iterable[Metric]:
        """No names in advance: prometheus_client would call `collect` for them."""
        return []

    def _moves(self) -> list[Metric]:
        swaps = CounterMetricFamily("ratchet_swaps", "Moves of an alias to another version", labels=["alias"])
        points = GaugeMetricFamily("ratchet_alias_version", "The version that an alias serves", labels=["alias"])
        for record in self.versions.records() if self.versions else ():
            counts: dict[str, int] = {}
            for move in record.history:
                counts[move.alias] = counts.get(move.alias, 0) + (move.before != move.after)
            for alias, count in counts.items():
                swaps.add_metric([f"{record.name}@{alias}"], count)
            for alias, version in record.aliases.items():
                points.add_metric([f"{record.name}@{alias}"], version)
        return [swaps, points]
