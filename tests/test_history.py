"""What an upstream did lately, in one worker and in several."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.history import BOUNDS, INTERVALS, History, add_up, empty_counts, merge, quantile

COUNTS = st.lists(st.integers(0, 5), min_size=len(BOUNDS) + 1, max_size=len(BOUNDS) + 1)


def test_idle_intervals_are_left_out_and_old_ones_forgotten() -> None:
    history = History(100)
    for number in (100, 103, 104):
        history.advance(number)
        history.now.add(failed=number == 103, latency=0.01, wait=0.0)
    history.advance(106)
    assert [row[:3] for row in history.rows()] == [[100, 1, 0], [103, 1, 1], [104, 1, 0]]
    history.advance(100 + INTERVALS + 3)
    assert [row[0] for row in history.rows()] == [104]
    history.advance(1000)
    assert history.rows() == []


def test_a_clock_that_goes_back_changes_nothing() -> None:
    history = History(100)
    history.now.add(failed=False, latency=0.01, wait=0.0)
    history.advance(90)
    history.now.add(failed=False, latency=0.01, wait=0.0)
    assert [row[:2] for row in history.rows()] == [[100, 2]]


def test_a_request_without_an_answer_or_a_wait_counts_in_neither() -> None:
    history = History(1)
    history.now.add(failed=True, latency=0.0, wait=0.0)
    history.now.add(failed=False, latency=1e9, wait=0.0001)
    ((_, requests, errors, latency, waits),) = history.rows()
    assert (requests, errors, sum(latency), latency[-1], sum(waits), waits[0]) == (2, 1, 1, 1, 1, 1)


def test_several_workers_intervals_are_added_up_by_number() -> None:
    one, two = History(1), History(1)
    one.now.add(failed=False, latency=0.01, wait=0.0)
    two.now.add(failed=True, latency=0.01, wait=1.0)
    two.advance(2)
    two.now.add(failed=False, latency=0.3, wait=0.0)
    merged = merge([one.rows(), two.rows()])
    assert {number: (each.requests, each.errors) for number, each in merged.items()} == {1: (2, 1), 2: (1, 0)}
    total = add_up(merged.values())
    assert (total.requests, total.errors, sum(total.latency), sum(total.waits)) == (3, 1, 3, 1)


@pytest.mark.parametrize(
    ("at", "share", "seconds"), [(0, 1.0, 0.0005), (3, 1.0, 0.0021), (3, 0.0, 0.0013), (30, 0.5, 600.0)]
)
def test_a_quantile_is_interpolated_in_its_bucket(at: int, share: float, seconds: float) -> None:
    counts = empty_counts()
    counts[at] = 10
    assert quantile(counts, share) == pytest.approx(seconds)


def test_of_nothing_there_is_no_quantile() -> None:
    assert quantile(empty_counts(), 0.5) is None


@given(COUNTS.filter(any), st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_quantiles_rise_with_their_share_and_stay_within_the_bounds(counts: list[int], shares: list[float]) -> None:
    found = [quantile(counts, share) for share in sorted(shares)]
    assert all(value is not None and 0 <= value <= BOUNDS[-1] for value in found)
    assert found == sorted(found, key=float)  # type: ignore[arg-type]
