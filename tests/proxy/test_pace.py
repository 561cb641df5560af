"""A client that keeps an answer waiting: how slowly it may read, and when it is cut off."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from aiogateway.deadlines import TICK, Deadlines
from aiogateway.proxy.pace import LOOK, Pace
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response
from tests.clock import Clock, eventually
from tests.proxy.served import serving

MUCH = 1 << 30
GRACE = 30.0
# An end comes with a look, and a look at most two ticks late.
LATE = LOOK + 2 * TICK


class Reader:
    """A client's connection with much to send; the test says what the client reads."""

    def __init__(self) -> None:
        self.left = MUCH
        self.was_reset = False
        self._drained: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def unsent(self) -> int:
        return self.left

    async def drained(self) -> None:
        await asyncio.shield(self._drained)

    def reset(self) -> None:
        self.was_reset = True
        if not self._drained.done():
            self._drained.set_exception(ConnectionResetError("cut off"))

    def read_all(self) -> None:
        self.left = 0
        self._drained.set_result(None)

    def write_again(self) -> None:
        """More was written than fits."""
        self.left = MUCH
        self._drained = asyncio.get_running_loop().create_future()


class Bench:
    """A wait for a client, and time."""

    def __init__(self, min_rate: int, idle: float | None) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.reader = Reader()
        self.pace = Pace(self.reader, self.deadlines, min_rate=min_rate, idle=idle)
        self.waiting: asyncio.Task[None] | None = None

    async def wait(self) -> None:
        self.waiting = asyncio.create_task(self.pace.drain())
        await eventually(lambda: len(self.deadlines) == 1, "it waits")

    def pass_time(self, seconds: float, rate: float = 0) -> float:
        """Let time pass in ticks while the client reads so many bytes a second; how long until it was cut off."""
        begun = self.clock.now
        while self.clock.now < begun + seconds and not self.reader.was_reset:
            self.clock.advance(TICK)
            self.reader.left -= round(rate * TICK)
            self.deadlines.sweep()
        return self.clock.now - begun

    async def ended(self) -> None:
        assert self.waiting is not None
        async with asyncio.timeout(30):
            await self.waiting


@contextlib.asynccontextmanager
async def waiting(min_rate: int = 0, idle: float | None = None) -> AsyncIterator[Bench]:
    bench = Bench(min_rate, idle)
    await bench.wait()
    yield bench
    with contextlib.suppress(ConnectionResetError):
        if bench.reader.was_reset:
            await bench.ended()
        else:
            bench.reader.read_all()
            await bench.ended()
    assert len(bench.deadlines) == 0, "a look outlives the wait"


@pytest.mark.parametrize("rate", [0, 100, 900])
async def test_a_client_below_the_least_rate_is_cut_off_once_the_grace_is_spent(rate: int) -> None:
    async with waiting(min_rate=1000) as bench:
        spent = GRACE / (1 - rate / 1000)
        taken = bench.pass_time(1000, rate)
        assert bench.reader.was_reset
        assert spent - LATE <= taken <= spent + LATE
        with pytest.raises(ConnectionResetError):
            await bench.ended()


async def test_a_client_that_keeps_the_least_rate_is_never_cut_off() -> None:
    async with waiting(min_rate=1000) as bench:
        bench.pass_time(900, rate=1001)
        assert not bench.reader.was_reset


async def test_without_a_least_rate_a_client_may_take_as_long_as_it_likes() -> None:
    async with waiting() as bench:
        bench.pass_time(3600)
        assert not bench.reader.was_reset


async def test_what_one_wait_spent_is_missing_in_the_next_of_the_same_answer() -> None:
    async with waiting(min_rate=1_000_000_000) as bench:
        bench.pass_time(20)
        bench.reader.read_all()
        await bench.ended()
        bench.reader.write_again()
        await bench.wait()
        assert bench.pass_time(100) <= GRACE - 20 + MUCH / 1_000_000_000 + LATE
        assert bench.reader.was_reset


@pytest.mark.parametrize("idle", [2.0, 5.0, 300.0])
async def test_an_event_stream_of_which_nothing_is_read_is_cut_off_after_the_idle_time(idle: float) -> None:
    async with waiting(idle=idle) as bench:
        taken = bench.pass_time(10 * idle)
        assert bench.reader.was_reset
        assert idle <= taken <= idle + LATE


async def test_an_event_stream_of_which_a_little_is_read_now_and_then_is_not_cut_off() -> None:
    async with waiting(idle=20.0) as bench:
        for _ in range(30):
            bench.pass_time(14)
            bench.reader.left -= 1
        assert not bench.reader.was_reset
        assert 20 - LATE <= bench.pass_time(100) <= 20 + LATE
        assert bench.reader.was_reset


@pytest.mark.parametrize("end", ["the client reads", "the handler is cancelled"])
async def test_no_look_outlives_its_wait(end: str) -> None:
    bench = Bench(1000, None)
    await bench.wait()
    assert bench.waiting is not None
    if end == "the client reads":
        bench.reader.read_all()
        await bench.ended()
    else:
        bench.waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await bench.ended()
    assert len(bench.deadlines) == 0
    bench.pass_time(100)
    assert not bench.reader.was_reset


async def test_a_client_that_asks_hundreds_of_times_and_reads_nothing_is_cut_off() -> None:
    """The gateway's own answers are waited with like an upstream's."""

    async def refused(request: Request) -> Response:
        return Response(404, [b"X: y"], bytes(1 << 16))

    async with serving(refused, download_min_rate=MUCH) as served:
        await served.client(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n" * 400)
        unsent: list[int] = []

        def stands_still() -> bool:
            """Whether the kernel takes no more for a client that reads nothing."""
            unsent.append(served.connection().unsent() if served.server.connections else 0)
            return unsent[-1] > 0 and len(unsent) >= 20 and len(set(unsent[-20:])) == 1

        await eventually(stands_still, "the client is waited for")
        for _ in range(5):
            served.pass_time(LOOK)
        assert served.connection().busy, "cut off before the grace was spent"
        for _ in range(3):
            served.pass_time(LOOK + TICK)
        await eventually(lambda: not served.server.connections, "the client is cut off")
