"""Exchanges over real connections, with time in the test's hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from aiogateway.deadlines import Deadlines
from aiogateway.metrics import Count
from aiogateway.proxy.body import RequestBody
from aiogateway.proxy.exchange import Exchange
from aiogateway.proxy.headers import RawFields
from aiogateway.upstreams.pool import Pool
from tests.clock import Clock
from tests.upstreams.scripted import Peer, Script, connecting
from tests.upstreams.standing import Waited, limits

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EMPTY = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
TIMEOUT, IDLE = 60.0, 30.0


class Upload(RequestBody):
    """A body whose pieces the test gives, one by one; an exception is raised where it stands."""

    __slots__ = ("pieces",)

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.length = None
        self.pieces: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        for piece in pieces:
            self.pieces.put_nowait(piece)

    async def read(self) -> bytes:
        piece = await self.pieces.get()
        if isinstance(piece, Exception):
            raise piece
        return piece


class Bench:
    """A pool over a real upstream, and exchanges with it."""

    def __init__(self, pool: Pool, deadlines: Deadlines, clock: Clock) -> None:
        self.pool = pool
        self.deadlines = deadlines
        self.clock = clock
        self.interim: list[tuple[RawFields, Sequence[str]]] = []
        self.breaks = 0
        self._begun: list[Exchange] = []

    def _note_break(self) -> None:
        self.breaks += 1

    async def exchange(self) -> Exchange:
        connection = self.pool.take() or await self.pool.acquire(Waited())
        exchange = Exchange(
            self.pool, connection, self.deadlines, timeout=TIMEOUT, idle=IDLE, broke_off=self._note_break
        )
        self._begun.append(exchange)
        return exchange

    async def send(self, exchange: Exchange, data: bytes = GET, rest: RequestBody | None = None) -> None:
        async with asyncio.timeout(30):
            await exchange.send(
                data, rest, chunked=True, bodiless=False, interim=lambda *told: self.interim.append(told)
            )

    async def get(self) -> tuple[Exchange, bytes]:
        """A whole exchange, but for its end, and the body."""
        exchange = await self.exchange()
        await self.send(exchange)
        return exchange, await everything(exchange)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.deadlines.sweep()

    def close(self) -> None:
        for exchange in self._begun:
            exchange.abort()
        self.pool.close()


async def everything(exchange: Exchange) -> bytes:
    parts: list[bytes] = []
    while chunk := await exchange.read():
        parts.append(chunk)
    return b"".join(parts)


@contextlib.asynccontextmanager
async def bench_for(script: Script) -> AsyncIterator[Bench]:
    clock = Clock(asyncio.get_running_loop().time())
    deadlines = Deadlines(clock)
    async with connecting(script) as connect:
        bench = Bench(
            Pool("b", limits(keepalive_timeout=1e6, max_age=1e6), connect, deadlines, Count()), deadlines, clock
        )
        try:
            yield bench
        finally:
            bench.close()
            assert (bench.pool.in_use, bench.pool.streams, len(deadlines)) == (0, 0, 0), "something outlived its end"


async def closing(peer: Peer) -> None:
    """The end of a script: the upstream closes."""
    peer.close()
