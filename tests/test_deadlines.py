"""Deadlines against a simple model, and the credit of a slow peer."""

from __future__ import annotations

import math
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from structlog.testing import capture_logs

from aiogateway.deadlines import FEW, MOST, TICK, Credit, Deadline, Deadlines
from tests.clock import Clock

# What the sum of many floats may be off by, in seconds.
FUZZ = 1e-6


class DeadlinesModel(RuleBasedStateMachine):
    """Beside the real thing, a plain dict of what is due when."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.due: dict[int, float] = {}
        self.handles: dict[int, Deadline] = {}
        self.expired: list[int] = []

    @rule(seconds=st.floats(0, 700))
    def wait(self, seconds: float) -> None:
        self._after(len(self.handles), seconds)

    @rule(seconds=st.floats(0, 1), chained=st.floats(0, 1))
    def wait_and_wait_again_when_it_expires(self, seconds: float, chained: float) -> None:
        number = len(self.handles)

        def expire() -> None:
            self.expired.append(number)
            self._after(len(self.handles), chained)

        self.due[number] = self.clock.now + seconds
        self.handles[number] = self.deadlines.after(seconds, expire)

    def _after(self, number: int, seconds: float) -> None:
        self.due[number] = self.clock.now + seconds
        self.handles[number] = self.deadlines.after(seconds, lambda: self.expired.append(number))

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.handles:
            number = data.draw(st.sampled_from(sorted(self.handles)))
            self.handles[number].cancel()
            self.due.pop(number, None)

    @rule(seconds=st.floats(0, 2 * TICK) | st.floats(0, 3) | st.floats(0, 5000))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def sweep(self) -> None:
        self.expired.clear()
        count = self.deadlines.sweep()
        now = self.clock.now
        assert count == len(self.expired) == len(set(self.expired))
        for number in self.expired:
            assert self.due.pop(number) <= now + FUZZ, "too early, twice, or cancelled"
        # A sweep every tick adds the second of the two ticks that are allowed.
        assert all(due > now - TICK - FUZZ for due in self.due.values()), "too late"

    @invariant()
    def as_many_wait_as_the_model_knows(self) -> None:
        assert len(self.deadlines) == len(self.due)


DeadlinesModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestDeadlines = DeadlinesModel.TestCase


def test_swept_every_tick_a_deadline_is_at_most_two_ticks_late() -> None:
    clock = Clock(0.0)
    deadlines = Deadlines(clock)
    late: list[float] = []

    def expire(due: float) -> None:
        late.append(clock.now - due)

    for number in range(200):
        due = number * 0.0137
        deadlines.after(due, partial(expire, due))
    while len(deadlines):
        clock.advance(TICK)
        deadlines.sweep()
    assert len(late) == 200
    assert min(late) >= 0 and max(late) <= 2 * TICK + FUZZ


def test_deadlines_expire_in_the_order_of_their_slots_even_after_a_jump() -> None:
    clock = Clock()
    deadlines, expired = Deadlines(clock), list[float]()
    for seconds in (30.0, 1.0, 600.0, 5.0):
        deadlines.after(seconds, partial(expired.append, seconds))
    clock.advance(10_000)
    assert deadlines.sweep() == 4
    assert expired == [1.0, 5.0, 30.0, 600.0]


@pytest.mark.parametrize("jump", [2 * TICK, 10_000], ids=["a tick", "a jump"])
def test_many_that_are_due_together_expire_a_few_at_a_time(jump: float) -> None:
    clock = Clock()
    deadlines, expired = Deadlines(clock), list[int]()
    for number in range(2 * MOST + 1):
        deadlines.after(0.01, partial(expired.append, number))
    clock.advance(jump)
    assert deadlines.sweep() == MOST
    deadlines.after(0, partial(expired.append, -1))
    assert deadlines.sweep() == MOST
    assert deadlines.sweep() == 1
    clock.advance(2 * TICK)
    assert deadlines.sweep() == 1
    assert sorted(expired) == list(range(-1, 2 * MOST + 1))
    assert len(deadlines) == 0


def test_a_jump_right_onto_a_slot_expires_it() -> None:
    clock = Clock(0.0)
    deadlines = Deadlines(clock, tick=1.0)
    deadlines.after(2.5, lambda: None)
    clock.advance(3.0)
    assert deadlines.sweep() == 1


def test_one_that_expires_may_cancel_another_of_the_same_slot() -> None:
    clock = Clock()
    deadlines = Deadlines(clock)
    expired: list[str] = []
    both: dict[str, Deadline] = {}

    def expire(name: str, other: str) -> None:
        expired.append(name)
        both[other].cancel()

    both["a"] = deadlines.after(1, lambda: expire("a", "b"))
    both["b"] = deadlines.after(1, lambda: expire("b", "a"))
    clock.advance(2)
    assert deadlines.sweep() == 1
    assert len(expired) == 1
    assert len(deadlines) == 0


def test_cancelling_twice_or_after_expiry_is_harmless() -> None:
    clock = Clock()
    deadlines = Deadlines(clock)
    first, second = (deadlines.after(1, lambda: None) for _ in range(2))
    first.cancel()
    first.cancel()
    clock.advance(2)
    assert deadlines.sweep() == 1
    second.cancel()
    assert deadlines.sweep() == 0


def test_one_whose_expiry_fails_keeps_no_other_from_expiring() -> None:
    clock = Clock()
    deadlines, expired = Deadlines(clock), list[str]()

    def fail() -> None:
        raise ZeroDivisionError

    for name in ("before", "after"):  # in one slot no order is promised
        deadlines.after(1, partial(expired.append, name))
        deadlines.after(1, fail)
    deadlines.after(2, partial(expired.append, "later"))
    clock.advance(3)
    with capture_logs() as logged:
        assert deadlines.sweep() == 5
    assert sorted(expired) == ["after", "before", "later"]
    assert [line["log_level"] for line in logged] == ["error"] * 2
    assert (deadlines.sweep(), len(deadlines)) == (0, 0)


waits = st.floats(0, 100)
amounts = st.integers(0, 10**9)


@given(st.integers(1, 10**9), st.lists(st.tuples(waits, amounts)))
def test_credit_is_never_more_than_can_be_saved_up(rate: int, history: list[tuple[float, int]]) -> None:
    credit = Credit(rate)
    for waited, received in history:
        before = credit.seconds
        kept_up = credit.spend(waited, received)
        assert credit.seconds <= 60
        assert credit.seconds <= before - waited + received / rate + FUZZ
        assert kept_up == (credit.seconds >= 0)
    assert not credit.spend(60 + FUZZ, 0), "however much came before, a minute of nothing is too long"


@given(st.integers(1, 10**6), st.lists(st.tuples(waits, st.floats(1, 10))))
def test_a_peer_that_keeps_up_is_never_too_slow(rate: int, history: list[tuple[float, float]]) -> None:
    credit = Credit(rate)
    assert all(credit.spend(waited, math.ceil(waited * rate * faster)) for waited, faster in history)


@given(st.lists(st.tuples(waits, amounts)))
def test_a_rate_of_nothing_asks_for_nothing(history: list[tuple[float, int]]) -> None:
    credit = Credit(0)
    assert all(credit.spend(waited, received) for waited, received in history)


@pytest.mark.parametrize(
    ("spent", "kept_up"),
    [
        ([(30.0, 0)], True),
        ([(30.1, 0)], False),
        ([(29.0, 0), (2.0, 0)], False),
        ([(29.0, 0), (2.0, 1000)], True),
        ([(0.0, 10**9), (60.0, 0)], True),
        ([(0.0, 10**9), (60.1, 0)], False),
    ],
)
def test_a_grace_of_half_a_minute_and_a_minute_at_most(spent: list[tuple[float, int]], kept_up: bool) -> None:
    credit = Credit(1000)
    assert [credit.spend(waited, received) for waited, received in spent][-1] is kept_up


def test_waits_that_ended_in_time_leave_nothing_behind() -> None:
    clock = Clock()
    deadlines = Deadlines(clock)
    for _ in range(1000):
        waits = [deadlines.after(600.0, lambda: None) for _ in range(50)]
        for wait in waits:
            wait.cancel()
            wait.cancel()
        clock.advance(0.05)
        deadlines.sweep()
    assert len(deadlines) == 0 and deadlines.slots <= FEW + 1
