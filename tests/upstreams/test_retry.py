"""What may be sent again, and how much of that."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.upstreams.retry import (
    CONNECT_FAILURE,
    FLOOR,
    NO_ANSWER,
    SHARE,
    STALE_CONNECTION,
    STATUSES,
    TIMEOUT,
    WINDOW,
    Budget,
    may_repeat,
)
from tests.clock import Clock

REASONS = (CONNECT_FAILURE, STALE_CONNECTION, TIMEOUT, NO_ANSWER, *STATUSES.values())
EVERY_CASE = list(itertools.product(REASONS, (None, True, False), (True, False), (True, False)))


@pytest.mark.parametrize(("reason", "policy", "idempotent", "at_hand"), EVERY_CASE)
def test_every_case_of_what_may_be_sent_again(
    reason: str, policy: bool | None, idempotent: bool, at_hand: bool
) -> None:
    allowed = {
        # Nothing was sent.
        CONNECT_FAILURE: policy is not False,
        STALE_CONNECTION: policy is not False and idempotent and at_hand,
    }.get(reason, policy is True and idempotent and at_hand)
    assert may_repeat(reason, policy=policy, idempotent=idempotent, at_hand=at_hand) is allowed


def test_a_few_a_second_are_always_allowed() -> None:
    clock = Clock()
    budget = Budget(clock)
    for _ in range(5):
        assert [budget.take() for _ in range(5)] == [True] * FLOOR + [False] * 2
        clock.advance(1.0)


def test_beyond_that_a_share_of_the_requests_is() -> None:
    budget = Budget(Clock())
    budget.requests = 100
    assert sum(budget.take() for _ in range(100)) == 20


def test_requests_of_long_ago_pay_for_nothing() -> None:
    clock = Clock()
    budget = Budget(clock)
    budget.requests = 1000
    clock.advance(WINDOW + 1.0)
    assert sum(budget.take() for _ in range(100)) == FLOOR


def test_requests_of_the_seconds_before_pay_too() -> None:
    clock = Clock()
    budget = Budget(clock)
    budget.requests = 50
    clock.advance(1.0)
    budget.sweep()
    budget.requests = 50
    assert sum(budget.take() for _ in range(100)) == 20


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200), st.floats(0.0, 3.0)), max_size=40))
def test_retries_are_never_more_than_share_and_floor_allow(steps: list[tuple[int, int, float]]) -> None:
    clock = Clock()
    budget = Budget(clock)
    requests = retries = 0
    for added, wanted, seconds in steps:
        budget.requests += added
        requests += added
        retries += sum(budget.take() for _ in range(wanted))
        clock.advance(seconds)
        budget.sweep()
    assert retries <= SHARE * requests + FLOOR * (len(steps) + 1)
