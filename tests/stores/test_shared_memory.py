"""Shared counters in one process, beside lists of all events in a dict."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from aiogateway.stores.checks import Checks
from aiogateway.stores.shared_memory import SharedCounters
from aiogateway.stores.slots import SLOTS
from aiogateway.stores.windows import SECOND, Policy, Verdict
from tests.stores.clock import Nanoseconds

LOGIN = Policy("3/minute", 3, 60, "login", logged=True)
LOGIN_FEWER = Policy("2/minute", 2, 60, "login", logged=True)
ROUTE = Policy("12/second", 12, 1, "route", logged=False)
HOUR = Policy("30/hour", 30, 3600, "hour", logged=False)
RARE = Policy("2/hour", 2, 3600, "rare", logged=True, rare=True)
POLICIES = (LOGIN, LOGIN_FEWER, ROUTE, HOUR, RARE)
# All slots of a table for one counter.
SMALLEST = 2 * SLOTS


class Model:
    """Every counter as a list of all its events."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, str], list[int]] = {}

    def look(self, policy: Policy, who: str, now: int) -> Verdict:
        """What a policy would say to an event, before it is counted."""
        events = self.events.get((policy.scope, who), [])
        if policy.logged:
            leaves = sorted(event + policy.span + 1 for event in events if now - event <= policy.span)
        else:
            ends = [(event // policy.width + 11) * policy.width for event in events]
            leaves = sorted(end for end in ends if end > now)
        room = policy.limit - len(leaves)
        if room <= 0:
            return Verdict(False, 0, (leaves[-room] - now) / SECOND)
        return Verdict(True, room, (leaves[0] - now) / SECOND if leaves else 0.0)

    def count(self, checks: Checks, now: int) -> None:
        for key in {(policy.scope, who) for policy, who in checks}:
            self.events.setdefault(key, []).append(now)

    def take(self, checks: Checks, now: int) -> list[Verdict]:
        before = [self.look(policy, who, now) for policy, who in checks]
        if not all(verdict.admitted for verdict in before):
            return before
        self.count(checks, now)
        after = [self.look(policy, who, now) for policy, who in checks]
        return [Verdict(True, verdict.remaining - 1, later.reset) for verdict, later in zip(before, after, strict=True)]


some_checks = st.lists(st.tuples(st.sampled_from(POLICIES), st.sampled_from("abcd")), max_size=4)


class CountersModel(RuleBasedStateMachine):
    """Beside the real thing, a plain dict."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Nanoseconds()
        self.counters = SharedCounters(200, self.clock)
        self.model = Model()

    def teardown(self) -> None:
        self.counters.close()

    @rule(checks=some_checks, times=st.integers(1, 5))
    def take(self, checks: Checks, times: int) -> None:
        for _ in range(times):
            assert self.counters.take(checks) == self.model.take(checks, self.clock.now)

    @rule(checks=some_checks)
    def record(self, checks: Checks) -> None:
        self.counters.record(checks)
        now = self.clock.now
        self.model.count([check for check in checks if self.model.look(*check, now).admitted], now)

    @rule(policy=st.sampled_from(POLICIES), who=st.sampled_from("abcd"))
    def peek(self, policy: Policy, who: str) -> None:
        assert self.counters.peek(policy, who) == self.model.look(policy, who, self.clock.now)

    @rule(seconds=st.sampled_from([0.1, 1, 6, 60, 66, 360, 3600, 4000]), beside=st.integers(-1, 1))
    def time_passes(self, seconds: float, beside: int) -> None:
        self.clock.now += round(seconds * SECOND) + beside

    @rule(nanoseconds=st.integers(0, 100 * SECOND))
    def some_time_passes(self, nanoseconds: int) -> None:
        self.clock.now += nanoseconds


CountersModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCounters = CountersModel.TestCase


def fill(counters: SharedCounters, policy: Policy = HOUR, count: int = SMALLEST) -> list[str]:
    """Give every slot of the smallest table to somebody."""
    names = [f"flood:{number}" for number in range(count)]
    for name in names:
        assert counters.take([(policy, name)])[0].admitted
    return names


def test_none_is_counted_when_one_refuses() -> None:
    counters = SharedCounters(200, Nanoseconds())
    for _ in range(3):
        counters.take([(LOGIN, "a")])
    verdicts = counters.take([(ROUTE, "a"), (LOGIN, "a"), (HOUR, "a")])
    assert [verdict.admitted for verdict in verdicts] == [True, False, True]
    assert [verdict.remaining for verdict in verdicts] == [12, 0, 30]
    assert counters.peek(ROUTE, "a") == (True, 12, 0.0)
    counters.close()


def test_a_counter_that_is_named_twice_is_counted_in_once() -> None:
    counters = SharedCounters(200, Nanoseconds())
    assert [v.remaining for v in counters.take([(LOGIN, "a"), (LOGIN_FEWER, "a"), (LOGIN, "a")])] == [2, 1, 2]
    counters.record([(LOGIN, "a"), (LOGIN_FEWER, "a")])
    assert [v.admitted for v in counters.take([(LOGIN, "a"), (LOGIN_FEWER, "a")])] == [True, False]
    counters.record([(LOGIN, "a"), (LOGIN_FEWER, "a")])
    counters.record([(LOGIN, "a"), (LOGIN_FEWER, "a")])
    assert not counters.take([(LOGIN, "a")])[0].admitted
    counters.close()


def test_several_new_counters_of_one_check_each_have_their_own() -> None:
    counters = SharedCounters(1, Nanoseconds())
    names = [f"new:{number}" for number in range(SLOTS)]
    assert {verdict.remaining for verdict in counters.take([(HOUR, name) for name in names])} == {29}
    assert [counters.peek(HOUR, name).remaining for name in names] == [29] * SLOTS
    counters.close()


def test_an_event_is_of_the_time_when_all_locks_were_held() -> None:
    """A new counter may have to wait for a second one."""
    clock, minute = Nanoseconds(), Policy("1/minute", 1, 60, "once", logged=True)
    before = iter([clock.now])
    counters = SharedCounters(1, lambda: next(before, clock.now))
    clock.advance(30)
    assert counters.take([(minute, "a")])[0].admitted
    clock.advance(59)
    assert not counters.take([(minute, "a")])[0].admitted
    clock.advance(2)
    assert counters.take([(minute, "a")])[0].admitted
    counters.close()


def test_nothing_to_check_is_nothing_refused() -> None:
    counters = SharedCounters(200, Nanoseconds())
    assert counters.take([]) == []
    counters.record([])
    counters.close()


def test_looking_at_nobody_makes_no_counter() -> None:
    counters = SharedCounters(1, Nanoseconds())
    for number in range(1000):
        assert counters.peek(HOUR, f"nobody:{number}") == (True, 30, 0.0)
    fill(counters)
    assert counters.take([(HOUR, "shares")])[0].remaining == 29
    counters.close()


def test_new_counters_share_one_of_their_policy_when_no_place_is_left() -> None:
    counters = SharedCounters(1, Nanoseconds())
    fill(counters)
    shared = [counters.take([(HOUR, f"new:{number}")])[0] for number in range(40)]
    assert [verdict.admitted for verdict in shared] == [True] * 30 + [False] * 10
    assert [verdict.remaining for verdict in shared[:30]] == [*range(29, -1, -1)]
    assert counters.take([(LOGIN, "new:1")])[0].remaining == 2, "another scope has another one"
    assert counters.take([(LOGIN, "new:2"), (LOGIN_FEWER, "new:3")])[1][:2] == (True, 0)
    assert not counters.peek(HOUR, "new:99").admitted
    assert counters.peek(ROUTE, "new:99") == (True, 12, 0.0)
    counters.close()


def test_a_flood_frees_nobody() -> None:
    clock = Nanoseconds()
    counters = SharedCounters(1, clock)
    for _ in range(3):
        counters.take([(LOGIN, "victim")])
    counted = fill(counters, count=SMALLEST - 1)
    for number in range(5000):
        counters.take([(HOUR, f"new:{number}")])
        counters.record([(HOUR, f"newer:{number}"), (LOGIN, f"newer:{number}")])
        clock.advance(0.01)
    assert not counters.take([(LOGIN, "victim")])[0].admitted
    assert [counters.peek(HOUR, name).remaining for name in counted] == [29] * len(counted)
    counters.close()


def test_places_whose_events_have_passed_are_used_again() -> None:
    clock = Nanoseconds()
    counters = SharedCounters(1, clock)
    for _ in range(20):
        fill(counters)
        clock.advance(3600 * 1.1 + 2)
    assert counters.take([(HOUR, "flood:0")])[0].remaining == 29
    counters.close()


def test_a_counter_with_a_new_event_keeps_its_place() -> None:
    clock = Nanoseconds()
    counters = SharedCounters(1, clock)
    names = fill(counters)
    clock.advance(3000)
    counters.take([(HOUR, names[7])])
    clock.advance(1500)
    for number in range(SMALLEST - 1):
        assert counters.take([(HOUR, f"next:{number}")])[0].remaining == 29
    assert counters.peek(HOUR, names[7]).remaining == 29
    assert counters.take([(HOUR, "one more")])[0].remaining == 29, "this one shares"
    assert counters.take([(HOUR, "and another")])[0].remaining == 28
    counters.close()


def test_who_moves_out_of_the_shared_counter_takes_its_events_along() -> None:
    clock = Nanoseconds()
    counters = SharedCounters(1, clock)
    fill(counters, ROUTE)
    assert [counters.take([(LOGIN, "late")])[0].admitted for _ in range(4)] == [True, True, True, False]
    clock.advance(10)  # now there are places
    assert counters.peek(LOGIN, "late") == (False, 0, (50 * SECOND + 1) / SECOND)
    assert not counters.take([(LOGIN, "late")])[0].admitted
    assert counters.take([(ROUTE, "late")])[0].remaining == 11
    clock.advance(51)
    assert [counters.take([(LOGIN, "late")])[0].admitted for _ in range(4)] == [True, True, True, False]
    counters.close()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([LOGIN, ROUTE]), st.sampled_from([0.0, 0.0, 0.2, 1.0, 21.0])),
        max_size=150,
    )
)
def test_no_window_admits_too_many_while_clients_come_and_go_in_a_full_table(
    asked: list[tuple[str, Policy, float]],
) -> None:
    clock = Nanoseconds()
    counters = SharedCounters(1, clock)
    for number in range(SMALLEST):  # they leave one by one, over a minute
        counters.take([(LOGIN if number % 2 else ROUTE, f"flood:{number}")])
        clock.advance(1.5)
        counters.take([(ROUTE, f"flood:{number}")])
    admitted: dict[tuple[str, Policy], list[int]] = {}
    for who, policy, seconds in asked:
        clock.advance(seconds)
        if counters.take([(policy, who)])[0].admitted:
            events = admitted.setdefault((who, policy), [])
            events.append(clock.now)
            assert sum(event >= clock.now - policy.span for event in events) <= policy.limit
    counters.close()


def test_when_even_shared_counters_have_no_place_new_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiogateway.stores.shared_memory.SHARED", 1)
    counters = SharedCounters(1, Nanoseconds())
    fill(counters)
    scopes = [Policy("1/minute", 1, 60, f"scope {number}", logged=True) for number in range(SMALLEST + 1)]
    assert [counters.take([(scope, "a")])[0].admitted for scope in scopes] == [True] * SMALLEST + [False]
    assert counters.take([(scopes[-1], "a"), (scopes[0], "flood:0")]) == [(False, 0, 60.0)] * 2
    counters.record([(scopes[-1], "a")])
    assert counters.peek(scopes[-1], "a").admitted
    assert counters.peek(HOUR, "flood:0").remaining == 29
    counters.close()


def test_a_rare_policys_counters_are_seen_as_long_as_they_hold_events() -> None:
    clock = Nanoseconds()
    counters = SharedCounters(200, clock)
    minute, hour = (Policy("p", 1, period, "failures", logged=True, rare=True) for period in (60, 3600))
    assert counters.peek(minute, "a") == counters.peek(hour, "b") == (True, 1, 0.0)
    counters.take([(hour, "b")])
    counters.take([(minute, "a")])
    assert (counters.peek(minute, "a").admitted, counters.peek(hour, "b").admitted) == (False, False)
    assert counters.peek(minute, "c").admitted
    clock.advance(60.1)
    assert (counters.peek(minute, "a").admitted, counters.peek(hour, "b").admitted) == (True, False)
    clock.advance(3540)
    assert counters.peek(hour, "b").admitted
    counters.record([(minute, "a")])
    assert not counters.peek(minute, "a").admitted
    counters.close()


def test_kinds_and_periods_of_one_scope_are_counters_of_their_own() -> None:
    counters = SharedCounters(200, Nanoseconds())
    kinds = [Policy("p", 1, period, "same", logged) for period in (60, 3600) for logged in (True, False)]
    assert all(counters.take([(policy, "a")])[0].admitted for policy in kinds)
    assert not any(counters.take([(policy, "a")])[0].admitted for policy in kinds)
    counters.close()


def test_closing_twice_is_harmless() -> None:
    counters = SharedCounters(1)
    counters.take([(LOGIN, "a")])
    counters.close()
    counters.close()
