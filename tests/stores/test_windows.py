"""What the windows admit, beside a list of all events that is looked through each time."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiogateway.stores.windows import (
    EMPTY,
    LOGGED_UP_TO,
    MAX_LIMIT,
    MAX_PERIOD,
    SECOND,
    STATE_BYTES,
    WEIGH,
    Policy,
    Verdict,
    uncounted,
)

START = 10**15
LOG = Policy("5/minute", 5, 60, "log", logged=True)
COUNTS = Policy("20/minute", 20, 60, "counts", logged=False)


class Counter:
    """One counter, and beside it every event that it admitted."""

    def __init__(self) -> None:
        self.state = EMPTY
        self.events: list[int] = []

    def ask(self, policy: Policy, now: int) -> Verdict:
        verdict, start, change = WEIGH[policy.logged](policy, self.state, 0, now)
        if verdict.admitted:
            self.state = self.state[:start] + change + self.state[start + len(change) :]
            self.events.append(now)
        assert len(self.state) == STATE_BYTES
        return verdict

    def within(self, since: int) -> int:
        return sum(event >= since for event in self.events)


def policies(logged: bool) -> st.SearchStrategy[Policy]:
    return st.builds(
        Policy,
        name=st.just("p"),
        limit=st.integers(1, LOGGED_UP_TO if logged else 40),
        period=st.sampled_from([1, 60, 3600, MAX_PERIOD]),
        scope=st.just("s"),
        logged=st.just(logged),
    )


def steps(policy: Policy) -> st.SearchStrategy[list[int]]:
    """Nanoseconds between questions: bursts, random waits, and waits that end at an edge or beside it."""
    edges = st.builds(
        lambda base, times, beside: max(base * times + beside, 0),
        st.sampled_from([policy.width, policy.span]),
        st.integers(0, 12),
        st.integers(-1, 1),
    )
    return st.lists(st.just(0) | edges | st.integers(0, policy.width) | st.integers(0, policy.span), max_size=120)


def check(policy: Policy, waits: Iterable[int], start: int = START) -> None:
    """Ask after each wait, and hold every verdict against the list of events."""
    counter, now = Counter(), start
    late = 0 if policy.logged else policy.width
    for wait in waits:
        now += wait
        before = counter.within(now - policy.span)
        verdict = counter.ask(policy, now)
        if verdict.admitted:
            assert before < policy.limit, "more than the limit in a window of a period's length"
        else:
            assert counter.within(now - policy.span - late) >= policy.limit, "room came free too late"
            assert verdict.remaining == 0
            check_reset(policy, counter.state, now, verdict)
        counted = counter.within(now - policy.span - late)
        assert policy.limit - counted <= verdict.remaining <= max(policy.limit - counter.within(now - policy.span), 0)
        assert 0 < verdict.reset <= (policy.span + late + 1) / SECOND


def check_reset(policy: Policy, state: bytes, now: int, refused: Verdict) -> None:
    """After the seconds that are told one event is admitted, and not a nanosecond before."""
    then = now + round(refused.reset * SECOND)
    assert WEIGH[policy.logged](policy, state, 0, then)[0].admitted
    assert not WEIGH[policy.logged](policy, state, 0, then - 1)[0].admitted


@pytest.mark.parametrize("logged", [True, False])
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_no_window_ever_admits_more_than_the_limit_and_room_comes_free_in_time(
    logged: bool, data: st.DataObject
) -> None:
    policy = data.draw(policies(logged))
    check(policy, data.draw(steps(policy)), START + data.draw(st.integers(0, 2 * policy.span)))


@pytest.mark.parametrize("policy", [LOG, COUNTS])
@pytest.mark.parametrize("start", [1, SECOND, START])
def test_a_burst_at_every_edge_is_admitted_once_a_period(policy: Policy, start: int) -> None:
    for beside in (-1, 0, 1):
        burst = [0] * policy.limit * 2
        check(policy, [*burst, policy.span + beside, *burst, policy.width + beside, *burst], start)


def test_a_log_admits_the_next_event_a_nanosecond_after_a_period() -> None:
    counter = Counter()
    assert [counter.ask(LOG, START).admitted for _ in range(6)] == [True] * 5 + [False]
    assert not counter.ask(LOG, START + LOG.span).admitted, "both ends of a window belong to it"
    assert counter.ask(LOG, START + LOG.span + 1).admitted


def test_sub_windows_free_room_when_the_oldest_has_passed_entirely() -> None:
    counter, start = Counter(), START // COUNTS.width * COUNTS.width
    for _ in range(20):
        counter.ask(COUNTS, start + COUNTS.width - 1)
    assert not counter.ask(COUNTS, start + 11 * COUNTS.width - 1).admitted
    assert counter.ask(COUNTS, start + 11 * COUNTS.width).admitted


def test_verdicts_count_down_and_tell_when_the_oldest_leaves() -> None:
    counter = Counter()
    told = [counter.ask(LOG, START + second * SECOND) for second in (0, 10, 20, 30, 40, 50)]
    assert [verdict.remaining for verdict in told] == [4, 3, 2, 1, 0, 0]
    assert [verdict.admitted for verdict in told] == [True] * 5 + [False]
    assert [round(verdict.reset) for verdict in told] == [60, 50, 40, 30, 20, 10]


@settings(max_examples=100, deadline=None)
@given(data=st.data(), logged=st.booleans())
def test_policies_that_share_a_counter_each_keep_their_own_limit(data: st.DataObject, logged: bool) -> None:
    several = [Policy("p", limit, 60, "s", logged) for limit in data.draw(st.sets(st.integers(1, 10), min_size=2))]
    counter, now = Counter(), START
    for wait in data.draw(steps(several[0])):
        now += wait
        policy = data.draw(st.sampled_from(several))
        before = counter.within(now - policy.span)
        verdict = counter.ask(policy, now)
        assert before < policy.limit if verdict.admitted else verdict.remaining == 0
        if not verdict.admitted:
            check_reset(policy, counter.state, now, verdict)


@settings(max_examples=300)
@given(
    state=st.binary(min_size=STATE_BYTES, max_size=STATE_BYTES),
    logged=st.booleans(),
    limit=st.integers(1, LOGGED_UP_TO),
    now=st.integers(1, 2**61),
)
@example(state=b"\xff" * STATE_BYTES, logged=True, limit=10, now=START)
@example(state=b"\xff" * STATE_BYTES, logged=False, limit=10, now=START)
def test_any_bytes_are_a_state(state: bytes, logged: bool, limit: int, now: int) -> None:
    policy = Policy("p", limit, 60, "s", logged)
    verdict, start, change = WEIGH[logged](policy, state, 0, now)
    assert 0 <= verdict.remaining < limit
    assert 0 < verdict.reset <= (policy.lasts + 1) / SECOND
    assert verdict.admitted == bool(change)
    assert start + len(change) <= STATE_BYTES


@settings(max_examples=100, deadline=None)
@given(data=st.data(), logged=st.booleans())
def test_a_write_that_was_cut_short_lets_no_other_event_leave_early(data: st.DataObject, logged: bool) -> None:
    """A process may be killed between any two of the eight-byte words that it writes."""
    policy = data.draw(policies(logged))
    counter, now = Counter(), START
    for wait in data.draw(steps(policy)):
        now += wait
        old = counter.state
        before = counter.within(now - policy.span)
        if counter.ask(policy, now).admitted:
            assert before < policy.limit
            if data.draw(st.booleans()):
                counter.events.pop()  # nobody was told
                words = zip(struct.iter_unpack("8s", old), struct.iter_unpack("8s", counter.state), strict=True)
                counter.state = b"".join(data.draw(st.sampled_from(pair))[0] for pair in words)


def test_what_was_not_counted_after_all_is_told_so() -> None:
    counter = Counter()
    first = counter.ask(LOG, START)
    assert uncounted(LOG, first) == (True, 5, 0.0)
    second = counter.ask(LOG, START + SECOND)
    assert uncounted(LOG, second) == (True, 4, second.reset)
    refused = Verdict(False, 0, 3.0)
    assert uncounted(LOG, refused) is refused


def test_the_largest_limit_over_the_longest_period_is_counted_exactly() -> None:
    policy = Policy("p", MAX_LIMIT, MAX_PERIOD, "s", logged=False)
    current = START // policy.width
    full = struct.pack("<Q11I28x", current, *[0] * (current % 11), MAX_LIMIT - 1, *[0] * (10 - current % 11))
    counter = Counter()
    counter.state = full
    assert counter.ask(policy, START) == (True, 0, ((current + 11) * policy.width - START) / SECOND)
    assert not counter.ask(policy, START).admitted


@pytest.mark.parametrize(
    ("limit", "period", "logged"),
    [
        (0, 60, True),
        (-1, 60, False),
        (11, 60, True),
        (MAX_LIMIT + 1, 60, False),
        (5, 0, True),
        (5, MAX_PERIOD + 1, True),
    ],
)
def test_a_policy_out_of_range_is_refused(limit: int, period: int, logged: bool) -> None:
    with pytest.raises(ValueError, match="out of its range"):
        Policy("p", limit, period, "s", logged)


def test_labels_tell_scopes_kinds_and_periods_apart() -> None:
    labels = [
        Policy("p", 1, period, scope, logged).label + who
        for period in (1, 60)
        for logged in (True, False)
        for scope, who in (("a", b"b"), ("a b", b""), ("", b"a b"), ("a ", b"b"), ("\udcff", b""))
    ]
    assert len(set(labels)) == len(labels)
    assert Policy("x", 1, 60, "s", logged=True).label == Policy("y", 9, 60, "s", logged=True).label
    assert math.isclose(COUNTS.lasts, 66 * SECOND)
