"""When cycles are looked for, by the real garbage collector."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Iterator

import pytest

from aiogateway.garbage import LONG, MOST, WORTH_A_MOMENT, WORTH_A_PAUSE, Collector, new
from tests.clock import Clock


class Cycle:
    """Something that holds itself."""

    def __init__(self) -> None:
        self.itself = self


def lost_cycle() -> weakref.ref[Cycle]:
    """One that nobody else holds."""
    return weakref.ref(Cycle())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def collector(clock: Clock) -> Iterator[Collector]:
    gc.collect()
    made = Collector(clock)
    made.start()
    yield made
    made.close()
    gc.unfreeze()


def test_a_new_cycle_is_gone_after_a_tick(collector: Collector) -> None:
    cycle = lost_cycle()
    assert cycle() is not None
    collector.tick()
    assert cycle() is None


def test_what_outlives_a_tick_is_looked_at_once_more_when_more_has_come(collector: Collector) -> None:
    cycle = Cycle()
    gone = weakref.ref(cycle)
    collector.tick()
    del cycle
    collector.tick()
    assert gone() is not None
    many: list[list[int]] = []
    for _ in range(2):
        many.extend([number] for number in range(MOST * 2 // 3))
        collector.tick()
    assert gone() is None


def test_much_that_is_new_is_passed_over_until_everything_is_looked_at_in_a_quiet_moment(collector: Collector) -> None:
    cycle, many = lost_cycle(), [[number] for number in range(MOST)]
    collector.tick()
    assert cycle() is not None
    many.extend([number] for number in range(WORTH_A_MOMENT))
    assert not collector.look(0, quiet=False)
    assert collector.look(0, quiet=True)
    assert cycle() is None
    assert not collector.look(0, quiet=True), "once is enough"


def test_after_a_long_time_what_is_new_is_not_even_counted(collector: Collector, clock: Clock) -> None:
    cycle = lost_cycle()
    clock.advance(LONG)
    collector.tick()
    assert cycle() is not None
    later = lost_cycle()
    collector.tick()
    assert later() is None


def test_everything_is_looked_at_in_any_moment_once_memory_grew_far_beyond_what_connections_need(
    collector: Collector,
) -> None:
    many = [bytes([number % 250] * 40) for number in range(WORTH_A_PAUSE)]
    assert not collector.look(1000, quiet=False)
    assert collector.look(0, quiet=False)
    assert len(many) == WORTH_A_PAUSE


def test_counting_what_is_new_disturbs_no_thread_that_makes_tuples(collector: Collector) -> None:
    faults: list[BaseException] = []
    over = threading.Event()

    def make() -> None:
        try:
            while not over.is_set():
                tuple(number for number in range(100))
        except SystemError as fault:
            faults.append(fault)

    threads = [threading.Thread(target=make) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for _ in range(3000):
            new()
    finally:
        sys.setswitchinterval(interval)
        over.set()
        for thread in threads:
            thread.join()
    assert not faults


def test_outside_of_its_time_the_collector_goes_by_itself(collector: Collector) -> None:
    assert not gc.isenabled()
    collector.close()
    assert gc.isenabled()
