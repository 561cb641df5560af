"""An event stream on its way to the client: between two events there is room for what the gateway has to say itself.

A drain ends a stream so, and so does an upstream that breaks off or falls silent between two events: the client is
told why in a last `event: error`, the body ends in good order, and its connection closes. Inside an event only a cut
says that it is not whole.

Silence is filled with comments, so that whoever stands between us and the client doesn't take the connection for dead.
They don't count for the upstream, whose silence is bounded all the same, nor for a client that has yet to read what
came before.
"""

from __future__ import annotations

import contextlib
import time
from typing import Final

import aiohttp
from aiohttp.hdrs import CONTENT_ENCODING

from aiogateway.deadlines import Deadline, Deadlines
from aiogateway.errors import Problem
from aiogateway.proxy.events import BYTE_ORDER_MARK, COMMENT, Events, last_event
from aiogateway.proxy.exchange import Exchange
from aiogateway.proxy.request import Request
from aiogateway.proxy.upstream_answer import UpstreamAnswer

BROKE_OFF: Final = "the service broke off in the middle of its answer"


class EventAnswer(UpstreamAnswer):
    """:param exchange: past its head, and established as a stream.
    :param lines: as for any answer.
    :param stream_idle: seconds in which the client must read something.
    :param keepalive: seconds of silence after which a comment is sent; 0 for never.
    """

    __slots__ = ("_deadlines", "_ending", "_events", "_given", "_keepalive", "_quiet", "_reading")

    def __init__(
        self, exchange: Exchange, lines: list[bytes], deadlines: Deadlines, *, stream_idle: float, keepalive: float
    ) -> None:
        super().__init__(exchange, lines, stream_idle=stream_idle)
        self._deadlines = deadlines
        self._ending: Problem | None = None
        self._events = Events()
        self._given = 0.0  # when the client was last given anything
        self._keepalive = keepalive
        self._quiet: Deadline | None = None
        self._reading = False

    async def _relay(self, request: Request, exchange: Exchange) -> None:
        if self._length() is not None or CONTENT_ENCODING in exchange.message.headers:
            await super()._relay(request, exchange)  # there is no room for an event of ours
            return
        request.write(self._head(None))
        connection = request.connection
        events = self._events
        connection.stream = self
        if self._keepalive:
            self._given = self._deadlines.clock()
            self._look_after(self._keepalive)
        try:
            chunk = exchange.at_hand() or await self._next(exchange)
            if request.record.bytes_out:  # behind a comment it is no mark, and it may come in pieces
                while chunk and chunk != BYTE_ORDER_MARK and BYTE_ORDER_MARK.startswith(chunk):
                    if not (following := await self._next(exchange)):
                        break
                    chunk += following
                chunk = chunk.removeprefix(BYTE_ORDER_MARK) or await self._next(exchange)
            while chunk:
                end = events.end_in(chunk) if self._ending is not None else 0
                self._give(request, chunk[:end] if end else chunk)
                if request.must_wait:
                    await self.wait_for_client()
                chunk = await self._next(exchange)
        except (aiohttp.ClientError, Problem) as exc:
            if not events.between:
                raise
            problem = exc if isinstance(exc, Problem) else Problem("upstream_bad_response", BROKE_OFF)
            request.record.code = problem.code
            self.keep_alive = False
            exchange.abort()
            self._give(request, last_event(problem, request.id))
        finally:
            connection.stream = None
            if self._quiet is not None:
                self._quiet.cancel()
                self._quiet = None
        request.record.released = time.monotonic()
        if self._chunked:
            request.write(b"0\r\n\r\n")

    def _give(self, request: Request, chunk: bytes) -> None:
        super()._give(request, chunk)
        self._events.feed(chunk)
        self._given = self._deadlines.clock()

    async def _next(self, exchange: Exchange) -> bytes:
        """What comes next of an event stream.

        :raises Problem: it is to end, and stands where it may.
        """
        if self._ending is not None and self._events.between:
            raise self._ending
        self._reading = True
        try:
            return await exchange.read()
        finally:
            self._reading = False

    def _look_after(self, seconds: float) -> None:
        self._quiet = self._deadlines.after(seconds, self._look)

    def _look(self) -> None:
        """Give a comment if nothing was given for long enough, and this is a place for one."""
        now = self._deadlines.clock()
        left = self._given + self._keepalive - now
        if left > 0:
            self._look_after(left)
            return
        self._look_after(self._keepalive)
        # With something unsent the silence is the client's, and no comment must keep it from being noticed.
        if self._events.between and not self.request.connection.unsent():
            self._given = now
            with contextlib.suppress(ConnectionResetError):  # whoever relays is told that the client is gone
                super()._give(self.request, COMMENT)

    def end_with(self, problem: Problem) -> None:
        """End an event stream with this as its last event, as soon as it stands between two."""
        self._ending = problem
        if self._reading and self._events.between:
            self.exchange.interrupt(problem)
