"""Weighted aliases: exact shares, the same user the same version, and only those move who must."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from scipy.stats import binomtest

from harness.core.paths import Lab
from harness.core.records import Shadow
from serve import registry
from serve.fake import Script
from serve.routing import identity, pick, sampled
from tests.unit.serve.versions import BASE, add

USERS = [f"user-{number}" for number in range(10_000)]
CHANCE = 1e-4  # of a fair draw outside the bounds below


def share_is(found: int, of: int, expected: float) -> bool:
    return binomtest(found, of, expected).pvalue > CHANCE


@pytest.mark.parametrize("weights", [{7: 90, 8: 10}, {1: 1, 2: 1}, {1: 5, 2: 3, 3: 2}, {1: 999, 2: 1}])
def test_shares_are_the_weights(weights: dict[int, int]) -> None:
    counts = Counter(pick("aac@prod", weights, user) for user in USERS)
    total = sum(weights.values())
    for version, weight in weights.items():
        assert share_is(counts[version], len(USERS), weight / total), counts


def test_a_user_stays_and_versions_of_weight_zero_never_answer() -> None:
    for user in USERS[:500]:
        assert len({pick("aac@prod", {7: 90, 8: 10, 9: 0}, user) for _ in range(3)}) == 1
    assert 9 not in {pick("aac@prod", {7: 1, 9: 0}, user) for user in USERS}


def test_growing_a_weight_moves_only_users_to_it() -> None:
    """From 90/10 to 90/30 the second version's share grows from 10 % to 25 %: 15 % of all users move, all to it."""
    before = {user: pick("aac@prod", {7: 90, 8: 10}, user) for user in USERS}
    after = {user: pick("aac@prod", {7: 90, 8: 30}, user) for user in USERS}
    moved = [user for user in USERS if before[user] != after[user]]
    assert {after[user] for user in moved} == {8}
    assert share_is(len(moved), len(USERS), 0.25 - 0.10)


def test_moving_weight_from_one_to_another_touches_nobody_else() -> None:
    before = {user: pick("aac@prod", {1: 40, 2: 40, 3: 20}, user) for user in USERS}
    after = {user: pick("aac@prod", {1: 40, 2: 20, 3: 40}, user) for user in USERS}
    ways = Counter((before[user], after[user]) for user in USERS if before[user] != after[user])
    assert all(start == 2 or end == 3 for start, end in ways), ways
    assert (1, 2) not in ways
    assert (3, 2) not in ways


def test_aliases_draw_apart() -> None:
    """Who is in the 10 % of one alias is not in that of another more often than by chance."""
    both = [user for user in USERS if pick("a@prod", {1: 90, 2: 10}, user) == pick("b@prod", {1: 90, 2: 10}, user) == 2]
    assert share_is(len(both), len(USERS), 0.01)


def test_who_asks() -> None:
    header = {"x-session-id": "s-1"}
    assert identity({"user": "u-1"}, header, "k-1") == "user:u-1"
    assert identity({"user": ["no text"]}, header, "k-1") == "session:s-1"
    assert identity({}, {}, "k-1") == "key:k-1"
    assert identity({}, {}, None) != identity({}, {}, None), "nobody known: a new draw each time"
    assert identity({"user": "s-1"}, {}, None) != identity({}, header, None)
    assert pick("aac@prod", {1: 1, 2: 1}, "user:\ud800") in (1, 2), "half a character is a user too"


def test_a_sample_of_users() -> None:
    assert share_is(sum(sampled("aac@prod:shadow", 0.2, user) for user in USERS), len(USERS), 0.2)
    assert all(sampled("aac@prod:shadow", 1.0, user) for user in USERS)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path / "lab")
    for mark in (1, 2):
        add(lab, "aac", mark, tmp_path)
    return lab


def answered(url: str, model: str = "aac", user: str | None = None, **headers: str) -> str:
    body = {"model": model, "prompt": "hello"} | ({"user": user} if user else {})
    return httpx.post(f"{url}/v1/completions", json=body, headers=headers).headers["x-ratchet-model"]


def test_the_server_splits_by_user_and_session(lab: Lab, serving: Callable[[Script], str]) -> None:
    url = serving(Script(base_sha256=BASE, registry=str(lab.registry)))
    registry.set_weights(lab, "aac", "prod", {1: 50, 2: 50}, who="t", why="canary")
    first = {user: answered(url, user=user) for user in USERS[:60]}
    assert set(first.values()) == {"aac@v1", "aac@v2"}
    assert {user: answered(url, "aac@prod", user) for user in USERS[:60]} == first
    sessions = {user: answered(url, **{"x-session-id": user}) for user in USERS[:20]}
    assert sessions == {user: answered(url, **{"x-session-id": user}) for user in USERS[:20]}
    assert {answered(url, "aac@v1", user) for user in USERS[:10]} == {"aac@v1"}, "a version is what it says"
    assert {answered(url) for _ in range(60)} == {"aac@v1", "aac@v2"}, "nobody known"
    registry.move(lab, "aac", "prod", 2, who="t", why="ship")
    assert {answered(url, user=user) for user in USERS[:20]} == {"aac@v2"}


def test_weights_and_shadows_on_record(lab: Lab) -> None:
    registry.move(lab, "aac", "prod", 1, who="t", why="first")
    set_to = registry.set_weights(lab, "aac", "prod", {1: 90, 2: 10}, who="t", why="canary", expected_current=1)
    assert (set_to.aliases, set_to.weights) == ({"prod": 1}, {"prod": {1: 90, 2: 10}})
    assert set_to.history[-1].weights_after == {1: 90, 2: 10}
    assert registry.read(lab, "aac") == set_to, "as JSON and back"
    assert registry.set_weights(lab, "aac", "prod", {2: 10, 1: 90}, who="t", why="again").seq == set_to.seq
    assert registry.set_weights(lab, "aac", "prod", {1: 40, 2: 60}, who="t", why="more").aliases == {"prod": 2}
    shadowed = registry.set_shadow(lab, "aac", "prod", Shadow(version=1, share=0.5), who="t", why="look")
    assert (shadowed.history[-1].kind, shadowed.shadows["prod"].share) == ("shadow", 0.5)
    back = registry.rollback(lab, "aac", "prod", who="t")
    assert (back.aliases, back.weights) == ({"prod": 1}, {"prod": {1: 90, 2: 10}}), "weights and all"
    assert back.shadows == {}, "a version that answers needs no shadow of itself"
    back = registry.rollback(lab, "aac", "prod", who="t")
    assert (back.aliases, back.weights) == ({"prod": 1}, {})
    assert [step.kind for step in back.history] == ["move", "weights", "weights", "shadow", "weights", "move"]


@pytest.mark.parametrize("weights", [{}, {1: 0}, {1: -1, 2: 3}, {1: 10_000}])
def test_weights_that_are_none(lab: Lab, weights: dict[int, int]) -> None:
    with pytest.raises(registry.InputError, match="weights are whole numbers"):
        registry.set_weights(lab, "aac", "prod", weights, who="t", why="t")
    with pytest.raises(registry.RegistryError, match="aac@v9 does not exist"):
        registry.set_weights(lab, "aac", "prod", {1: 1, 9: 1}, who="t", why="t")
    assert registry.read(lab, "aac").seq == 2
