"""Connections without a network: they stand, and remember whether they were closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict

from aiogateway.deadlines import Deadlines
from aiogateway.metrics import Count
from aiogateway.settings import PoolSettings
from aiogateway.upstreams.connection import UpstreamConnection
from aiogateway.upstreams.pool import Pool
from tests.clock import Clock

DEFAULTS = PoolSettings(
    max_connections=100,
    max_streams=1000,
    max_keepalive=20,
    keepalive_timeout=4.0,
    max_age=300.0,
    connect_timeout=5.0,
    acquire_timeout=5.0,
    max_pending=1000,
)


def limits(**settings: float) -> PoolSettings:
    """The contract's limits, some of them changed."""
    return PoolSettings(**{**asdict(DEFAULTS), **settings})


class Standing(UpstreamConnection):
    """What a pool sees of a connection, and nothing behind it.

    :ivar alive: whether it may be used again.
    """

    __slots__ = ("alive", "closed")

    ADDRESS = "10.0.0.1"

    def __init__(self, now: float) -> None:
        self.address = self.ADDRESS
        self.born = now
        self.idle_since = now
        self.reused = False
        self.alive = True
        self.closed = False

    def is_reusable(self) -> bool:
        return self.is_open()

    def is_open(self) -> bool:
        return self.alive and not self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


class Connections:
    """Makes connections, and knows them all.

    :ivar hold: whether a connect waits until `finish` says how it ends.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.all: list[Standing] = []
        self.hold = False
        self.connecting: list[asyncio.Future[None]] = []
        self._clock = clock

    async def connect(self) -> UpstreamConnection:
        if self.hold:
            going: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.connecting.append(going)
            try:
                await going
            finally:
                self.connecting.remove(going)
        self.all.append(Standing(self._clock()))
        return self.all[-1]

    def finish(self, number: int, exc: Exception | None = None) -> None:
        """End one of the connects that are under way, well or with `exc`."""
        going = self.connecting[number]
        if going.done():
            return
        if exc is None:
            going.set_result(None)
        else:
            going.set_exception(exc)

    def open(self) -> list[Standing]:
        """What was not closed, in the order it was made."""
        return [connection for connection in self.all if not connection.closed]


class Waited:
    """What a request waited."""

    def __init__(self) -> None:
        self.pool = 0.0
        self.connect = 0.0


class Bench:
    """A pool, its clock and the connections it made."""

    def __init__(self, **settings: float) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.made = Connections(self.clock)
        self.overflows = Count()
        self.pool = Pool("b", limits(**settings), self.made.connect, self.deadlines, self.overflows)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.deadlines.sweep()


async def settle() -> None:
    """Let whoever was woken run as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)
