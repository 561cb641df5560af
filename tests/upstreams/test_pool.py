"""The pool of one destination, with connections that only remember what was done to them."""

from __future__ import annotations

import asyncio

import pytest

from aiogateway.errors import Problem
from tests.upstreams.standing import Bench, Waited, settle


async def test_a_connection_that_was_given_back_is_taken_again() -> None:
    bench = Bench()
    first = await bench.pool.acquire(Waited())
    assert (first.reused, bench.pool.in_use, bench.pool.idle) == (False, 1, 0)
    bench.pool.release(first)
    assert (bench.pool.in_use, bench.pool.idle) == (0, 1)
    assert bench.pool.take() is first
    assert (first.reused, bench.pool.in_use) == (True, 1)
    bench.pool.discard(first)
    assert (bench.made.open(), bench.pool.in_use, bench.pool.idle) == ([], 0, 0)


async def test_taking_without_a_wait_needs_an_idle_connection_and_a_place() -> None:
    bench = Bench(max_connections=1)
    assert bench.pool.take() is None
    first = await bench.pool.acquire(Waited())
    assert bench.pool.take() is None
    waiter = asyncio.ensure_future(bench.pool.acquire(Waited()))
    await settle()
    bench.pool.release(first)
    assert bench.pool.take() is None, "the place is promised to who waited"
    assert await waiter is first


async def test_the_connection_used_last_is_taken_first() -> None:
    bench = Bench()
    three = [await bench.pool.acquire(Waited()) for _ in range(3)]
    for connection in three:
        bench.pool.release(connection)
    assert [bench.pool.take() for _ in range(3)] == three[::-1]


async def test_no_more_are_open_than_there_are_places_and_waiters_are_served_in_order() -> None:
    bench = Bench(max_connections=2)
    held = [await bench.pool.acquire(Waited()) for _ in range(2)]
    waiters = [asyncio.ensure_future(bench.pool.acquire(Waited())) for _ in range(3)]
    await settle()
    assert (bench.pool.pending, bench.pool.in_use, len(bench.made.all)) == (3, 2, 2)
    bench.pool.release(held[0])
    await settle()
    assert [waiter.done() for waiter in waiters] == [True, False, False]
    bench.pool.discard(held[1])
    await settle()
    assert [waiter.done() for waiter in waiters] == [True, True, False]
    assert waiters[0].result() is held[0]
    assert len(bench.made.open()) == 2
    bench.pool.release(waiters[1].result())
    assert await waiters[2] is waiters[1].result()


async def test_who_waits_too_long_is_told_so_and_leaves_the_queue() -> None:
    bench = Bench(max_connections=1, acquire_timeout=5)
    held = await bench.pool.acquire(Waited())
    waiter = asyncio.ensure_future(bench.pool.acquire(Waited()))
    await settle()
    bench.pass_time(4.9)
    await settle()
    assert not waiter.done()
    bench.pass_time(0.2)
    with pytest.raises(Problem, match="came free in time") as caught:
        await waiter
    assert caught.value.code == "upstream_pool_exhausted"
    assert (bench.pool.pending, len(bench.deadlines)) == (0, 0)
    bench.pool.release(held)
    assert bench.pool.in_use == 0


async def test_a_place_that_comes_free_in_the_moment_a_wait_is_over_goes_to_the_next() -> None:
    bench = Bench(max_connections=1, acquire_timeout=5)
    held = await bench.pool.acquire(Waited())
    late = asyncio.ensure_future(bench.pool.acquire(Waited()))
    await settle()
    bench.clock.advance(3)
    behind = asyncio.ensure_future(bench.pool.acquire(Waited()))
    await settle()
    bench.pass_time(2.1)
    bench.pool.release(held)
    with pytest.raises(Problem, match="came free in time"):
        await late
    assert await behind is held


async def test_who_comes_when_too_many_wait_is_told_so_at_once() -> None:
    bench = Bench(max_connections=1, max_pending=1)
    held = await bench.pool.acquire(Waited())
    waiter = asyncio.ensure_future(bench.pool.acquire(Waited()))
    await settle()
    with pytest.raises(Problem, match="too many") as caught:
        await bench.pool.acquire(Waited())
    assert caught.value.code == "upstream_pool_exhausted"
    bench.pool.release(held)
    assert await waiter is held


@pytest.mark.parametrize("moment", ["waiting", "promised", "connecting", "expired"])
async def test_a_cancelled_taker_leaves_nothing_behind(moment: str) -> None:
    bench = Bench(max_connections=1)
    held = await bench.pool.acquire(Waited())
    bench.made.hold = True
    cancelled, behind = (asyncio.ensure_future(bench.pool.acquire(Waited(), fresh=True)) for _ in range(2))
    await settle()
    if moment in ("promised", "connecting"):
        bench.pool.discard(held)
    if moment == "connecting":
        await settle()
    if moment == "expired":
        bench.pass_time(6)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    if moment == "expired":
        with pytest.raises(Problem):
            await behind
        bench.pool.discard(held)
        assert bench.pool.in_use == 0
        return
    if moment == "waiting":
        bench.pool.discard(held)
    await settle()
    bench.made.finish(0)
    bench.pool.discard(await behind)
    assert (bench.pool.in_use, bench.pool.pending, bench.made.open()) == (0, 0, [])


async def test_a_failed_connect_gives_its_place_to_the_next() -> None:
    bench = Bench(max_connections=1)
    bench.made.hold = True
    first, second = (asyncio.ensure_future(bench.pool.acquire(Waited())) for _ in range(2))
    await settle()
    bench.made.finish(0, Problem("upstream_unreachable"))
    with pytest.raises(Problem, match="upstream_unreachable"):
        await first
    await settle()
    bench.made.finish(0)
    assert await second in bench.made.open()
    assert bench.pool.in_use == 1


async def test_a_fresh_connection_takes_the_place_of_an_idle_one() -> None:
    bench = Bench(max_connections=2)
    old, newer = [await bench.pool.acquire(Waited()) for _ in range(2)]
    bench.pool.release(old)
    bench.pool.release(newer)
    fresh = await bench.pool.acquire(Waited(), fresh=True)
    assert fresh not in (old, newer) and not fresh.reused
    assert bench.made.open() == [newer, fresh]


async def test_a_stream_leaves_the_count_of_requests_for_its_own() -> None:
    bench = Bench(max_connections=1, max_streams=1)
    stream = await bench.pool.acquire(Waited())
    bench.pool.establish(stream)
    assert (bench.pool.in_use, bench.pool.streams) == (0, 1)
    second = await bench.pool.acquire(Waited())
    with pytest.raises(Problem, match="open streams"):
        bench.pool.establish(second)
    assert (bench.pool.in_use, bench.pool.streams) == (1, 1), "its place is kept"
    bench.pool.end_stream(stream)
    assert (bench.pool.streams, bench.made.open()) == (0, [second])


async def test_once_closed_nothing_is_kept() -> None:
    bench = Bench()
    idle, used = [await bench.pool.acquire(Waited()) for _ in range(2)]
    bench.pool.release(idle)
    bench.pool.close()
    assert bench.made.open() == [used]
    bench.pool.release(used)
    assert (bench.made.open(), bench.pool.idle) == ([], 0)
