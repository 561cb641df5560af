"""The connections to one destination of one upstream, in one worker.

Owns who may use a connection, who waits for one, and which idle ones are kept. aiohttp's connector below makes
connections (DNS, happy eyeballs, TLS) and has no limit; its own idle list is left empty, because it knows neither a
most-idle count nor an age, and reuses the coldest connection first. Every decision is made synchronously; only
waiting for a place and connecting await.

A place is held from `acquire` to `release`, `discard` or `establish`. Open connections are never more than places
plus established streams: a new one is made only when none is idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol

from aiogateway.deadlines import Deadlines
from aiogateway.errors import Problem
from aiogateway.metrics import Count
from aiogateway.settings import PoolSettings
from aiogateway.upstreams.connection import UpstreamConnection

# Seconds that connections over the most idle ones are kept nevertheless.
SURPLUS: Final = 0.2


class Waits(Protocol):
    """Seconds that a request waited for a place, and for a connection to be made."""

    pool: float
    connect: float


Connect = Callable[[], Awaitable[UpstreamConnection]]


class Pool:
    """The places, waiters and idle connections of one destination.

    :param name: the upstream's name, for messages.
    :param limits: the settings of this upstream's pools.
    :param connect: makes a new connection; raises `Problem`.
    :param deadlines: the worker's deadlines, whose clock is the pool's too.
    :param overflows: counts requests refused because too many waited.
    :ivar limits: may be replaced while the pool is at work; `resized` is to be called then.
    :ivar gone: addresses that the destination's name doesn't lead to any more: no connection to one is used again.
    """

    def __init__(
        self, name: str, limits: PoolSettings, connect: Connect, deadlines: Deadlines, overflows: Count
    ) -> None:
        self.name = name
        self.limits = limits
        self.in_use = 0
        self.streams = 0
        self.gone: frozenset[str] = frozenset()
        self._overflows = overflows
        self._connect = connect
        self._deadlines = deadlines
        self._clock = deadlines.clock
        self._idle: list[UpstreamConnection] = []
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def busy(self) -> bool:
        """Whether any connection is in use, or waited for."""
        return bool(self.in_use or self.streams or self._waiting)

    @property
    def pending(self) -> int:
        return len(self._waiting)

    def take(self) -> UpstreamConnection | None:
        """An idle connection, when a place is free and one is there: what most requests find, without a wait."""
        if self.in_use >= self.limits.max_connections or self._waiting or not self._idle:
            return None
        if (connection := self._take_idle()) is not None:
            self.in_use += 1
        return connection

    async def acquire(self, waits: Waits, *, fresh: bool = False) -> UpstreamConnection:
        """A connection to speak over, idle or new.

        :param waits: is told how long that took.
        :param fresh: only a new one will do: an idle one has just proved stale.
        :raises Problem: `upstream_pool_exhausted`, or what connecting raised.
        """
        if self.in_use < self.limits.max_connections and not self._waiting:
            self.in_use += 1
        else:
            since = time.monotonic()
            try:
                await self._wait_for_place()
            finally:
                waits.pool += time.monotonic() - since
        try:
            if fresh and self._idle:
                self._idle.pop(0).close()
            connection = None if fresh else self._take_idle()
            if connection is None:
                since = time.monotonic()
                try:
                    connection = await self._connect()
                finally:
                    waits.connect += time.monotonic() - since
        except BaseException:
            self._leave_place()
            raise
        return connection

    def release(self, connection: UpstreamConnection) -> None:
        """Give a connection back whose exchange is complete; it is kept when it may be used again."""
        now, limits = self._clock(), self.limits
        if (
            not self._closed
            and connection.is_reusable()
            and now - connection.born < limits.max_age
            and not (self.gone and connection.address in self.gone)
            and (limits.max_keepalive > 0 or self._waiting)
        ):
            connection.idle_since = now
            self._idle.append(connection)
        else:
            connection.close()
        if self._waiting:
            self._leave_place()
        else:
            self.in_use -= 1

    def discard(self, connection: UpstreamConnection) -> None:
        """Close a connection whose exchange is not complete, and give its place back."""
        connection.close()
        self._leave_place()

    def establish(self, connection: UpstreamConnection) -> None:
        """An event stream or socket is up: it leaves the requests' count for the streams' own.

        :raises Problem: `upstream_pool_exhausted`: there are as many streams as there may be. The place is kept.
        """
        if self.streams >= self.limits.max_streams:
            raise Problem("upstream_pool_exhausted", f"the {self.name} service has as many open streams as it may")
        self.streams += 1
        self._leave_place()

    def end_stream(self, connection: UpstreamConnection) -> None:
        """An established stream is over."""
        connection.close()
        self.streams -= 1

    def sweep(self) -> None:
        """Close idle connections that are past their time, that the upstream closed, or that are too many.

        Surplus ones are given `SURPLUS` seconds first: under load a hundred exchanges may end in one turn of the
        loop, and as many begin in the next.
        """
        now, limits = self._clock(), self.limits
        fit: list[UpstreamConnection] = []
        for connection in self._idle:
            if self._is_fit(connection, now):
                fit.append(connection)
            else:
                connection.close()
        surplus = max(0, len(fit) - limits.max_keepalive)
        self._idle = []
        for place, connection in enumerate(fit):  # the one used longest ago comes first
            if place < surplus and now - connection.idle_since >= SURPLUS:
                connection.close()
            else:
                self._idle.append(connection)

    def resized(self) -> None:
        """There may be more places now: hand them to those who wait."""
        while self._waiting and self.in_use < self.limits.max_connections:
            self.in_use += 1
            self._leave_place()

    def close(self) -> None:
        """Close idle connections; those in use close when they are given back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _take_idle(self) -> UpstreamConnection | None:
        """The idle connection used last: it is the likeliest to be open still, and lets the others grow old."""
        now = self._clock()
        while self._idle:
            connection = self._idle.pop()
            if self._is_fit(connection, now):
                connection.reused = True
                return connection
            connection.close()
        return None

    def _is_fit(self, connection: UpstreamConnection, now: float) -> bool:
        limits = self.limits
        return (
            connection.is_open()
            and now - connection.idle_since < limits.keepalive_timeout
            and now - connection.born < limits.max_age
            and not (self.gone and connection.address in self.gone)
        )

    async def _wait_for_place(self) -> None:
        if len(self._waiting) >= self.limits.max_pending:
            self._overflows.events += 1
            raise Problem("upstream_pool_exhausted", f"too many requests wait for the {self.name} service")
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        deadline = self._deadlines.after(self.limits.acquire_timeout, partial(self._expire, place))
        self._waiting.append(place)
        try:
            await place
        except BaseException:
            if place.done() and not place.cancelled() and place.exception() is None:
                # The place was handed over in the moment its taker was cancelled.
                self._leave_place()
            else:
                with contextlib.suppress(ValueError):  # `_leave_place` may have passed over it already
                    self._waiting.remove(place)
            raise
        finally:
            deadline.cancel()

    def _expire(self, place: asyncio.Future[None]) -> None:
        if not place.done():
            place.set_exception(
                Problem("upstream_pool_exhausted", f"no connection to the {self.name} service came free in time")
            )

    def _leave_place(self) -> None:
        """Hand the place to whoever waits longest, or give it up."""
        while self._waiting and self.in_use <= self.limits.max_connections:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.in_use -= 1
