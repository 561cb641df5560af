"""Which idle connections a pool keeps, and for how long."""

from __future__ import annotations

import asyncio

import pytest

from aiogateway.upstreams.pool import SURPLUS
from tests.upstreams.standing import Bench, Waited, settle


@pytest.mark.parametrize("fate", ["closed", "idle", "old"])
@pytest.mark.parametrize("look", ["take", "acquire", "sweep"])
async def test_an_idle_connection_past_its_time_is_closed_wherever_it_is_met(fate: str, look: str) -> None:
    bench = Bench(keepalive_timeout=4 if fate == "idle" else 1000, max_age=300)
    connection = await bench.pool.acquire(Waited())
    bench.clock.advance(299)
    bench.pool.release(connection)
    assert bench.pool.idle == 1
    bench.clock.advance({"closed": 0.0, "idle": 4.0, "old": 1.0}[fate])
    if fate == "closed":
        bench.made.all[0].alive = False
    match look:
        case "take":
            assert bench.pool.take() is None
        case "acquire":
            assert await bench.pool.acquire(Waited()) is not connection
        case _:
            bench.pool.sweep()
    assert connection not in bench.made.open() and bench.pool.idle == 0


async def test_a_connection_that_is_too_old_or_unfit_is_not_kept() -> None:
    bench = Bench(max_age=300)
    old, unfit = [await bench.pool.acquire(Waited()) for _ in range(2)]
    bench.made.all[1].alive = False
    bench.pool.release(unfit)
    bench.clock.advance(300)
    bench.pool.release(old)
    assert (bench.made.open(), bench.pool.idle, bench.pool.in_use) == ([], 0, 0)


async def test_surplus_connections_are_closed_soon_and_the_coldest_go_first() -> None:
    bench = Bench(max_connections=10, max_keepalive=3)
    ten = [await bench.pool.acquire(Waited()) for _ in range(10)]
    for connection in ten:
        bench.pool.release(connection)
    bench.pool.sweep()
    assert bench.pool.idle == 10, "a hundred exchanges may end in one turn of the loop, and as many begin in the next"
    bench.clock.advance(SURPLUS)
    bench.pool.sweep()
    assert bench.made.open() == ten[-3:]


async def test_an_unfit_connection_doesn_t_cost_a_fit_one_its_place() -> None:
    bench = Bench(max_connections=4, max_keepalive=2)
    four = [await bench.pool.acquire(Waited()) for _ in range(4)]
    for connection in four:
        bench.pool.release(connection)
    for made in bench.made.all[2:]:
        made.alive = False
    bench.clock.advance(SURPLUS)
    bench.pool.sweep()
    assert bench.made.open() == four[:2], "two may be kept, and two are fit"


async def test_without_keepalive_a_connection_is_kept_only_for_who_waits() -> None:
    bench = Bench(max_connections=1, max_keepalive=0)
    first = await bench.pool.acquire(Waited())
    waiter = asyncio.ensure_future(bench.pool.acquire(Waited()))
    await settle()
    bench.pool.release(first)
    assert await waiter is first
    bench.pool.release(first)
    assert (bench.pool.idle, bench.made.open()) == (0, [])
