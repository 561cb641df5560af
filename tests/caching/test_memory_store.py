"""A store in memory, beside a dict of everything that was ever put into it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aiogateway.caching.entry import Entry, Key
from aiogateway.caching.memory_store import MOST_VARIANTS, MemoryStore
from aiogateway.caching.notices import LONGEST, Notices, TooLong, reaches
from aiogateway.caching.purges import LOOKS
from tests.caching.entries import NOW, entry_of, key_of
from tests.clock import Clock

R = TypeVar("R")
KEYS = [key_of(path, query) for path in ("/a", "/a/b", "/c") for query in ("", "?q")]
OBJECT = 4000
some_keys = st.sampled_from(KEYS)


def done(work: Coroutine[Any, Any, R]) -> R:
    """What something comes to that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as end:
        result: R = end.value
        return result
    raise AssertionError("it waits")


class Machine(RuleBasedStateMachine):
    """With room for everything: what the store has is exactly what the model has."""

    room = 1 << 20

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock(NOW)
        self.notices = Notices(8, alone=True)
        self.store = MemoryStore(self.room, OBJECT, self.clock, self.notices)
        # Another worker, who is told of all and looks seldom.
        self.other = MemoryStore(self.room, OBJECT, self.clock, self.notices)
        self.kept: dict[Key, list[tuple[Entry, dict[str, bytes]]]] = {key: [] for key in KEYS}
        self.number = 0

    def teardown(self) -> None:
        self.notices.close()

    def found(self, key: Key) -> list[Entry]:
        return list(done(self.store.find(key)))

    def known(self, key: Key) -> list[Entry]:
        return [entry for entry, _ in self.kept[key] if entry.until > self.clock.now]

    @rule(key=some_keys, size=st.integers(0, OBJECT + 10), lasts=st.sampled_from((0, 5, 1000)), vary=st.integers(0, 2))
    def keep(self, key: Key, size: int, lasts: int, vary: int) -> None:
        self.number += 1
        body = b"%d" % self.number * size
        body = body[:size]
        entry = entry_of(
            str(self.number),
            body=body,
            until=self.clock.now + lasts,
            vary=(("accept", str(vary)),),
            tags=(f"t{vary}",),
        )
        kept = done(self.store.keep(key, entry, body, self.store.mark()))
        assert not kept or (size <= OBJECT and lasts)
        if kept:
            rest = [one for one in self.kept[key] if one[0].vary != entry.vary]
            self.kept[key] = [(entry, {"identity": body}), *rest]

    @rule(key=some_keys, size=st.integers(0, OBJECT))
    def keep_coded(self, key: Key, size: int) -> None:
        for entry, bodies in self.kept[key][:1]:
            done(self.store.keep_coded(key, entry, "br", b"c" * size))
            bodies["br"] = b"c" * size

    @rule(key=some_keys)
    def use(self, key: Key) -> None:
        for entry in self.found(key):
            self.store.used(key, entry)

    @rule(key=some_keys, lasts=st.sampled_from((5, 1000)))
    def renew(self, key: Key, lasts: int) -> None:
        for entry in self.found(key)[-1:]:
            renewed = entry_of(entry.id, until=self.clock.now + lasts, vary=entry.vary, tags=entry.tags, etag='"b"')
            renewed = renewed.sized(entry.size)
            done(self.store.renew(key, entry, renewed))
            (bodies,) = [bodies for known, bodies in self.kept[key] if known.id == entry.id]
            self.kept[key] = [(renewed, bodies), *(one for one in self.kept[key] if one[0].id != entry.id)]

    @rule(key=some_keys)
    def remove(self, key: Key) -> None:
        for entry, _ in self.kept[key][:1]:
            done(self.store.remove(key, entry))
            del self.kept[key][0]

    @rule(key=some_keys, by_other=st.booleans())
    def drop(self, key: Key, by_other: bool) -> None:
        done((self.other if by_other else self.store).drop(key))
        self.kept[key] = []

    @rule(pattern=st.sampled_from(("/a", "/a*", "/a/*", "*", "/b*")), by_other=st.booleans())
    def purge_path(self, pattern: str, by_other: bool) -> None:
        assert done((self.other if by_other else self.store).purge(path=pattern))
        for key in KEYS:
            if reaches(pattern, key.path):
                self.kept[key] = []

    @rule(tag=st.sampled_from(("t0", "t1", "none")), by_other=st.booleans())
    def purge_tag(self, tag: str, by_other: bool) -> None:
        assert done((self.other if by_other else self.store).purge(tag=tag))
        for key in KEYS:
            self.kept[key] = [one for one in self.kept[key] if tag not in one[0].tags]

    @rule()
    def pass_time(self) -> None:
        self.clock.advance(3.0)

    @invariant()
    def what_is_found_is_what_was_kept(self) -> None:
        for key in KEYS:
            assert self.found(key) == self.known(key)
            for entry, bodies in self.kept[key]:
                if entry.until > self.clock.now:
                    assert {coding: done(self.store.body(key, entry, coding)) for coding in bodies} == bodies


