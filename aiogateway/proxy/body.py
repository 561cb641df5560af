"""A request's body on its way in: counted, and bounded in size, in silence and in slowness.

A small body is received whole before anything goes upstream, so that a slow client holds no connection of a pool
and the request can be sent again; a larger one is read chunk by chunk while it is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiohttp.hdrs import CONTENT_LENGTH, EXPECT
from aiohttp.web_protocol import RequestPayloadError

from aiogateway.deadlines import Credit, Deadlines
from aiogateway.errors import Problem
from aiogateway.proxy.request import Request
from aiogateway.splice import Patience
from aiogateway.streams import take

SMALL_BODY: Final = 64 * 1024


class RequestBody:
    """The body of one request, read once; a `Rest` once its beginning is read.

    :param limit: bytes it may have (the route's `max_body`).
    :param idle: seconds of silence allowed (`GATEWAY_IDLE_TIMEOUT`).
    :param min_rate: bytes a second to keep up while we wait for the client (`GATEWAY_UPLOAD_MIN_RATE`).
    """

    __slots__ = (
        "_connection",
        "_content",
        "_credit",
        "_deadlines",
        "_go_on",
        "_idle",
        "_limit",
        "_record",
        "length",
        "received",
        "watch",
    )

    def __init__(self, request: Request, *, limit: int, idle: float, min_rate: int, deadlines: Deadlines) -> None:
        length = request.headers.get(CONTENT_LENGTH)
        self.length = None if length is None else int(length)
        self.received = 0
        self.watch: Callable[[bytes], None] | None = None
        # Not the request itself, which holds this: together they would wait for the garbage collector.
        self._connection = request.connection
        self._record = request.record
        self._content = request.content
        self._limit = limit
        self._idle = idle
        self._credit = Credit(min_rate)
        self._deadlines = deadlines
        # RFC 9110 section 10.1.1: only now, when nothing but the body is missing, is the client told to send it.
        expects = EXPECT in request.headers and request.version >= (1, 1)
        self._go_on: Callable[[bytes], None] | None = request.write if expects else None

    async def read(self) -> bytes:
        """The next bytes as they came; empty at the end.

        :raises Problem: `body_too_large`, `request_timeout`, or `bad_request` when the framing is broken.
        """
        content = self._content
        if self._go_on is not None:
            if content.total_bytes == 0:
                self._go_on(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._go_on = None
        if content.is_eof():
            chunk = content.read_nowait()
        else:
            chunk = await self._wait()
        self.received += len(chunk)
        if self.received > self._limit:
            raise too_large(self._limit)
        if self.watch is not None:
            self.watch(chunk)
            if chunk and self.received == self.length:  # once this has gone on, the request is complete
                self.watch(b"")
        return chunk

    async def _wait(self) -> bytes:
        clock = self._deadlines.clock
        started = clock()
        deadline = self._deadlines.after(self._idle, self._silent)
        try:
            chunk = await self._content.readany()
        except (OSError, RequestPayloadError) as exc:
            raise Problem("client_closed") from exc
        finally:
            deadline.cancel()
        waited = clock() - started
        self._record.receiving += waited
        if not self._credit.spend(waited, len(chunk)) and chunk:
            raise too_slow()
        return chunk

    def _silent(self) -> None:
        self._content.set_exception(Problem("request_timeout", "the body stopped arriving"))

    def read_plainly(self) -> None:
        """What is left is much: spare it the parser, where its length is known."""
        if self.length is not None:
            self._connection.read_plainly(self._content, self.length)

    def left(self) -> int:
        """Bytes that are still to be read, as far as the head told; 0 where it didn't."""
        return 0 if self.length is None else self.length - self.received

    def hold(self) -> tuple[int, bytes, Patience] | None:
        """Have the rest go another way, until `moved`; None where it can't, or has to be looked at.

        :returns: the descriptor that it comes from, what has come already, and the patience with the client.
        """
        connection = self._connection
        if self.watch is not None or (descriptor := connection.body_descriptor()) is None:
            return None
        arrived = self._content.read_nowait()
        self.received += len(arrived)
        connection.hold_body()  # not before: to read from a full buffer makes room in it
        return descriptor, arrived, Patience(self._idle, self._credit, too_slow)

    def moved(self, giving: Patience) -> None:
        """The rest went another way, as far as it came."""
        self.received += giving.bytes
        self._record.receiving += giving.waited
        self._connection.body_moved(giving.bytes)

    async def receive_small(self) -> tuple[bytes, bool]:
        """All of a body of at most `SMALL_BODY` bytes, or the beginning of a larger one.

        :returns: the bytes received, and whether they are all.
        :raises Problem: as `read`.
        """
        if self.length is not None and self.length > SMALL_BODY:
            return b"", False
        first = await self.read()
        if self._content.at_eof():
            return first, True
        parts = [first]
        while self.received <= SMALL_BODY:
            chunk = await self.read()
            if not chunk:
                return b"".join(parts), True
            parts.append(chunk)
        return b"".join(parts), False

    async def receive_until(self, enough: Callable[[bytes], bool]) -> tuple[bytes, bool]:
        """The beginning of a body, up to where somebody has seen enough of it, or past `SMALL_BODY` bytes.

        :param enough: is shown each chunk.
        :returns: the bytes received, and whether they are all.
        :raises Problem: as `read`, and whatever `enough` raises.
        """
        parts: list[bytes] = []
        while self.received <= SMALL_BODY:
            chunk = await self.read()
            parts.append(chunk)
            if not chunk:
                return b"".join(parts), True
            if enough(chunk):
                break
        return b"".join(parts), self._content.at_eof()


class Bodies:
    """Receives what of a request's body has to be at hand before anything goes upstream.

    :param idle: seconds of silence allowed.
    :param min_rate: bytes a second to keep up.
    """

    def __init__(self, *, idle: float, min_rate: int, deadlines: Deadlines) -> None:
        self._idle = idle
        self._min_rate = min_rate
        self._deadlines = deadlines

    async def receive(self, request: Request) -> None:
        """A small body whole, or the beginning of a larger one.

        :raises Problem: as `RequestBody.read`.
        """
        check_length(request)
        request.received = True
        if request.content.is_eof():  # it came with its head, as small forms do
            request.sent = take(request.content)
            return
        body = self._body(request)
        request.sent, complete = await body.receive_small()
        request.rest = None if complete else body

    async def receive_whole(self, request: Request) -> bytes:
        """A small body whole.

        :raises Problem: `body_too_large` if it is none, and as `RequestBody.read`.
        """
        await self.receive(request)
        if request.rest is not None or len(request.sent) > SMALL_BODY:
            raise too_large(min(SMALL_BODY, request.route.max_body))
        return request.sent

    async def receive_head(self, request: Request, enough: Callable[[bytes], bool]) -> None:
        """The beginning of a body, as `RequestBody.receive_until`.

        :raises Problem: as `RequestBody.read`, and whatever `enough` raises.
        """
        check_length(request)
        request.received = True
        body = self._body(request)
        request.sent, complete = await body.receive_until(enough)
        request.rest = None if complete else body

    def _body(self, request: Request) -> RequestBody:
        return RequestBody(
            request,
            limit=request.route.max_body,
            idle=self._idle,
            min_rate=self._min_rate,
            deadlines=self._deadlines,
        )


def check_length(request: Request) -> None:
    """Refuse a body that is over the route's limit as far as is known: by its announced length, or by what is here.

    :raises Problem: `body_too_large`.
    """
    limit, length = request.route.max_body, request.headers.get(CONTENT_LENGTH)
    if (request.content.total_bytes if length is None else int(length)) > limit:
        raise too_large(limit)


def too_slow() -> Problem:
    return Problem("request_timeout", "the body arrives too slowly")


def too_large(limit: int) -> Problem:
    return Problem("body_too_large", f"the body is larger than the {limit} bytes this path takes")
