"""Queues weighed in bytes, beside a dict of what is in them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aiogateway.caching.eviction import Item, Queues

ROOM = 100
FOREVER = 1e12


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.queues: Queues[Item] = Queues(ROOM)
        self.items: dict[int, Item] = {}
        self.now = 0.0

    def gone(self, items: list[Item]) -> None:
        for item in items:
            assert self.items.pop(item.mark) is item

    @rule(mark=st.integers(0, 30), weight=st.integers(1, ROOM), until=st.sampled_from((5.0, FOREVER)))
    def add(self, mark: int, weight: int, until: float) -> None:
        item = Item(mark, weight, until)
        self.gone(self.queues.add(item, self.now, self.items.pop(mark, None)))
        self.items[mark] = item

    @rule(mark=st.integers(0, 30))
    def use(self, mark: int) -> None:
        if mark in self.items:
            self.queues.used(self.items[mark])

    @rule(mark=st.integers(0, 30))
    def remove(self, mark: int) -> None:
        if mark in self.items:
            self.queues.remove(self.items.pop(mark))

    @precondition(lambda self: self.items)
    @rule(data=st.data(), weight=st.integers(1, ROOM))
    def weigh(self, data: st.DataObject, weight: int) -> None:
        item = self.items[data.draw(st.sampled_from(sorted(self.items)))]
        self.gone(self.queues.weigh(item, weight, self.now))

    @rule()
    def pass_time(self) -> None:
        self.now += 1.0

    @invariant()
    def all_is_accounted_for(self) -> None:
        assert self.queues.weight == sum(item.weight for item in self.items.values()) <= ROOM
        assert len(self.queues) == len(self.items)
        assert self.queues.ghosts <= len(self.items)


TestMachine = Machine.TestCase


def filled(count: int) -> tuple[Queues[Item], set[Item]]:
    """Queues of items that were used, of one byte each."""
    queues: Queues[Item] = Queues(ROOM)
    kept = {Item(mark, 1, FOREVER) for mark in range(count)}
    for item in kept:
        queues.add(item, 0.0)
        queues.used(item)
    return queues, kept


@given(st.integers(1, 20))
def test_a_scan_of_what_is_asked_for_once_drives_nothing_out_that_is_used(size: int) -> None:
    queues, kept = filled(80)
    for mark in range(1000):
        assert not kept & set(queues.add(Item(1000 + mark, size, FOREVER), 0.0))


def test_what_has_expired_goes_first_however_often_it_was_used() -> None:
    queues: Queues[Item] = Queues(ROOM)
    old = Item(0, 50, 10.0)
    queues.add(old, 0.0)
    for _ in range(10):
        queues.used(old)
    queues.add(Item(1, 50, FOREVER), 0.0)
    assert queues.add(Item(2, 50, FOREVER), 11.0)[0] is old


def test_what_comes_again_soon_after_it_was_given_up_stays_longer() -> None:
    queues: Queues[Item] = Queues(ROOM)
    for mark in range(101):
        queues.add(Item(mark, 1, FOREVER), 0.0)
    again = Item(0, 1, FOREVER)
    queues.add(again, 0.0)
    gone = [item for mark in range(200, 280) for item in queues.add(Item(mark, 1, FOREVER), 0.0)]
    assert again.main and again not in gone