class TightMachine(Machine):
    """With room for a few: nothing is found that the model doesn't have, and the store is never too heavy."""

    room = 12_000

    @rule(key=some_keys, size=st.integers(0, OBJECT))
    def keep_coded(self, key: Key, size: int) -> None:
        for entry in self.found(key)[:1]:
            done(self.store.keep_coded(key, entry, "br", b"c" * size))
            for known, bodies in self.kept[key]:
                if known.id == entry.id:
                    bodies["br"] = b"c" * size

    @invariant()
    def what_is_found_is_what_was_kept(self) -> None:
        least = 0
        for key in KEYS:
            known = self.known(key)
            for entry in self.found(key):
                assert entry in known
                (bodies,) = [bodies for one, bodies in self.kept[key] if one.id == entry.id]
                got = {coding: done(self.store.body(key, entry, coding)) for coding in bodies}
                assert got["identity"] == bodies["identity"] and got.get("br") in (None, bodies.get("br"))
                least += sum(len(body) for body in got.values() if body is not None)
        assert least <= self.store.weight <= self.room


TestMachine = Machine.TestCase
TestTightMachine = TightMachine.TestCase


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def store(clock: Clock, notices: Notices) -> MemoryStore:
    return MemoryStore(1 << 20, OBJECT, clock, notices)


async def test_an_emptied_store_weighs_nothing(store: MemoryStore) -> None:
    for number in range(50):
        entry = entry_of(str(number), vary=(("accept", str(number % 7)),))
        await store.keep(KEYS[number % len(KEYS)], entry, b"x" * number, store.mark())
        await store.keep_coded(KEYS[number % len(KEYS)], entry, "br", b"y" * number)
    assert store.weight > 0
    await store.purge(path="*")
    assert (store.weight, len(store)) == (0, 0)


async def test_what_has_expired_is_given_back_when_it_is_looked_for(store: MemoryStore, clock: Clock) -> None:
    await store.keep(KEYS[0], entry_of(until=NOW + 1), b"", store.mark())
    clock.advance(1.0)
    assert not await store.find(KEYS[0]) and len(store) == 0


async def test_the_oldest_of_many_variants_goes(store: MemoryStore) -> None:
    for number in range(MOST_VARIANTS + 3):
        await store.keep(KEYS[0], entry_of(str(number), vary=(("a", str(number)),)), b"", store.mark())
    assert [entry.id for entry in await store.find(KEYS[0])] == [str(n) for n in range(MOST_VARIANTS + 2, 2, -1)]


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ({"path": "/v2/plans"}, False),
        ({"path": "/v2/*"}, False),
        ({"path": "/v2/plans/"}, True),
        ({"path": "/v2"}, True),
        ({"tag": "plans"}, False),
        ({"tag": "plan"}, True),
    ],
)
async def test_what_was_purged_after_it_was_asked_for_is_not_kept(
    store: MemoryStore, told: dict[str, str], kept: bool
) -> None:
    since = store.mark()
    await store.purge(**told)
    assert await store.keep(key_of(), entry_of(tags=("plans",)), b"", since) is kept
    assert await store.keep(key_of(), entry_of(tags=("plans",)), b"", store.mark())


