"""Names whose addresses change, and probes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from aiogateway.upstreams.watch import GIVE_UP, Addresses, is_name, resolve
from tests.clock import Clock
from tests.upstreams.standing import Bench, Standing, Waited

KEEP = 300.0


@pytest.mark.parametrize(
    ("host", "name"), [("crawling", True), ("a.b.c", True), ("localhost", True), ("127.0.0.1", False), ("::1", False)]
)
def test_an_address_never_leads_elsewhere(host: str, name: bool) -> None:
    assert is_name(host) is name


async def test_a_name_has_addresses_and_an_unknown_one_none() -> None:
    assert "127.0.0.1" in await resolve("localhost", 80) | await resolve("127.0.0.1", 80)
    with pytest.raises(OSError, match="not known"):
        await resolve("no-such-host.invalid", 80)


def test_an_address_that_is_missing_for_a_while_is_gone() -> None:
    clock = Clock()
    addresses = Addresses(clock)
    assert addresses.update({"10.0.0.1", "10.0.0.2"}, KEEP) == set()
    clock.advance(GIVE_UP / 2)
    assert addresses.update({"10.0.0.2"}, KEEP) == set(), "some names give a part of their addresses each time"
    clock.advance(GIVE_UP / 2)
    assert addresses.update({"10.0.0.2"}, KEEP) == {"10.0.0.1"}
    assert addresses.update({"10.0.0.1"}, KEEP) == set(), "it came back"


def test_names_that_give_a_part_of_their_addresses_each_time_lose_none() -> None:
    clock = Clock()
    addresses = Addresses(clock)
    for number in range(100):
        assert addresses.update({f"10.0.0.{number % 2}"}, KEEP) == set()
        clock.advance(5.0)


def test_what_is_gone_for_longer_than_a_connection_lives_is_forgotten() -> None:
    clock = Clock()
    addresses = Addresses(clock)
    for number in range(1000):
        gone = addresses.update({f"10.0.{number // 250}.{number % 250}"}, KEEP)
        clock.advance(5.0)
        assert len(gone) <= (KEEP + GIVE_UP) / 5


async def test_a_connection_to_an_address_that_is_gone_is_not_used_again() -> None:
    bench = Bench()
    pool = bench.pool
    idle, busy = [await pool.acquire(Waited()) for _ in range(2)]
    pool.release(idle)
    pool.gone = frozenset({Standing.ADDRESS})
    assert pool.take() is None
    pool.release(busy)
    assert not bench.made.open()
    pool.gone = frozenset({"10.9.9.9"})
    pool.release(await pool.acquire(Waited()))
    assert pool.take() is not None


async def test_more_places_wake_who_waits_and_fewer_interrupt_nobody() -> None:
    bench = Bench(max_connections=1)
    pool = bench.pool
    held = await pool.acquire(Waited())
    waiting = [asyncio.create_task(pool.acquire(Waited())) for _ in range(3)]
    await asyncio.sleep(0)
    pool.limits = replace(pool.limits, max_connections=3)
    pool.resized()
    more = [await waiting[number] for number in range(2)]
    assert pool.in_use == 3 and not waiting[2].done()
    pool.limits = replace(pool.limits, max_connections=1)
    pool.resized()
    pool.release(more[0])
    pool.release(more[1])
    await asyncio.sleep(0)
    assert pool.in_use == 1 and not waiting[2].done()
    pool.release(held)
    await waiting[2]
    assert pool.in_use == 1
