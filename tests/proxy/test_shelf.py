"""Room for the rest of answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiogateway.proxy.shelf import MOST, Shelf


def test_one_answer_gets_no_more_than_its_part_and_none_gets_nothing() -> None:
    shelf = Shelf(10 * MOST)
    assert [shelf.take(count) for count in (0, -1, MOST + 1, MOST, 1)] == [False, False, False, True, True]


@given(st.lists(st.integers(-10, MOST + 10), max_size=50))
def test_all_together_never_take_more_than_there_is_and_all_of_it_comes_back(wanted: list[int]) -> None:
    shelf = Shelf(3 * MOST)
    taken = [count for count in wanted if shelf.take(count)]
    assert sum(taken) + shelf.room == 3 * MOST and shelf.room >= 0
    for count in taken:
        shelf.give_back(count)
    assert shelf.room == 3 * MOST
