"""The pool of one destination, with connections that only remember what was done to them."""

from __future__ import annotations

import asyncio

import pytest

from aiogateway.deadlines import Deadlines
from aiogateway.errors import Problem
from aiogateway.upstreams.pool import SURPLUS, Pool
from tests.clock import Clock
from tests.upstreams.standing import Connections, limits


class Bench:
    """A pool, its clock and the connections it made."""

    def __init__(self, **settings: float) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.made = Connections(self.clock)
        self.pool = Pool("b", limits(**settings), self.made.connect, self.deadlines)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.deadlines.sweep()


async def settle() -> None:
    """Let whoever was woken run as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_connection_that_was_given_back_is_taken_again() -> None:
    bench = Bench()
    first = await bench.pool.acquire()
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
    first = await bench.pool.acquire()
    assert bench.pool.take() is None
    waiter = asyncio.ensure_future(bench.pool.acquire())
    await settle()
    bench.pool.release(first)
    assert bench.pool.take() is None, "the place is promised to who waited"
    assert await waiter is first


async def test_the_connection_used_last_is_taken_first() -> None:
    bench = Bench()
    three = [await bench.pool.acquire() for _ in range(3)]
    for connection in three:
        bench.pool.release(connection)
    assert [bench.pool.take() for _ in range(3)] == three[::-1]


async def test_no_more_are_open_than_there_are_places_and_waiters_are_served_in_order() -> None:
    bench = Bench(max_connections=2)
    held = [await bench.pool.acquire() for _ in range(2)]
    waiters = [asyncio.ensure_future(bench.pool.acquire()) for _ in range(3)]
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
    held = await bench.pool.acquire()
    waiter = asyncio.ensure_future(bench.pool.acquire())
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
    held = await bench.pool.acquire()
    late = asyncio.ensure_future(bench.pool.acquire())
    await settle()
    bench.clock.advance(3)
    behind = asyncio.ensure_future(bench.pool.acquire())
    await settle()
    bench.pass_time(2.1)
    bench.pool.release(held)
    with pytest.raises(Problem, match="came free in time"):
        await late
    assert await behind is held


async def test_who_comes_when_too_many_wait_is_told_so_at_once() -> None:
    bench = Bench(max_connections=1, max_pending=1)
    held = await bench.pool.acquire()
    waiter = asyncio.ensure_future(bench.pool.acquire())
    await settle()
    with pytest.raises(Problem, match="too many") as caught:
        await bench.pool.acquire()
    assert caught.value.code == "upstream_pool_exhausted"
    bench.pool.release(held)
    assert await waiter is held


@pytest.mark.parametrize("moment", ["waiting", "promised", "connecting", "expired"])
async def test_a_cancelled_taker_leaves_nothing_behind(moment: str) -> None:
    bench = Bench(max_connections=1)
    held = await bench.pool.acquire()
    bench.made.hold = True
    cancelled, behind = (asyncio.ensure_future(bench.pool.acquire(fresh=True)) for _ in range(2))
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
    first, second = (asyncio.ensure_future(bench.pool.acquire()) for _ in range(2))
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
    old, newer = [await bench.pool.acquire() for _ in range(2)]
    bench.pool.release(old)
    bench.pool.release(newer)
    fresh = await bench.pool.acquire(fresh=True)
    assert fresh not in (old, newer) and not fresh.reused
    assert bench.made.open() == [newer, fresh]


@pytest.mark.parametrize("fate", ["closed", "idle", "old"])
@pytest.mark.parametrize("look", ["take", "acquire", "sweep"])
async def test_an_idle_connection_past_its_time_is_closed_wherever_it_is_met(fate: str, look: str) -> None:
    bench = Bench(keepalive_timeout=4 if fate == "idle" else 1000, max_age=300)
    connection = await bench.pool.acquire()
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
            assert await bench.pool.acquire() is not connection
        case _:
            bench.pool.sweep()
    assert connection not in bench.made.open() and bench.pool.idle == 0


async def test_a_connection_that_is_too_old_or_unfit_is_not_kept() -> None:
    bench = Bench(max_age=300)
    old, unfit = [await bench.pool.acquire() for _ in range(2)]
    bench.made.all[1].alive = False
    bench.pool.release(unfit)
    bench.clock.advance(300)
    bench.pool.release(old)
    assert (bench.made.open(), bench.pool.idle, bench.pool.in_use) == ([], 0, 0)


async def test_surplus_connections_are_closed_soon_and_the_coldest_go_first() -> None:
    bench = Bench(max_connections=10, max_keepalive=3)
    ten = [await bench.pool.acquire() for _ in range(10)]
    for connection in ten:
        bench.pool.release(connection)
    bench.pool.sweep()
    assert bench.pool.idle == 10, "a hundred exchanges may end in one turn of the loop, and as many begin in the next"
    bench.clock.advance(SURPLUS)
    bench.pool.sweep()
    assert bench.made.open() == ten[-3:]


async def test_an_unfit_connection_doesn_t_cost_a_fit_one_its_place() -> None:
    bench = Bench(max_connections=4, max_keepalive=2)
    four = [await bench.pool.acquire() for _ in range(4)]
    for connection in four:
        bench.pool.release(connection)
    for made in bench.made.all[2:]:
        made.alive = False
    bench.clock.advance(SURPLUS)
    bench.pool.sweep()
    assert bench.made.open() == four[:2], "two may be kept, and two are fit"


async def test_without_keepalive_a_connection_is_kept_only_for_who_waits() -> None:
    bench = Bench(max_connections=1, max_keepalive=0)
    first = await bench.pool.acquire()
    waiter = asyncio.ensure_future(bench.pool.acquire())
    await settle()
    bench.pool.release(first)
    assert await waiter is first
    bench.pool.release(first)
    assert (bench.pool.idle, bench.made.open()) == (0, [])


async def test_a_stream_leaves_the_count_of_requests_for_its_own() -> None:
    bench = Bench(max_connections=1, max_streams=1)
    stream = await bench.pool.acquire()
    bench.pool.establish(stream)
    assert (bench.pool.in_use, bench.pool.streams) == (0, 1)
    second = await bench.pool.acquire()
    with pytest.raises(Problem, match="open streams"):
        bench.pool.establish(second)
    assert (bench.pool.in_use, bench.pool.streams) == (1, 1), "its place is kept"
    bench.pool.end_stream(stream)
    assert (bench.pool.streams, bench.made.open()) == (0, [second])


async def test_once_closed_nothing_is_kept() -> None:
    bench = Bench()
    idle, used = [await bench.pool.acquire() for _ in range(2)]
    bench.pool.release(idle)
    bench.pool.close()
    assert bench.made.open() == [used]
    bench.pool.release(used)
    assert (bench.made.open(), bench.pool.idle) == ([], 0)
