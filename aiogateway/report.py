"""What a worker says of itself: to Prometheus as gauges, to the other workers and the admin listener as a report.

Rules: a report is plain data, as JSON has it; it holds no secret, since neither records nor pools do.
"""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any, Final

import aiohttp

from aiogateway import __version__
from aiogateway.board import Board
from aiogateway.metrics import Metrics, families
from aiogateway.telemetry import Telemetry
from aiogateway.upstreams.breaker import STATES
from aiogateway.upstreams.client import UpstreamClient

# Seconds over which the worst lag of the event loop is remembered.
LAG_WINDOW: Final = 10.0
# Seconds after which a worker that says nothing is not taken to be alive.
SILENT: Final = 5.0
# Faults of a configuration that the admin listener shows.
FAULTS_TOLD: Final = 20


class Lag:
    """How late the event loop was, at the worst of late."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def add(self, late: float, now: float) -> None:
        """:param late: seconds by which a periodic wake-up came late.
        :param now: seconds, monotonic.
        """
        while self._seen and (self._seen[-1][1] <= late or self._seen[0][0] < now - LAG_WINDOW):
            if self._seen[-1][1] <= late:
                self._seen.pop()
            else:
                self._seen.popleft()
        self._seen.append((now, late))

    def worst(self) -> float:
        return max((late for _, late in self._seen), default=0.0)


class Reporter:
    """:param clients: the upstreams at work, by name; may be filled later.
    :param unready: why the worker should get no new requests; may change.
    :param connections: how many clients are connected.
    :param overloaded: why new requests are refused, in one word; None when they aren't.
    :param lost: what counts lines and spans that were dropped, by the family that shows it.
    :ivar lag: of the event loop.
    :ivar last_reload: how reading the configuration again ended; None before the first time.
    """

    def __init__(
        self,
        board: Board,
        metrics: Metrics,
        telemetry: Telemetry,
        clients: Callable[[], Mapping[str, UpstreamClient]],
        unready: Set[str],
        connections: Callable[[], int],
        overloaded: Callable[[], str | None],
        lost: Mapping[str, Callable[[], int]],
    ) -> None:
        self.lag = Lag()
        self._board = board
        self._metrics = metrics
        self._telemetry = telemetry
        self._clients = clients
        self._unready = unready
        self._connections = connections
        self._overloaded = overloaded
        self._started_at = time.time()
        self._lost = {family: (metrics.count(family), read) for family, read in lost.items()}
        self._seen = dict.fromkeys(lost, 0)
        self.last_reload: dict[str, Any] | None = None
        self._describe()

    def reload_ended(self, at: float, faults: Sequence[str]) -> None:
        """The configuration was read again.

        :param at: when, as Unix time in seconds.
        :param faults: why it was not taken; none when it was.
        """
        self.last_reload = {"at": at, "ok": not faults, "faults": list(faults[:FAULTS_TOLD])}

    @property
    def refused(self) -> bool:
        """Whether what was read last is not taken."""
        return self.last_reload is not None and not self.last_reload["ok"]

    def _describe(self) -> None:
        gauge = self._metrics.gauge
        build = (__version__, platform.python_version(), aiohttp.__version__)
        gauge(families.BUILD, lambda: [(build, 1)])
        gauge(families.RELOAD, lambda: [((), float(not self.refused))])
        gauge(families.WORKERS, lambda: [((), 1)])
        gauge(families.SERVER_ACTIVE, lambda: [((), self._telemetry.active)])
        gauge(families.CLIENTS, lambda: [((), self._connections())])
        gauge(families.LAG, lambda: [((), self.lag.worst())])
        gauge(families.CONNECTIONS, self._open_connections)
        gauge(families.PENDING, lambda: self._pools("pending"))
        gauge(families.STREAMS, lambda: self._pools("streams"))
        gauge(families.POOL_LIMIT, self._pool_limits)
        gauge(families.UPSTREAM_UP, self._up)
        gauge(families.BREAKER, self._breakers)

    def _pools(self, figure: str) -> Iterator[tuple[tuple[str, ...], float]]:
        for name, client in self._clients().items():
            yield (name,), sum(getattr(destination.pool, figure) for destination in client.destinations)

    def _open_connections(self) -> Iterator[tuple[tuple[str, ...], float]]:
        for name, client in self._clients().items():
            pools = [destination.pool for destination in client.destinations]
            yield (name, "active"), sum(pool.in_use + pool.streams for pool in pools)
            yield (name, "idle"), sum(pool.idle for pool in pools)

    def _pool_limits(self) -> Iterator[tuple[tuple[str, ...], float]]:
        for name, client in self._clients().items():
            yield (name,), sum(destination.pool.limits.max_connections for destination in client.destinations)

    def _up(self) -> Iterator[tuple[tuple[str, ...], float]]:
        for name, client in self._clients().items():
            for destination in client.destinations:
                yield (name, destination.shown), float(destination.trouble is None)

    def _breakers(self) -> Iterator[tuple[tuple[str, ...], float]]:
        for name, client in self._clients().items():
            for destination in client.destinations:
                state = destination.health.breaker.now()
                yield (name, destination.shown), float(STATES.index(state))

    def report(self) -> dict[str, Any]:
        """How this worker is, now."""
        for family, (count, read) in self._lost.items():
            count.events += (now := read()) - self._seen[family]
            self._seen[family] = now
        return {
            "slot": self._board.slot,
            "pid": os.getpid(),
            "at": time.monotonic(),
            "started_at": self._started_at,
            "active": self._telemetry.active,
            "connections": self._connections(),
            "lag": self.lag.worst(),
            "lost_lines": self._lost[families.LINES_LOST][0].events,
            "unready": sorted(self._unready),
            "overloaded": self._overloaded(),
            "reload": self.last_reload,
            "upstreams": {name: self._upstream(name, client) for name, client in self._clients().items()},
            "failures": list(self._telemetry.failures),
            "metrics": self._metrics.snapshot(),
        }

    def _upstream(self, name: str, client: UpstreamClient) -> dict[str, Any]:
        return {
            "destinations": [
                {
                    "url": destination.shown,
                    "up": destination.trouble is None,
                    "reason": destination.trouble,
                    "connect_failure": destination.unreachable,
                    "breaker": destination.health.breaker.now(),
                    "active": destination.pool.in_use,
                    "idle": destination.pool.idle,
                    "pending": destination.pool.pending,
                    "streams": destination.pool.streams,
                }
                for destination in client.destinations
            ],
            "overflows": client.overflows.events,
            "history": self._telemetry.histories[name].rows(),
        }

    def publish(self) -> None:
        """Show the other workers how this one is."""
        if not self._board.alone:
            self._board.publish(self.report())

    async def all(self) -> list[dict[str, Any]]:
        """The reports of all workers, this one's first and fresh; those of many are read in a thread.

        It is shown to the others before anybody else sees it, and as they will see it: else who is asked next might
        know less, and a counter that goes back is a restart to Prometheus.
        """
        own = self.report()
        if self._board.alone:
            return [own]
        self._board.publish(own)
        last, others = await asyncio.to_thread(lambda: (self._board.last(), self._board.others()))
        return [last or own, *others]

    async def snapshots(self) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
        """The metrics of workers that run, and of all there were."""
        reports = await self.all()
        now = time.monotonic()
        live = [report["metrics"] for report in reports if now - report["at"] < SILENT]
        return live, [report["metrics"] for report in reports]