async def test_when_the_ring_has_gone_round_nothing_from_before_is_kept(clock: Clock) -> None:
    with contextlib.closing(Notices(4, alone=True)) as notices:
        store = MemoryStore(1 << 20, OBJECT, clock, notices)
        behind = MemoryStore(1 << 20, OBJECT, clock, notices)
        since = store.mark()
        assert await behind.keep(key_of(), entry_of(), b"", since)
        for number in range(4):
            await store.drop(key_of(f"/other/{number}"))
        assert not await store.keep(key_of(), entry_of(), b"", since)
        assert not await behind.find(key_of())


@pytest.mark.parametrize("pattern", ["/" + "a" * LONGEST, ""])
async def test_what_can_not_be_told_to_others_is_not_purged(store: MemoryStore, pattern: str) -> None:
    with pytest.raises(TooLong, match=str(LONGEST)):
        await store.purge(path=pattern)


async def test_an_object_larger_than_the_whole_store_is_not_kept(clock: Clock, notices: Notices) -> None:
    store = MemoryStore(1000, 1 << 20, clock, notices)
    assert not await store.keep(key_of(), entry_of(), b"", store.mark())
    assert store.weight == 0


@pytest.mark.parametrize("by_other", [False, True])
@pytest.mark.parametrize("by", [{"path": "/old/*"}, {"tag": "old"}], ids=str)
async def test_a_purge_of_many_lets_others_have_their_turn_and_gives_nothing_of_it(
    by: dict[str, str], by_other: bool, clock: Clock, notices: Notices
) -> None:
    store, other = (MemoryStore(64 << 20, OBJECT, clock, notices) for _ in range(2))

    async def keep(key: Key, tag: str) -> Entry:
        entry = entry_of(f"{key.path} {tag}", body=b"x", tags=(tag,))
        assert await store.keep(key, entry, b"x", store.mark())
        return entry

    old = [key_of(f"/old/{number}") for number in range(4 * LOOKS)]
    entries = [await keep(key, "old") for key in old]
    stays = await keep(key_of("/new"), "new")
    await (other if by_other else store).purge(**by)
    assert await store.find(key_of("/new")) == [stays]
    assert len(store) > 3 * LOOKS
    # The last, which the sweep has still to come to: gone at once, and what comes anew stays.
    assert not await store.find(old[-1])
    assert await store.body(old[-2], entries[-2]) is None
    await store.renew(old[-2], entries[-2], entries[-2])
    await store.keep_coded(old[-2], entries[-2], "br", b"y")
    assert not await store.find(old[-2])
    anew = [await keep(key, "old") for key in (old[-1], old[-3])]
    turns = 0
    while (left := len(store)) > 3:
        await asyncio.sleep(0)
        turns += 1
        assert left - len(store) <= LOOKS and turns < 20
    assert turns >= 3
    assert [await store.find(key) for key in (old[-1], old[-3])] == [[entry] for entry in anew]
    assert await store.find(key_of("/new")) == [stays]


async def test_purges_that_come_during_one_have_their_turn(clock: Clock, notices: Notices) -> None:
    store = MemoryStore(64 << 20, OBJECT, clock, notices)
    keys = [key_of(f"/{number}") for number in range(3 * LOOKS)]
    for number, key in enumerate(keys):
        assert await store.keep(key, entry_of(f"{number}", tags=(f"t{number % 3}",)), b"", store.mark())
    await store.purge(tag="t0")
    await store.purge(tag="t1")
    await store.drop(keys[2])
    assert [bool(await store.find(key)) for key in (keys[2], *keys[-3:])] == [False, False, False, True]
    turns = 0
    while len(store) > LOOKS - 1:
        await asyncio.sleep(0)
        turns += 1
        assert turns < 20
    assert [bool(await store.find(key)) for key in keys] == [
        number % 3 == 2 and number != 2 for number in range(len(keys))
    ]
