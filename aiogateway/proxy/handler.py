"""The one handler of all routes: a request's way to its upstream and back.

1. Receive a small body whole, so that a slow client holds no connection and the request can be sent again.
2. Take the destinations in turn; wait for a place in the pool of one, and take a connection.
3. Send head and body, while listening for an answer that comes early.
4. Retell an error that is not meant for the client; else give the answer back, its body still to come.

What may be sent again: anything that was not sent at all because no connection could be made; and once, when a kept
connection proved closed before a byte came back, an idempotent request whose body is still at hand.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from aiohttp.hdrs import CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING

from aiogateway.deadlines import Deadlines
from aiogateway.errors import Problem
from aiogateway.metrics import Metrics, families
from aiogateway.proxy.body import Bodies
from aiogateway.proxy.exchange import Exchange, StaleConnection
from aiogateway.proxy.headers import MalformedName, has_control, inward_lines, origin, outward_lines
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response, UpstreamResponse, problem_response
from aiogateway.proxy.retell import is_retold, media_type, retell
from aiogateway.settings import Settings
from aiogateway.upstreams.client import Destination, UpstreamClient

# RFC 9110 section 9.2.2.
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})
NOT_CONNECTED: Final = frozenset({"upstream_unreachable", "upstream_tls"})

_VIA: Final = {(1, 1): b"Via: 1.1 aiogateway", (1, 0): b"Via: 1.0 aiogateway"}


class Outbound:
    """A request as it goes to an upstream, less what depends on the destination.

    :ivar path: path and query to ask for.
    :ivar fields: the head after its `Host` line.
    :ivar sent: what of the body is at hand.
    :ivar rest: where what isn't comes from; None when all is at hand.
    :ivar chunked: whether that rest goes out in chunks.
    """

    __slots__ = ("chunked", "fields", "path", "rest", "sent")

    def __init__(self, request: Request) -> None:
        headers, sent, rest = request.headers, request.sent, request.rest
        self.path = request.route.target(request.path, request.match.params) + request.query
        self.sent = sent
        self.rest = rest
        self.chunked = False
        lines = inward_lines(request.message.raw_headers, headers.getall(CONNECTION, ()))
        lines += (
            request.forwarded_lines(),
            _VIA[request.version],
            request.id_line,
            request.trace_lines,
        )
        if request.identity is not None:
            lines.append(request.identity.lines)
        if rest is None:
            if sent or CONTENT_LENGTH in headers or TRANSFER_ENCODING in headers:
                lines.append(b"Content-Length: %d" % len(sent))
        elif rest.length is not None:
            lines.append(b"Content-Length: %d" % rest.length)
        else:
            self.chunked = True
            lines.append(b"Transfer-Encoding: chunked")
            self.sent = b"%x\r\n%b\r\n" % (len(sent), sent) if sent else b""
        self.fields = b"\r\n".join(lines)

    def data_for(self, method: str, destination: Destination) -> bytes:
        """Head and body so far, in one piece."""
        return b"%b %b%b HTTP/1.1\r\nHost: %b\r\n%b\r\n\r\n%b" % (
            method.encode(),
            destination.base,
            self.path.encode("utf-8", "surrogateescape"),
            destination.host,
            self.fields,
            self.sent,
        )


class ProxyHandler:
    """Answers a request whose `route` and `match` are set.

    :param clients: the upstreams at work, by name.
    :param bodies: receives the body that nobody asked for before.
    :param metrics: counts what is sent again.
    """

    def __init__(
        self,
        settings: Settings,
        clients: Mapping[str, UpstreamClient],
        deadlines: Deadlines,
        bodies: Bodies,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._clients = clients
        self._deadlines = deadlines
        self._bodies = bodies
        self._metrics = metrics
        self._relocate = {
            name: {
                origin(destination.url.partition(":")[0].encode(), destination.host): destination.base
                for destination in client.destinations
            }
            for name, client in clients.items()
        }

    async def __call__(self, request: Request) -> Response:
        """:raises Problem: whatever keeps the upstream's answer from the client."""
        route, record = request.route, request.record
        record.upstream = route.upstream.name
        if request.has_body and not request.received:
            await self._bodies.receive(request)
        try:
            outbound = Outbound(request)
        except MalformedName as exc:
            raise Problem("bad_request", "a field has a malformed name") from exc
        exchange = await self._exchange(request, outbound)
        try:
            if is_retold(exchange.message, route):
                close = exchange.uploading
                problem = await retell(exchange, route, request.id)
                record.code, record.released = problem.code, time.monotonic()
                return problem_response(problem, request.id, close=close)
            return self._response(request, exchange)
        except BaseException:
            exchange.abort()
            raise

    async def _exchange(self, request: Request, outbound: Outbound) -> Exchange:
        """An exchange past its answer's head. Whether it took another attempt is counted.

        :raises Problem: as `_first_to_answer`.
        """
        again: list[str] = []
        outcome = "failure"
        try:
            exchange = await self._first_to_answer(request, outbound, again)
            outcome = "success"
        finally:
            for reason in again:
                self._metrics.count(families.RETRIES, request.route.upstream.name, reason, outcome).events += 1
        return exchange

    async def _first_to_answer(self, request: Request, outbound: Outbound, again: list[str]) -> Exchange:
        """An exchange past its answer's head, with the first destination that a connection could be made to.

        :param again: gets a word for every time that the request is sent again.
        """
        route = request.route
        failed: Problem | None = None
        for destination in self._clients[route.upstream.name].in_turn():
            if failed is not None:
                again.append("connect_failure")
            try:
                try:
                    return await self._attempt(request, outbound, destination, fresh=False)
                except StaleConnection as exc:
                    if route.retry is False or outbound.rest is not None or request.method not in IDEMPOTENT:
                        raise Problem(
                            "upstream_bad_response", "the service closed the connection as the request was sent"
                        ) from exc
                    again.append("stale_connection")
                    return await self._attempt(request, outbound, destination, fresh=True)
            except Problem as problem:
                if problem.code not in NOT_CONNECTED or route.retry is False:
                    raise
                failed = problem
        raise failed or Problem("upstream_unreachable")

    async def _attempt(
        self, request: Request, outbound: Outbound, destination: Destination, *, fresh: bool
    ) -> Exchange:
        settings, route, record = self._settings, request.route, request.record
        record.attempts += 1
        record.destination = destination.url
        record.asked = record.headed = 0.0
        pool = destination.pool
        connection = (None if fresh else pool.take()) or await pool.acquire(record, fresh=fresh)
        record.asked = time.monotonic()
        exchange = Exchange(
            pool,
            connection,
            self._deadlines,
            timeout=route.timeout,
            idle=settings.idle_timeout,
        )

        try:
            await exchange.send(
                outbound.data_for(request.method, destination),
                outbound.rest,
                chunked=outbound.chunked,
                bodiless=request.method == "HEAD",
                interim=request.early_hints,
            )
        except BaseException:
            exchange.abort()
            raise
        record.headed = time.monotonic()
        return exchange

    def _response(self, request: Request, exchange: Exchange) -> UpstreamResponse:
        """The upstream's answer for the client, its body still to come."""
        settings, route, message = self._settings, request.route, exchange.message
        headers = message.headers
        try:
            lines = b"\r\n".join(
                outward_lines(
                    message.raw_headers,
                    headers,
                    headers.getall(CONNECTION, ()),
                    self._relocate[route.upstream.name],
                    request.public_origin,
                )
            )
        except MalformedName as exc:
            raise Problem("upstream_bad_response", "a field of the service's answer has a malformed name") from exc
        if has_control(lines):
            raise Problem("upstream_bad_response", "a field of the service's answer holds control characters")
        stream_idle = None
        exchange.bear_silence(max(route.timeout, settings.idle_timeout))
        if not exchange.payload.is_eof() and media_type(message) == "text/event-stream":
            stream_idle = settings.stream_idle_timeout
            exchange.establish(stream_idle)
        return UpstreamResponse(exchange, [lines], stream_idle=stream_idle)
