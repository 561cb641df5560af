"""The one handler of all routes: a request's way to its upstream and back.

1. Receive a small body whole, so that a slow client holds no connection and the request can be sent again.
2. Have it sent, by whatever attempts that takes.
3. Retell an error that is not meant for the client; else give the answer back, its body, or its WebSocket, still to
   come.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from aiohttp.hdrs import CONNECTION

from aiogateway.compression.policy import EVENTS
from aiogateway.deadlines import Deadlines
from aiogateway.errors import Problem
from aiogateway.metrics import Metrics
from aiogateway.proxy.answer_head import SWITCHING
from aiogateway.proxy.attempts import Attempts
from aiogateway.proxy.body import Bodies
from aiogateway.proxy.event_answer import EventAnswer
from aiogateway.proxy.exchange import Exchange
from aiogateway.proxy.headers import MalformedName, has_control, origin, outward_lines
from aiogateway.proxy.outbound import Outbound
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response, problem_response
from aiogateway.proxy.retell import is_retold, media_type, retell
from aiogateway.proxy.shelf import Shelf
from aiogateway.proxy.socket_answer import SocketAnswer
from aiogateway.proxy.upstream_answer import UpstreamAnswer
from aiogateway.settings import Settings
from aiogateway.upstreams.client import UpstreamClient
from aiogateway.websocket.closes import Sockets
from aiogateway.websocket.handshake import Handshake, check


class ProxyHandler:
    """Answers a request whose `route` and `match` are set.

    :param clients: the upstreams at work, by name.
    :param bodies: receives the body that nobody asked for before.
    :param metrics: counts what is sent again.
    :param shelf: where the rest of answers may stand whose clients read slowly; the worker's only one.
    :param sockets: is told of WebSockets; the worker's only one.
    """

    def __init__(
        self,
        settings: Settings,
        clients: Mapping[str, UpstreamClient],
        deadlines: Deadlines,
        bodies: Bodies,
        metrics: Metrics,
        shelf: Shelf,
        sockets: Sockets,
    ) -> None:
        self._settings = settings
        self._deadlines = deadlines
        self._sockets = sockets
        self._attempts = Attempts(clients, deadlines, metrics, idle=settings.idle_timeout)
        self._bodies = bodies
        self._shelf = shelf
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
        exchange = await self._attempts.send(request, outbound)
        try:
            if is_retold(exchange.message, route):
                close = exchange.uploading
                problem = await retell(exchange, route, request.id)
                record.code, record.released = problem.code, time.monotonic()
                return problem_response(problem, request.id, close=close)
            if exchange.message.code == SWITCHING:
                return self._socket(request, request.handshake, exchange)
            return self._response(request, exchange)
        except BaseException:
            exchange.abort()
            raise

    def _response(self, request: Request, exchange: Exchange) -> UpstreamAnswer:
        """The upstream's answer for the client, its body still to come."""
        settings, route, message = self._settings, request.route, exchange.message
        lines = self._lines(request, exchange)
        exchange.bear_silence(max(route.timeout, settings.idle_timeout))
        if not exchange.payload.is_eof() and media_type(message) == EVENTS:
            stream_idle = settings.stream_idle_timeout
            exchange.establish(stream_idle)
            return EventAnswer(
                exchange, [lines], self._deadlines, stream_idle=stream_idle, keepalive=route.sse_keepalive
            )
        return UpstreamAnswer(exchange, [lines], self._shelf)

    def _socket(self, request: Request, handshake: Handshake | None, exchange: Exchange) -> SocketAnswer:
        """The WebSocket that the upstream agrees to."""
        if handshake is None:
            raise Problem("upstream_bad_response", "the service switched protocols unasked")
        if request.connection.spoke_early:
            raise Problem("bad_request", "a client must not send frames before its handshake is answered")
        switch = check(handshake, exchange.message.headers)
        if exchange.lost:  # later, only the socket can say so
            raise Problem("upstream_bad_response", "the service agreed to the WebSocket, and closed the connection")
        idle = self._settings.stream_idle_timeout
        lines = [self._lines(request, exchange), *switch]
        exchange.establish(idle)
        return SocketAnswer(exchange, lines, self._deadlines, self._sockets, idle=idle)

    def _lines(self, request: Request, exchange: Exchange) -> bytes:
        """What goes on of the head of the upstream's answer."""
        message = exchange.message
        headers = message.headers
        try:
            lines = b"\r\n".join(
                outward_lines(
                    message.raw_headers,
                    headers,
                    headers.getall(CONNECTION, ()),
                    self._relocate[request.route.upstream.name],
                    request.public_origin,
                )
            )
        except MalformedName as exc:
            raise Problem("upstream_bad_response", "a field of the service's answer has a malformed name") from exc
        if has_control(lines):
            raise Problem("upstream_bad_response", "a field of the service's answer holds control characters")
        return lines
