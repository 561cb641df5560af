"""What was worked out of late: what is found again, and what is forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiogateway.recent import Recent

MOST = 4


def test_what_is_kept_is_found_again() -> None:
    recent: Recent[str, int] = Recent(MOST)
    recent.keep("a", 1)
    assert (recent.get("a"), recent.find("a"), recent.find("b")) == (1, 1, None)


def test_what_is_asked_for_again_and_again_outlives_what_is_not() -> None:
    recent: Recent[int, int] = Recent(MOST)
    recent.keep(-1, -1)
    for number in range(10 * MOST):
        recent.keep(number, number)
        assert recent.find(-1) == -1
    assert recent.find(0) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=200))
def test_it_never_holds_more_than_two_generations_nor_says_what_was_not_kept(steps: list[tuple[bool, int]]) -> None:
    recent: Recent[int, int] = Recent(MOST)
    kept: list[int] = []
    for keep, key in steps:
        if keep:
            recent.keep(key, -key)
            kept.append(key)
        elif (value := recent.find(key)) is not None:
            assert value == -key and key in kept
            kept.append(key)
    assert not kept or recent.find(kept[-1]) is not None
    assert sum(recent.find(key) is not None for key in range(21)) <= 2 * MOST
