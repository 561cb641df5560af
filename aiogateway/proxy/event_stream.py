"""Event streams on their way: relayed as they come, and ended between two events when they have to be.

Rules: whoever ends a stream says why in a last event, and ends it cleanly, if that can be done between two events.
Inside an event, what broke off must look like it: the client's connection is cut.
"""

from __future__ import annotations

import aiohttp
from aiohttp.hdrs import CONTENT_LENGTH

from aiogateway.errors import Problem
from aiogateway.proxy.events import Boundary, last_event
from aiogateway.proxy.exchange import Exchange, write_chunk
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import UpstreamResponse


class EventStreams:
    """Those that are open, so that they can be told to end."""

    def __init__(self) -> None:
        self._open: set[EventStreamResponse] = set()

    def add(self, stream: EventStreamResponse) -> None:
        self._open.add(stream)

    def discard(self, stream: EventStreamResponse) -> None:
        self._open.discard(stream)

    def end(self, problem: Problem) -> None:
        """End each where its next event would begin; harmless if that was said before.

        :param problem: why.
        """
        for stream in tuple(self._open):
            stream.end(problem)


class EventStreamResponse(UpstreamResponse):
    """:param streams: knows this one while it is relayed.
    :param stream_idle: seconds in which the client must read something.
    """

    __slots__ = ("_boundary", "_ending", "_reading", "_streams")

    def __init__(self, exchange: Exchange, lines: list[bytes], streams: EventStreams, *, stream_idle: float) -> None:
        super().__init__(exchange, lines, None)
        self.stream_idle = stream_idle
        self._streams = streams
        self._boundary = Boundary()
        self._ending: Problem | None = None
        self._reading = False

    def end(self, problem: Problem) -> None:
        """End where the next event would begin."""
        if self._ending is None:
            self._ending = problem
            if self._reading and self._boundary.between:
                self.exchange.interrupt(problem)

    async def _relay(self, request: Request, exchange: Exchange, head: bytes, arrived: bytes) -> None:
        request.write(head)
        self._streams.add(self)
        try:
            chunk = arrived or await self._read()
            while chunk:
                cut = self._boundary.first_in(chunk) if self._ending is not None else -1
                await self._pass_on(request, chunk if cut < 0 else chunk[:cut])
                if cut >= 0:
                    break
                chunk = await self._read()
            if self._ending is not None and not exchange.payload.is_eof():
                raise self._ending
        except (aiohttp.ClientError, Problem) as exc:
            # With a length that was announced no event can be added.
            if not self._boundary.between or not (self._chunked or CONTENT_LENGTH not in exchange.message.headers):
                raise
            problem = exc if isinstance(exc, Problem) else Problem("upstream_bad_response", "the stream broke off")
            request.record.code = problem.code
            self.keep_alive = False
            await self._pass_on(request, last_event(problem, request.id))
        finally:
            self._streams.discard(self)
        self._end_body(request)

    async def _read(self) -> bytes:
        if self._ending is not None and self._boundary.between:
            return b""
        self._reading = True
        try:
            return await self.exchange.read()
        finally:
            self._reading = False

    async def _pass_on(self, request: Request, chunk: bytes) -> None:
        request.record.bytes_out += len(chunk)
        self._boundary.feed(chunk)
        if self._chunked:
            write_chunk(request.write, chunk)
        else:
            request.write(chunk)
        if request.must_wait:
            await self.wait_for_client()
