"""When vLLM is started again after it ended, worked out by hand."""

from __future__ import annotations

from serve.backoff import GIVE_UP, PAUSES_S, STEADY_S, Backoff, Over

STEADY, QUICK = Over("it ended", STEADY_S + 1), Over("it ended", 1.0)


def test_pauses_grow_while_it_ends_quickly_and_start_anew_after_a_steady_time() -> None:
    backoff = Backoff()
    assert [backoff.pause_s(QUICK) for _ in range(9)] == [*PAUSES_S, 60.0, 60.0]
    assert backoff.pause_s(STEADY) == 1.0
    assert backoff.pause_s(QUICK) == 2.0


def test_it_gives_up_after_starts_that_do_not_get_ready() -> None:
    backoff = Backoff()
    assert backoff.pause_s(STEADY) == 1.0
    pauses = [backoff.pause_s(Over("no memory")) for _ in range(GIVE_UP)]
    assert pauses == [2.0, 4.0, 8.0, 16.0, None]
    assert backoff.gave_up


def test_one_that_gets_ready_in_between_counts_anew() -> None:
    backoff = Backoff()
    for over in (STEADY, Over("x"), Over("x"), Over("x"), Over("x"), QUICK, Over("x")):
        assert backoff.pause_s(over) is not None
    assert not backoff.gave_up


def test_a_first_start_that_ends_by_itself_is_not_repeated_but_a_killed_one_is() -> None:
    assert Backoff().pause_s(Over("wrong option")) is None
    assert Backoff().pause_s(Over("killed", by_signal=True)) == 1.0
    assert Backoff().pause_s(Over("wrong kernels", 5.0, lasting=True)) is None
