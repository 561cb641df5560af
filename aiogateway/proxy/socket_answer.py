"""The answer to a WebSocket's handshake, and the socket that follows it.

The upstream has agreed by then: what it had to say against it was an ordinary answer. The head is written, both
connections are handed to a relay, and the request is over when that is.
"""

from __future__ import annotations

import time
from typing import Final

from aiogateway.deadlines import Deadlines
from aiogateway.errors import Problem
from aiogateway.proxy.exchange import Exchange
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response, status_line
from aiogateway.websocket.closes import CLIENT_LOST, CUT, DRAINING, REFUSED, UPSTREAM_LOST, Sockets
from aiogateway.websocket.frames import GOING_AWAY, TOO_LARGE, TOO_MANY, Bounds
from aiogateway.websocket.relay import Relay

# What the access log is told of a socket that ended for another reason than a Close of its peers.
CODES: Final = {
    CLIENT_LOST: "client_closed",
    DRAINING: "draining",
    UPSTREAM_LOST: "upstream_bad_response",
    REFUSED[TOO_LARGE]: "body_too_large",
    REFUSED[TOO_MANY]: "rate_limited",
}


class SocketAnswer(Response):
    """:param exchange: past a 101, and established as a stream; this answer ends it.
    :param lines: the lines of the head; the last ones say that the protocol changes.
    :param idle: seconds in which something must come from either end.
    :param sockets: is told that there is one more, and why it ended.
    """

    __slots__ = ("_deadlines", "_exchange", "_idle", "_relay", "_sockets")

    def __init__(
        self, exchange: Exchange, lines: list[bytes], deadlines: Deadlines, sockets: Sockets, *, idle: float
    ) -> None:
        super().__init__(exchange.message.code, lines, close=True)
        self._exchange = exchange
        self._deadlines = deadlines
        self._sockets = sockets
        self._idle = idle
        self._relay: Relay | None = None

    def abandon(self) -> None:
        self._exchange.abort()

    async def write_eof(self, data: bytes = b"") -> None:
        """Write the head, and pass on what follows in both directions until both ends are closed.

        :raises ConnectionResetError: the client is gone before it begins.
        """
        request, exchange, route = self.request, self._exchange, self.request.route
        connection = request.connection
        bounds = Bounds(route.ws_max_message, route.ws_rate, self._deadlines.clock)
        self._relay = relay = Relay(bounds, self._deadlines, idle=self._idle)
        try:
            client = connection.hand_over()
            upstream, early = exchange.hand_over()
        except ConnectionError:
            exchange.abort()
            request.abort()
            raise
        self._sockets.active += 1
        connection.stream = self
        try:
            head = b"%b%b\r\n\r\n" % (status_line(self.status), b"\r\n".join(self.lines))
            relay.start(client, upstream, head, early)
            await relay.over
        finally:
            connection.stream = None
            client.abort()
            exchange.abort()
            connection.take_back()
            self._sockets.active -= 1
            self._conclude(request, relay)

    def _conclude(self, request: Request, relay: Relay) -> None:
        record = request.record
        record.released = time.monotonic()
        record.bytes_in, record.bytes_out = relay.client.passed, relay.upstream.passed
        record.code = record.code or CODES.get(relay.reason, "")
        self._sockets.closed(relay.reason or CUT)

    def end_with(self, problem: Problem) -> None:
        """Close both ends: the gateway goes away (RFC 6455 section 7.4.1)."""
        if self._relay is not None:
            self._relay.close(GOING_AWAY, "the gateway is going away", DRAINING)
