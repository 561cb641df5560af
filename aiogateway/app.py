"""The composition root: settings and table become a gateway. Read this first.

A `Gateway` is one worker's public side: the clients of all upstreams, the chain of middlewares around the proxy's
handler, and the server that aiohttp feeds. Whoever makes one starts and closes it, inside one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, cast

from aiogateway import __version__, linux, memory
from aiogateway.access_log import AccessLog
from aiogateway.apidocs import Docs, handlers
from aiogateway.board import Board
from aiogateway.caching import Cache
from aiogateway.caching.notices import Notices
from aiogateway.caching.stores import store_from
from aiogateway.compression import Compression
from aiogateway.deadlines import Deadlines
from aiogateway.errors import Problem
from aiogateway.garbage import Collector
from aiogateway.metrics import Metrics, exposition, families
from aiogateway.middlewares import Handler, Tools, compose
from aiogateway.middlewares.request_id import maker
from aiogateway.output import Output
from aiogateway.overload import CONNECTIONS, Overload, door_for
from aiogateway.proxy.body import Bodies
from aiogateway.proxy.handler import ProxyHandler
from aiogateway.proxy.listener import Server
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response, json_response, problem_response
from aiogateway.proxy.shelf import Shelf
from aiogateway.recaptcha import Recaptcha
from aiogateway.report import Reporter
from aiogateway.routes import OWN_PATHS, Table
from aiogateway.settings import Settings
from aiogateway.spans import spans_from
from aiogateway.stores import SharedCounters, limiter_from
from aiogateway.telemetry import Telemetry
from aiogateway.tokens import verifier_from
from aiogateway.upkeep import Job, Upkeep
from aiogateway.upstreams.client import UpstreamClient
from aiogateway.upstreams.clients import Clients
from aiogateway.websocket.closes import Sockets

# Levels at which requests are logged: a line about one is no more than information.
LOGGED = frozenset({"debug", "info"})
# Seconds between looks at idle connections.
POOL_SWEEP = 0.25
# Seconds after which other workers know what this one counted.
REPORT = 1.0


class Gateway:
    """One worker's gateway.

    :param counters: what limits count, one for all workers; whoever made them closes them.
    :param notices: of what workers are to forget of stored answers; whoever made them closes them.
    :param output: where log lines go; whoever made it starts and closes it.
    :param board: where workers tell each other about themselves.
    :ivar unready: why it should get no new requests, in words; empty when it should.
    """

    def __init__(
        self,
        settings: Settings,
        table: Table,
        counters: SharedCounters,
        notices: Notices,
        board: Board,
        output: Output,
    ) -> None:
        self.settings = settings
        self.table = table
        self.docs = Docs(table, settings, __version__)
        self.unready: set[str] = {"starting"}
        before = board.last()
        self.metrics = Metrics(None if before is None else before["metrics"])
        self._clients = Clients(self.metrics)
        self._board = board
        self._output = output
        self._spans = spans_from(settings)
        access_log = AccessLog(output.write, settings.log_format) if settings.log_level in LOGGED else None
        self._telemetry = Telemetry(self.metrics, table.upstreams, access_log, self._spans)
        self._server: Server | None = None
        self.reporter = Reporter(
            board,
            self.metrics,
            self._telemetry,
            lambda: self._clients.at_work,
            self.unready,
            self._connections,
            self._overloaded,
            {families.LINES_LOST: lambda: output.lost, families.SPANS_LOST: self._lost_spans},
        )
        self._compression = Compression(settings, self.metrics)
        self._store = store_from(settings, notices, self.metrics)
        unclaimed, most = self._telemetry.asked_for_nobody, settings.cache_max_object
        self.cache = Cache(self._store, self._compression, self.metrics, most, time.time, unclaimed)
        self._limiter = limiter_from(settings, counters)
        self._recaptcha = Recaptcha(settings)
        self._verifier = verifier_from(settings)
        self._overload = Overload(lag=settings.overload_lag, memory=settings.overload_memory)
        self._door = door_for(settings.max_connections, linux.descriptor_limit())
        self._memory = memory.Watch(memory.reading(settings.workers), self._overload.saw_memory)
        self._shelf = Shelf()
        self._sockets = Sockets(self.metrics)
        self._collector = Collector()
        self._upkeep: Upkeep | None = None

    async def start(self) -> Server:
        """Open the upstreams' sessions and build the way of a request; answers the server to listen with.

        Whoever listens takes `starting` out of `unready` once it does.
        """
        settings = self.settings
        loop = asyncio.get_running_loop()
        self._make_id = maker()
        self._deadlines = Deadlines(loop.time)
        upstreams = self.table.upstreams
        self._clients.follow(self._clients.following(upstreams, self._deadlines), upstreams)
        self._collector.start()
        jobs = Job(POOL_SWEEP, self._sweep), Job(REPORT, self._report)
        self._upkeep = Upkeep(self._deadlines, self._saw_lag, (self._output.flush, self._collector.tick), jobs)
        self._upkeep.start()
        if self._spans is not None:
            self._spans.start()
        await self._limiter.start()
        await self._recaptcha.start()
        if self._verifier is not None:
            await self._verifier.start()
        self._server = Server(
            self._way(self.table, self._clients.at_work),
            observer=self._telemetry,
            answer_unparsed=self._answer_unparsed,
            refuse=self._refuse,
            deadlines=self._deadlines,
            header_timeout=settings.header_timeout,
            keepalive_timeout=settings.keepalive_timeout,
            download_min_rate=settings.download_min_rate,
            trusted=settings.trusted_proxies,
            door=self._door,
        )
        return self._server

    async def reload(self, table: Table) -> None:
        """Serve by another table once its way is built, which takes a thread: then at once and altogether.

        Requests in flight end as they began. Upstreams that remain keep their connections and what is known of them;
        others finish what they do and close. One reload at a time.
        """
        clients = self._clients.following(table.upstreams, self._deadlines)
        try:
            way = await asyncio.to_thread(self._way, table, clients)
        except BaseException:
            await self._clients.discard(clients)
            raise
        # They go by the old table to their end, and may have yet to come to their upstream.
        unanswered = [] if self._server is None else self._server.unanswered()
        self._clients.follow(clients, table.upstreams, list(unanswered))
        self.table = table
        self.docs = Docs(table, self.settings, __version__)
        self._telemetry.know(table.upstreams)
        if self._server is not None:
            self._server.request_handler = cast(Any, way)

    def _way(self, table: Table, clients: Mapping[str, UpstreamClient]) -> Handler:
        settings = self.settings
        bodies = Bodies(idle=settings.idle_timeout, min_rate=settings.upload_min_rate, deadlines=self._deadlines)
        tools = Tools(
            bodies,
            self.cache,
            self._compression,
            self._limiter,
            self.metrics,
            self._recaptcha,
            self._verifier,
            self._overload,
        )
        local: dict[str, Handler] = dict(zip(sorted(OWN_PATHS), (self._healthz, self._readyz), strict=True))
        if settings.public_docs:
            local |= handlers(Docs(table, settings, __version__, try_it_out=True))
        proxy = ProxyHandler(settings, clients, self._deadlines, bodies, self.metrics, self._shelf, self._sockets)
        return compose(settings, table, proxy, local, tools)

    def _lost_spans(self) -> int:
        return 0 if self._spans is None else self._spans.lost

    def _overloaded(self) -> str | None:
        return self._overload.reason or (CONNECTIONS if self._door.full else None)

    def _connections(self) -> int:
        return 0 if self._server is None else len(self._server.connections)

    async def reports(self) -> list[dict[str, Any]]:
        """The reports of all workers, this one's first."""
        return await self.reporter.all()

    async def exposition(self) -> bytes:
        """What Prometheus is shown, of all workers."""
        return await exposition(*await self.reporter.snapshots())

    async def close(self) -> None:
        """End what `start` opened, however far it came."""
        if self._upkeep is not None:
            await self._upkeep.close()
            self._collector.close()
        if self._verifier is not None:
            await self._verifier.close()
        await self.cache.close()
        await self._store.close()
        self._compression.close()
        await self._recaptcha.close()
        await self._limiter.close()
        await self._clients.close()
        if self._spans is not None:
            await self._spans.close()

    def _saw_lag(self, late: float, now: float) -> None:
        self.reporter.lag.add(late, now)
        self._overload.saw_lag(late, now)

    async def _sweep(self, now: float) -> None:
        self._clients.sweep()
        self.metrics.fold()

    async def _report(self, now: float) -> None:
        self._memory.look(now)
        self._telemetry.advance(time.time())
        # Workers that die again and again are a reason for others to get the traffic.
        (self.unready.add if self._board.crashing else self.unready.discard)("workers crash")
        self.reporter.publish()
        self._collector.look(self._connections(), quiet=not self._telemetry.active)
        await self._clients.close_retired()

    async def _healthz(self, request: Request) -> Response:
        return json_response(200, {"status": "ok"})

    async def _readyz(self, request: Request) -> Response:
        """Without details: this is the public listener."""
        return json_response(503, {"status": "unready"}) if self.unready else json_response(200, {"status": "ready"})

    def _answer_unparsed(self, problem: Problem, request: Request) -> Response:
        request.id = self._make_id()
        request.record.code = problem.code
        return unparsed_response(problem, request.id)

    def _refuse(self, problem: Problem) -> bytes:
        if problem.code == "overloaded":
            self.metrics.count(families.REFUSED, CONNECTIONS).events += 1
        return unparsed_response(problem, self._make_id()).in_full()


def unparsed_response(problem: Problem, request_id: str) -> Response:
    """A head that can't be parsed names no origin and no route: its answer carries a request id only."""
    response = problem_response(problem, request_id, close=True)
    response.lines.append(b"X-Request-ID: %b" % request_id.encode())
    return response
