"""How a destination is judged by what becomes of its requests and probes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from aiogateway.upstreams.breaker import CLOSED, HALF_OPEN, OPEN, REST
from aiogateway.upstreams.health import (
    ENOUGH_TO_EJECT,
    ENOUGH_TO_OPEN,
    ERROR,
    FAILURE,
    GOOD,
    LONGEST_EJECTION,
    Health,
    outcome_of,
)
from tests.clock import Clock


@dataclass
class Policy:
    health_failures: int = 3
    health_successes: int = 2
    eject_after: int = 5
    eject_rate: float = 0.5
    eject_window: float = 30.0
    eject_time: float = 30.0


class Bench:
    """A destination's health, its clock, and what it told."""

    def __init__(self, *, others: bool = True, policy: Policy | None = None) -> None:
        self.clock = Clock()
        self.others = others
        self.told: list[str] = []
        self.health = Health(
            policy or Policy(),
            self.clock,
            lambda: self.others,
            lambda what, seconds: self.told.append(what),
        )

    def ended(self, *outcomes: int) -> None:
        for outcome in outcomes:
            self.health.ended(outcome)

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.25)):
            self.clock.advance(0.25)
            self.health.sweep()

    def state(self) -> tuple[bool, str]:
        return self.health.ejected, self.health.breaker.now()


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [
        ((200, 204, 304, 400, 401, 404, 408, 429, 499), GOOD),
        ((501, 505, 508), GOOD),
        ((500, 502, 503, 504, 599), ERROR),
    ],
)
def test_only_server_errors_count(statuses: tuple[int, ...], outcome: int) -> None:
    assert {outcome_of(status) for status in statuses} == {outcome}


@pytest.mark.parametrize(
    ("others", "outcomes", "state"),
    [
        (True, [FAILURE] * 4, (False, CLOSED)),
        (True, [FAILURE] * 5, (True, OPEN)),
        (True, [ERROR] * 5, (True, CLOSED)),
        (True, [ERROR, FAILURE] * 3, (True, CLOSED)),
        (True, [FAILURE] * 4 + [GOOD] + [FAILURE] * 4, (False, CLOSED)),
        (False, [FAILURE] * 5, (False, OPEN)),
        (False, [ERROR] * 30, (False, CLOSED)),
        (False, [ERROR] * ENOUGH_TO_OPEN, (False, OPEN)),
        (False, [GOOD, ERROR] * 100, (False, CLOSED)),
        (False, [ERROR, ERROR, GOOD] * 20, (False, OPEN)),
        (True, [ERROR, ERROR, GOOD] * (ENOUGH_TO_EJECT // 3 + 1), (True, CLOSED)),
        (True, [GOOD] * 1000, (False, CLOSED)),
    ],
)
def test_failures_eject_where_there_are_others_and_break_the_circuit(
    others: bool, outcomes: list[int], state: tuple[bool, str]
) -> None:
    bench = Bench(others=others)
    bench.ended(*outcomes)
    assert bench.state() == state


def test_a_rate_of_one_is_never_exceeded() -> None:
    bench = Bench(others=False, policy=Policy(eject_rate=1.0, eject_after=1000))
    bench.ended(*[ERROR] * 500)
    assert bench.state() == (False, CLOSED)


def test_answers_that_break_off_count_as_what_they_are_and_once() -> None:
    bench = Bench(others=False)
    for number in range(3 * ENOUGH_TO_OPEN):
        bench.ended(GOOD)
        if number % 3:
            bench.health.broke_off()
    assert bench.state() == (False, OPEN)


def test_what_happened_before_the_window_does_not_count() -> None:
    bench = Bench(others=False)
    bench.ended(*[ERROR] * (ENOUGH_TO_OPEN - 1))
    bench.pass_time(40)
    bench.ended(*[ERROR] * (ENOUGH_TO_OPEN - 1))
    assert bench.state() == (False, CLOSED)
    bench.ended(ERROR)
    assert bench.state() == (False, OPEN)


def test_ejections_grow_to_a_bound_and_shrink_while_all_is_well() -> None:
    bench = Bench(policy=Policy(eject_after=1))
    lasted = []
    for _ in range(12):
        bench.ended(ERROR)
        assert bench.state()[0]
        before = bench.clock()
        while bench.state()[0]:
            bench.pass_time(1)
        lasted.append(round(bench.clock() - before, -1))
    assert lasted == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, LONGEST_EJECTION]
    bench.pass_time(30 * 12 + 1)
    bench.ended(ERROR)
    bench.pass_time(31)
    assert not bench.state()[0]


def test_a_trial_that_succeeds_closes_the_circuit_and_one_that_fails_opens_it_for_longer() -> None:
    bench = Bench(others=False)
    bench.ended(*[FAILURE] * 5)
    for outcome, after in ((FAILURE, OPEN), (GOOD, CLOSED)):
        bench.clock.advance(4 * REST)
        assert bench.health.breaker.admits()
        bench.health.ended(outcome, trial=bench.health.breaker.enter())
        assert bench.health.breaker.now() == after
    assert bench.told == ["circuit opened", "circuit opened", "circuit closed"]


@pytest.mark.parametrize(("opened_by", "after"), [(FAILURE, CLOSED), (ERROR, OPEN)])
def test_an_answer_that_tells_of_an_error_is_a_sign_of_life_unless_such_answers_led_here(
    opened_by: int, after: str
) -> None:
    bench = Bench(others=False)
    bench.ended(*[opened_by] * ENOUGH_TO_OPEN)
    bench.clock.advance(4 * REST)
    assert bench.health.breaker.admits()
    bench.health.ended(ERROR, trial=bench.health.breaker.enter())
    assert bench.health.breaker.now() == after


def test_what_was_sent_before_the_circuit_opened_decides_nothing_any_more() -> None:
    bench = Bench(others=False)
    bench.ended(*[FAILURE] * 5)
    bench.ended(GOOD, FAILURE, GOOD)
    assert bench.health.breaker.state == OPEN
    bench.clock.advance(REST)
    assert bench.health.breaker.now() == HALF_OPEN
    bench.ended(GOOD, FAILURE)
    assert bench.health.breaker.state == HALF_OPEN


def test_trials_that_nobody_waited_for_give_their_places_back() -> None:
    bench = Bench(others=False)
    bench.ended(*[FAILURE] * 5)
    bench.clock.advance(REST)
    for _ in range(20):
        assert bench.health.breaker.admits()
        assert bench.health.breaker.leave(bench.health.breaker.enter())


def test_it_takes_several_probes_to_change_a_mind() -> None:
    bench = Bench()
    for well, probed in [(False, True), (False, True), (True, True), (False, True), (False, True), (False, False)]:
        bench.health.probe_ended(well=well)
        assert bench.health.probed is probed
    assert not bench.health.available and bench.health.reason == "health check"
    for well, probed in [(True, False), (False, False), (True, False), (True, True)]:
        bench.health.probe_ended(well=well)
        assert bench.health.probed is probed
    assert bench.health.available


def test_a_probe_that_succeeds_again_ends_ejection_and_rest() -> None:
    bench = Bench()
    bench.ended(*[FAILURE] * 5)
    for well in (False, False, False, True, True):
        bench.health.probe_ended(well=well)
    assert bench.state() == (False, HALF_OPEN)


def test_another_policy_changes_what_is_decided_and_not_what_is_known() -> None:
    bench = Bench()
    bench.ended(*[FAILURE] * 2)
    bench.health.follow(Policy(eject_after=3))
    bench.ended(FAILURE)
    assert bench.state() == (True, OPEN)
