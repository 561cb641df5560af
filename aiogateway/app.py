"""The composition root: settings and table become a gateway. Read this first.

A `Gateway` is one worker's public side: the clients of all upstreams, the chain of middlewares around the proxy's
handler, and the server that aiohttp feeds. Whoever makes one starts and closes it, inside one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import structlog

from aiogateway import __version__, linux, memory
from aiogateway.access_log import AccessLog
from aiogateway.apidocs import Docs, handlers
from aiogateway.board import Board
from aiogateway.caching import Cache
from aiogateway.caching.notices import Notices
from aiogateway.caching.stores import store_from
from aiogateway.compression import Compression
from aiogateway.deadlines import MOST, TICK, Deadlines
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
from aiogateway.routes import OWN_PATHS, Table, Upstream
from aiogateway.settings import Settings
from aiogateway.spans import spans_from
from aiogateway.stores import SharedCounters, limiter_from
from aiogateway.telemetry import Telemetry
from aiogateway.tokens import verifier_from
from aiogateway.upstreams.client import LOOKUPS, UpstreamClient
from aiogateway.websocket.closes import Sockets

log = structlog.get_logger(__name__)

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
        self._clients: Mapping[str, UpstreamClient] = {}
        self._retired: list[tuple[UpstreamClient, list[Callable[[], bool]]]] = []
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
            lambda: self._clients,
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
        self._memory = memory.reading(settings.workers)
        self._memory_failed = False
        self._shelf = Shelf()
        self._sockets = Sockets(self.metrics)
        self._pools_at = self._report_at = 0.0
        self._collector = Collector()
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> Server:
        """Open the upstreams' sessions and build the way of a request; answers the server to listen with.

        Whoever listens takes `starting` out of `unready` once it does.
        """
        settings = self.settings
        loop = asyncio.get_running_loop()
        self._make_id = maker()
        self._deadlines = Deadlines(loop.time)
        self._lookups = asyncio.Semaphore(LOOKUPS)
        self._clients = {name: self._client(upstream) for name, upstream in self.table.upstreams.items()}
        self._collector.start()
        self._ticking = asyncio.create_task(self._tick())
        if self._spans is not None:
            self._spans.start()
        await self._limiter.start()
        await self._recaptcha.start()
        if self._verifier is not None:
            await self._verifier.start()
        self._server = Server(
            self._way(self.table, self._clients),
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

    def _client(self, upstream: Upstream) -> UpstreamClient:
        return UpstreamClient(upstream, self._deadlines, self.metrics, lookups=self._lookups)

    async def reload(self, table: Table) -> None:
        """Serve by another table once its way is built, which takes a thread: then at once and altogether.

        Requests in flight end as they began. Upstreams that remain keep their connections and what is known of them;
        others finish what they do and close. One reload at a time.
        """
        new = {
            name: self._client(upstream)
            for name, upstream in table.upstreams.items()
            if name not in self._clients or not self._clients[name].goes_on_as(upstream)
        }
        before = self._clients
        # Another mapping, not the same one changed: requests in flight look into theirs.
        clients = {name: new.get(name) or before[name] for name in table.upstreams}
        try:
            way = await asyncio.to_thread(self._way, table, clients)
        except BaseException:
            for client in new.values():
                await client.close()
            raise
        for name in table.upstreams.keys() - new.keys():  # whatever may fail has been done by now
            before[name].update(table.upstreams[name])
        # They go by the old table to their end, and may have yet to come to their upstream.
        unanswered = [] if self._server is None else self._server.unanswered()
        for name, client in before.items():
            if clients.get(name) is not client:
                client.retire()
                self._retired.append((client, list(unanswered)))
        self._clients = clients
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
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
            self._collector.close()
        if self._verifier is not None:
            await self._verifier.close()
        await self.cache.close()
        await self._store.close()
        self._compression.close()
        await self._recaptcha.close()
        await self._limiter.close()
        for client in (*self._clients.values(), *(client for client, _ in self._retired)):
            await client.close()
        if self._spans is not None:
            await self._spans.close()

    async def _tick(self) -> None:
        """Look at deadlines often, at idle connections and history now and then, and tell the other workers."""
        while True:
            due = time.monotonic() + TICK
            await asyncio.sleep(TICK)
            now = time.monotonic()
            late = max(now - due, 0.0)
            self.reporter.lag.add(late, now)
            self._overload.saw_lag(late, now)
            if late > TICK:
                await asyncio.sleep(0)  # what came while the process stood still came in time
                await asyncio.sleep(0)
            while self._deadlines.sweep() == MOST:  # noqa: ASYNC110  # others have their turn; nothing is waited for
                await asyncio.sleep(0)
            self._output.flush()
            self._collector.tick()
            try:
                await self._look_after(now)
            except Exception:  # one part's trouble must not end deadlines, sweeps and the watch for overload
                log.exception("looking after the worker failed")

    async def _look_after(self, now: float) -> None:
        """What is done now and then.

        :param now: seconds, monotonic.
        """
        if now >= self._pools_at:
            self._pools_at = now + POOL_SWEEP
            for client in self._clients.values():
                client.sweep()
            self.metrics.fold()
        if now >= self._report_at:
            self._report_at = now + REPORT
            self._look_at_memory(now)
            self._telemetry.advance(time.time())
            self._look_at_workers()
            self.reporter.publish()
            self._collector.look(self._connections(), quiet=not self._telemetry.active)
            await self._close_retired()

    def _look_at_memory(self, now: float) -> None:
        if self._memory is not None:
            try:
                self._overload.saw_memory(self._memory(), now)
            except (OSError, ValueError, IndexError) as exc:
                if not self._memory_failed:
                    log.warning("memory can't be watched", reason=str(exc))
                self._memory_failed = True
            else:
                self._memory_failed = False

    def _look_at_workers(self) -> None:
        """Workers that die again and again are a reason for others to get the traffic."""
        (self.unready.add if self._board.crashing else self.unready.discard)("workers crash")

    async def _close_retired(self) -> None:
        """Close what nothing goes over any more, nor can."""
        for retired in list(self._retired):
            client, unanswered = retired
            unanswered[:] = [still for still in unanswered if still()]
            if client.quiet and not unanswered:
                await client.close()
                self._retired.remove(retired)

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
