"""A destination's circuit: when it lets requests pass, and how long it rests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiogateway.upstreams.breaker import CLOSED, HALF_OPEN, OPEN, REST, TRIALS, Breaker
from tests.clock import Clock

LONGEST = 30.0


def test_a_closed_circuit_lets_everything_pass_and_tries_nothing() -> None:
    breaker = Breaker(Clock(), LONGEST)
    assert [(breaker.admits(), breaker.enter()) for _ in range(100)] == [(True, 0)] * 100


def test_an_open_circuit_lets_nothing_pass_until_its_rest_is_over() -> None:
    clock = Clock()
    breaker = Breaker(clock, LONGEST)
    breaker.open()
    assert not breaker.admits() and breaker.wait() == REST
    clock.advance(REST - 0.1)
    assert not breaker.admits() and breaker.state == OPEN
    clock.advance(0.2)
    assert breaker.admits() and breaker.now() == HALF_OPEN and breaker.wait() == 0.0


def test_a_half_open_circuit_lets_a_few_try_at_once_and_more_as_they_end() -> None:
    clock = Clock()
    breaker = Breaker(clock, LONGEST)
    breaker.open()
    clock.advance(REST)
    assert [breaker.admits() and breaker.enter() for _ in range(TRIALS + 5)] == [1] * TRIALS + [False] * 5
    assert breaker.leave(1)
    assert breaker.admits()


def test_trials_that_take_long_keep_nobody_out_for_longer_than_a_rest() -> None:
    clock = Clock()
    breaker = Breaker(clock, LONGEST)
    breaker.open()
    clock.advance(REST)
    for _ in range(TRIALS):
        assert breaker.admits() and breaker.enter()
    assert not breaker.admits() and breaker.wait() == REST
    clock.advance(REST)
    assert [breaker.admits() and breaker.enter() for _ in range(TRIALS + 1)] == [1] * TRIALS + [False]
    breaker.close()
    assert not any(breaker.leave(1) for _ in range(2 * TRIALS)), "they decide nothing any more"
    assert breaker.admits() and not breaker.enter()


def test_trials_that_fail_together_open_it_once() -> None:
    clock = Clock()
    breaker = Breaker(clock, LONGEST)
    breaker.open()
    clock.advance(REST)
    trials = [breaker.enter() for _ in range(TRIALS) if breaker.admits()]
    for trial in trials:
        if breaker.leave(trial):
            breaker.open()
    assert breaker.wait() == 2 * REST
    clock.advance(2 * REST)
    assert breaker.admits() and breaker.enter() == 2
    assert not breaker.leave(1), "one of an earlier period"
    assert breaker.leave(2)


def test_rests_grow_until_the_longest_and_begin_anew_once_it_closed() -> None:
    clock = Clock()
    breaker = Breaker(clock, LONGEST)
    rests = []
    for _ in range(6):
        breaker.open()
        rests.append(breaker.wait())
        clock.advance(rests[-1])
        assert breaker.admits()
    assert rests == [5.0, 10.0, 20.0, 30.0, 30.0, 30.0]
    breaker.close()
    breaker.open()
    assert breaker.wait() == 5.0


def test_a_rest_may_be_shorter_than_the_first_and_may_end_early() -> None:
    breaker = Breaker(Clock(), 0.5)
    breaker.open()
    assert breaker.wait() == 0.5
    breaker.wake()
    assert breaker.admits() and breaker.now() == HALF_OPEN


@given(st.lists(st.sampled_from(["ask", "leave", "open", "close", "wait"]), max_size=60))
def test_no_more_than_a_few_trials_are_ever_under_way(steps: list[str]) -> None:
    clock = Clock()
    breaker = Breaker(clock, LONGEST)
    trials = 0
    for step in steps:
        if step == "ask" and breaker.admits():
            trials += breaker.enter() > 0
        elif step == "leave" and trials:
            trials -= 1
            breaker.leave(breaker.period)
        elif step == "open":
            breaker.open()
            trials = 0
        elif step == "close":
            breaker.close()
            trials = 0
        elif step == "wait":
            clock.advance(3.0)
            trials = 0 if breaker.now() == HALF_OPEN and breaker.wait() == 0 and trials == TRIALS else trials
        assert trials <= TRIALS
        assert breaker.now() != CLOSED or breaker.admits()
