"""When a worker takes no more, decided by figures alone."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from aiogateway.overload import Door, Overload, door_for


def reason(overload: Overload) -> str:
    return overload.reason


def is_full(door: Door) -> bool:
    return door.full


def test_the_second_late_wake_up_in_a_row_is_load() -> None:
    overload = Overload(lag=0.5, memory=0.9)
    overload.saw_lag(3.0, 10.0)
    assert reason(overload) == ""
    overload.saw_lag(0.0, 10.05)
    overload.saw_lag(0.6, 10.7)
    assert reason(overload) == ""
    overload.saw_lag(0.6, 11.3)
    assert reason(overload) == "lag"


def test_it_lasts_until_the_lag_was_below_the_mark_for_a_moment_and_is_told_once_each_way() -> None:
    overload = Overload(lag=0.5, memory=0.9)
    with capture_logs() as lines:
        for now in (1.0, 2.0, 3.0):
            overload.saw_lag(0.6, now)
        overload.saw_lag(0.1, 3.9)
        assert reason(overload) == "lag"
        overload.saw_lag(0.7, 3.95)
        overload.saw_lag(0.1, 4.9)
        assert reason(overload) == "lag"
        overload.saw_lag(0.1, 5.0)
        assert reason(overload) == ""
        overload.saw_lag(0.1, 5.1)
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("overloaded", "lag"),
        ("no longer overloaded", "lag"),
    ]


def test_memory_past_its_mark_refuses_until_it_is_below_at_the_next_looks() -> None:
    overload = Overload(lag=0.5, memory=0.9)
    overload.saw_memory(0.89, 1.0)
    assert reason(overload) == ""
    overload.saw_memory(0.91, 2.0)
    overload.saw_lag(0.0, 3.0)
    assert reason(overload) == "memory"
    overload.saw_memory(0.5, 3.0)
    overload.saw_lag(0.0, 4.0)
    assert reason(overload) == ""


def test_of_two_reasons_one_remains_when_the_other_ends() -> None:
    overload = Overload(lag=0.5, memory=0.9)
    overload.saw_lag(0.6, 1.0)
    overload.saw_lag(0.6, 1.6)
    overload.saw_memory(0.95, 2.5)
    overload.saw_lag(0.0, 2.7)
    assert reason(overload) == "memory"


def test_a_door_lets_in_as_many_as_it_may_and_knows_what_to_do_with_the_rest() -> None:
    door = Door(2, 1)
    assert [door.enter() for _ in range(6)] == ["regular", "regular", "surplus", "refused", "beyond", "beyond"]
    door.leave("beyond")
    door.leave("surplus")
    assert door.enter() == "surplus"
    door.leave("regular")
    assert door.enter() == "regular"


def test_a_door_tells_once_that_it_is_full_and_once_that_it_is_not() -> None:
    with capture_logs() as lines:
        door = Door(2, 1)
        places = [door.enter() for _ in range(4)]
        assert is_full(door)
        for place in places:
            door.leave(place)
        assert not is_full(door)
    assert [line["event"] for line in lines] == ["overloaded", "no longer overloaded"]


@pytest.mark.parametrize(("wanted", "descriptors"), [(10000, 1 << 20), (10000, 1024), (10000, 200), (5, 200), (10, 40)])
def test_every_client_may_need_an_upstream_and_all_descriptors_do(wanted: int, descriptors: int) -> None:
    door = door_for(wanted, descriptors)
    places = [door.enter() for _ in range(30000)]
    assert 1 <= places.count("regular") == door.limit <= wanted
    held = len(places) - places.count("beyond") + door.limit
    assert held <= descriptors or door.limit == 1
