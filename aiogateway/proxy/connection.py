"""One client's connection: its requests answered one after the other.

With `receiving` and `listener` the server side's only modules that stand on aiohttp's half-public parts;
`tests/test_aiohttp_parts.py` fails in clear words when aiohttp moves one. aiohttp's loop over a connection's requests
is replaced by one that makes no task for each, and that lets go of a client in a way in which it reads its last answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import weakref
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final, Protocol, cast

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import ERROR, RequestPayloadError, _ErrInfo

from aiogateway.address import is_trusted, parse
from aiogateway.deadlines import Credit
from aiogateway.errors import Problem
from aiogateway.overload import Place
from aiogateway.proxy.head import NO_HEAD, Head
from aiogateway.proxy.headers import forwarded_lines
from aiogateway.proxy.pace import Pace
from aiogateway.proxy.parsing import unparsed
from aiogateway.proxy.receiving import HEAD_END, Receiving
from aiogateway.proxy.record import CLIENT_CLOSED
from aiogateway.proxy.request import Request, Stream
from aiogateway.proxy.terms import Handler, Terms
from aiogateway.splice import Patience, descriptor_of

# Seconds an unread body is read and thrown away after an early answer, so that the client reads the answer.
LINGER: Final = 10.0
# Bytes of it that are read at the most.
LINGER_BYTES: Final = 512 << 20
# Seconds a client gets to read what is left of its last answer, once its connection is to be closed.
CLOSING: Final = 30.0
# Seconds a client gets to ask when there is no room for it, and one that is not let in at all to read that.
HURRY: Final = 1.0
# Requests of one connection answered without a wait between them, before others get their turn.
IN_A_ROW: Final = 16


class Manager(Protocol):
    """The server, as far as its connections need it."""

    winding_down: bool


def _none() -> None:
    """No head, for the first request."""


class ClientConnection(Receiving):
    """One client's connection: aiohttp's protocol, with the deadlines and answers it lacks."""

    finish_response: Any  # takes our requests and answers, which aiohttp's types don't know

    __slots__ = ("_cut", "_last_head", "_place", "forwarded", "peer", "scheme", "stream", "surplus", "trusted_peer")

    def __init__(self, server: web.Server, terms: Terms, *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(server, terms, loop=loop, **options)
        self._cut = CLIENT_CLOSED
        self.forwarded = b""
        self.peer = ""
        self.scheme = "http"
        self.trusted_peer = False
        self.surplus = False
        self.stream: Stream | None = None
        self._place: Place | None = None
        # Not held: an idle connection would keep what nobody needs.
        self._last_head: Callable[[], Head | None] = _none

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peername = transport.get_extra_info("peername")
        address = parse(peername[0]) if isinstance(peername, tuple) else None
        self.peer = str(address) if address is not None else "unknown"
        self.trusted_peer = is_trusted(address, self.trusted)
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = "https"
        self.forwarded = forwarded_lines(self.peer, self.scheme)
        if cast(Manager, self._manager).winding_down:  # since before its handshake
            self.closing = True
        self._place = place = self._terms.door.enter()
        if place != "regular":
            self.surplus = place == "surplus"
            self._meet(cast(asyncio.Transport, transport))

    @property
    def trusted(self) -> Sequence[IPv4Network | IPv6Network]:
        """Networks whose `X-Forwarded-*` is believed."""
        return self._terms.trusted

    def _meet(self, transport: asyncio.Transport) -> None:
        """Deal with a connection for which there is no room."""
        if self.surplus:
            self.closing, self._late = True, "overloaded"
            self._await_head(HURRY)  # those that say nothing must not keep the place from one who asks whether we live
            return
        self._deaf = True
        transport.write(self._terms.refuse(Problem("overloaded")))
        if self._place == "beyond" or not transport.can_write_eof():
            self.force_close()
            return
        transport.write_eof()  # and read on, for a while: a close with bytes unread would lose the answer on its way
        self._terms.deadlines.after(HURRY, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._place is not None:
            self._terms.door.leave(self._place)
            self._place = None
        super().connection_lost(exc)

    def unanswered(self) -> Callable[[], bool] | None:
        """Tells whether the request that has no answer yet still has none; None when there is no such request."""
        request = self._current_request
        return None if request is None else lambda: self._current_request is request

    @property
    def spoke_early(self) -> bool:
        """Whether something came behind the request that is being answered."""
        return self._deaf or self.arriving or bool(self._messages)

    def hand_over(self) -> asyncio.Transport:
        """The transport, for another protocol that takes over at once.

        :raises ConnectionResetError: the client is gone.
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client closed the connection")
        return transport

    def take_back(self) -> None:
        """The other protocol is done, and the client gone: nobody else says so here."""
        self._loop.call_soon(self.connection_lost, None)

    async def drained(self) -> None:
        """Wait until the client has read enough for more to be written, however long that takes."""
        await self._drain_helper()

    def unsent(self) -> int:
        """Bytes that wait in our buffer for the client."""
        return 0 if self.transport is None else self.transport.get_write_buffer_size()

    def pace(self, stream_idle: float | None) -> Pace:
        """How the client has to read an answer.

        :param stream_idle: for an event stream, seconds in which something must be read.
        """
        min_rate = self._terms.download_min_rate if stream_idle is None else 0
        return Pace(self, self._terms.deadlines, min_rate=min_rate, idle=stream_idle)

    def descriptor(self) -> int | None:
        """The descriptor of its socket, as `splice.descriptor_of`."""
        return descriptor_of(self.transport)

    def flush(self, *, whole: bool) -> None:
        """Say whether `drained` waits for the whole buffer from now on, or for room in it."""
        if self.transport is not None:
            self.transport.set_write_buffer_limits(high=0 if whole else None)

    def taking(self) -> Patience:
        """How the client has to take what the kernel gives it; one that doesn't is cut off."""
        return Patience(None, Credit(self._terms.download_min_rate), self._too_slow)

    def _too_slow(self) -> ConnectionResetError:
        self.reset()
        return ConnectionResetError("the client reads too slowly")

    def force_close(self) -> None:
        """Close, once the client has read what is left for it, or its time for that is over."""
        transport = self.transport
        super().force_close()
        if transport is not None and transport.get_write_buffer_size():
            self._terms.deadlines.after(CLOSING, transport.abort)

    def reset(self) -> None:
        """End the connection with a TCP reset; what wasn't sent is dropped."""
        transport = self.transport
        if transport is None:
            return
        sock = transport.get_extra_info("socket")
        if sock is not None and not transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def cut_off(self) -> None:
        """End a request in flight: the drain is over."""
        self._cut = "draining"
        if self.stream is not None:
            self.stream.end_with(Problem("draining"))  # or it would take this for its client's doing
        self.reset()

    async def start(self) -> None:
        """Answer the requests of this connection, one after the other.

        aiohttp's own loop makes a task and a writer for each request; here the connection's one task does it all. It
        is cancelled when the client is gone, and the exchange with it.
        """
        payload: StreamReader = EMPTY_PAYLOAD
        manager = self._manager
        if manager is None:
            return
        in_a_row = 0
        try:
            while not self._force_close and not self._close:
                if not self._messages:
                    in_a_row = 0
                    if self._head_deadline is None and not payload.total_bytes and self._last not in (b"", HEAD_END):
                        self._await_head()  # the next head began in the packet of the one before
                    self._waiter = self._loop.create_future()
                    try:
                        await self._waiter
                    finally:
                        self._waiter = None
                message, payload = self._messages.popleft()
                if self._parser is not None:
                    self._parser.message_consumed()
                if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
                    self._resume_reading_if_drained()
                # Looked up for each: another configuration brings another.
                if not await self._answer(message, payload, cast(Handler, manager.request_handler)):
                    manager.requests_count += 1  # those after which the connection ends
                    break
                del message  # an idle connection holds no head
                in_a_row += 1
                if in_a_row >= IN_A_ROW:
                    in_a_row = 0
                    await asyncio.sleep(0)
                self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
                if self._keepalive_handle is None:
                    self._keepalive_handle = self._loop.call_at(
                        self._next_keepalive_close_time, self._process_keepalive
                    )
            await self._linger(payload)
        finally:
            self.force_close()

    async def _answer(self, message: RawRequestMessage | _ErrInfo, payload: StreamReader, handler: Handler) -> bool:
        """Answer one request; whether another may follow on this connection."""
        terms, complete = self._terms, False
        if isinstance(message, _ErrInfo):
            request = Request(ERROR, payload, self, NO_HEAD)
        else:
            last = self._last_head()
            head = terms.heads.of(message, last)
            if head is not last:
                self._last_head = weakref.ref(head)
            request = Request(message, payload, self, head)
        self._content = payload
        self._current_request = request
        self._request_in_progress = True
        terms.observer.active += 1
        try:
            if isinstance(message, _ErrInfo):
                answer = terms.answer_unparsed(unparsed(message.exc), request)
            else:
                answer = await handler(request)
            self._current_request = None
            if request.keep_alive and payload is not EMPTY_PAYLOAD:
                request.keep_alive = payload.is_eof() and self._may_go_on(request.message)
            if self._upgraded:  # an upgrade that was declined: aiohttp parses what came behind it
                if (await self.finish_response(request, answer, None))[1]:
                    return False  # the client is gone
            else:
                answer.begin(request)
                await answer.write_eof()
            complete = True
        except ConnectionError:
            return False
        finally:
            self._current_request = None
            self._request_in_progress = False
            if self._handler_waiter is not None and not self._handler_waiter.done():
                self._handler_waiter.set_result(None)
            if not complete and not request.record.code:
                request.record.code = self._cut
            terms.observer.active -= 1
            terms.observer.finished(request)
        if not answer.keep_alive:
            return False
        if payload is EMPTY_PAYLOAD:
            return True
        if not payload.is_eof() or not self._may_go_on(request.message):
            return False
        if request.message.chunked:
            self._renew_parser()
        return True

    async def _linger(self, payload: StreamReader) -> None:
        """Read what is left of a body, within bounds: a close with bytes unread would lose the answer on its way."""
        with contextlib.suppress(TimeoutError, RequestPayloadError, OSError, Problem):
            async with asyncio.timeout(LINGER):
                await asyncio.sleep(0)  # an upload that was just cancelled lets go of the body in this turn
                end = payload.total_bytes + LINGER_BYTES
                while not payload.is_eof() and not self._force_close and payload.total_bytes < end:
                    await payload.readany()
                if self._messages or self._deaf or self._reading_paused or self._buffer_paused:
                    await self._outlast()

    async def _outlast(self) -> None:
        """Throw away what stands behind the last request, until the client has read its answer and leaves."""
        self._deaf = True
        self._messages.clear()
        if (transport := self.transport) is not None:
            if transport.can_write_eof():
                transport.write_eof()
            transport.resume_reading()
            await self._loop.create_future()  # its leaving cancels this task, as at any other time

    def handle_error(
        self, request: Any, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> Any:
        """Answer what can't be parsed. The client's bytes are neither echoed nor logged."""
        return self._terms.answer_unparsed(unparsed(exc), request)
