"""A request as the gateway sees it: a thin view on what the parser gave.

aiohttp's own `Request` costs more than the whole way through the gateway.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Final, Protocol

from aiohttp.helpers import set_exception
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from multidict import istr

from aiogateway.address import client_of
from aiogateway.errors import Problem
from aiogateway.proxy.head import Head
from aiogateway.proxy.headers import (
    RawFields,
    goes_outward,
    has_control,
    named_by_connection,
    trusted_forwarded_lines,
    without,
)
from aiogateway.proxy.pace import Pace
from aiogateway.proxy.record import Record
from aiogateway.routes import Match, Route
from aiogateway.splice import Patience
from aiogateway.tokens import Identity
from aiogateway.websocket.handshake import Handshake

X_FORWARDED_FOR: Final = istr("X-Forwarded-For")


class Stream(Protocol):
    """An event stream, or a WebSocket, that a connection carries."""

    def end_with(self, problem: Problem) -> None: ...


class Connection(Protocol):
    """What a request needs of the client's connection it came on."""

    forwarded: bytes
    peer: str
    scheme: str
    trusted_peer: bool
    closing: bool
    surplus: bool
    stream: Stream | None
    transport: asyncio.Transport | None

    @property
    def trusted(self) -> Sequence[IPv4Network | IPv6Network]: ...

    @property
    def writing_paused(self) -> bool: ...

    def pace(self, stream_idle: float | None) -> Pace: ...

    def read_plainly(self, content: StreamReader, length: int) -> None: ...

    def descriptor(self) -> int | None: ...

    def body_descriptor(self) -> int | None: ...

    def hold_body(self) -> None: ...

    def body_moved(self, count: int) -> None: ...

    def taking(self) -> Patience: ...

    def flush(self, *, whole: bool) -> None: ...

    def unsent(self) -> int: ...

    def reset(self) -> None: ...

    def force_close(self) -> None: ...

    @property
    def spoke_early(self) -> bool: ...

    def hand_over(self) -> asyncio.Transport: ...

    def take_back(self) -> None: ...


class Rest(Protocol):
    """What of a body is still to come.

    :ivar length: bytes of the whole body; None in chunks.
    :ivar watch: looks at every chunk from now on, before it goes anywhere, and at nothing at the end; may raise
        `Problem`.
    """

    length: int | None
    watch: Callable[[bytes], None] | None

    async def read(self) -> bytes: ...

    def read_plainly(self) -> None: ...

    def left(self) -> int: ...

    def hold(self) -> tuple[int, bytes, Patience] | None: ...

    def moved(self, giving: Patience) -> None: ...


class Request:
    """One request. What the client sent is never changed; what middlewares find out about it is filled in later.

    `path` and `query` are as the client wrote them; `query` includes its `?`. A token that came with a WebSocket's
    handshake stands in `head` and `headers` as if it had come in `Authorization`; the raw fields stay as they came.

    :ivar cors: the CORS policy of what was asked for; empty until that is known.
    :ivar due: field lines that every answer to this request carries, whoever makes it.
    :ivar record: what becomes known of it.
    :ivar trace_lines: the fields that name its trace to the upstream, without the last line end.
    :ivar handshake: of the WebSocket that it asks for, and may have; None for any other request.
    :ivar identity: what a verified token says; None without one.
    :ivar fields: what the guards wanted of the body: the values of each field by its name in the route's file.
    :ivar received: whether reading the body has begun: `sent` is what of it is at hand, `rest` where more comes from.
    """

    __slots__ = (
        "authority",
        "connection",
        "content",
        "cors",
        "due",
        "fields",
        "handshake",
        "head",
        "headers",
        "id",
        "id_line",
        "identity",
        "keep_alive",
        "match",
        "message",
        "method",
        "path",
        "query",
        "received",
        "record",
        "rest",
        "route",
        "sent",
        "trace_lines",
        "version",
    )

    route: Route
    match: Match
    fields: Mapping[str, Sequence[bytes]]
    authority: str | None  # of a target in absolute form

    def __init__(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        connection: Connection,
        head: Head,
    ) -> None:
        self.message = message
        self.head = head
        self.content = payload
        self.connection = connection
        self.record = Record(time.monotonic())
        self.trace_lines = b""
        self.id = ""
        self.id_line = b""
        self.cors = ""
        self.due: list[bytes] = []
        self.handshake: Handshake | None = None
        self.identity: Identity | None = None
        self.received = False
        self.sent: bytes = b""
        self.rest: Rest | None = None
        self.method = message.method
        self.headers = head.headers
        self.version = message.version
        self.keep_alive = not message.should_close
        target, self.authority = message.path, None
        if target[0] != "/":
            self.authority, target = origin_form(target)
        if "?" in target:
            self.path, _, query = target.partition("?")
            self.query = "?" + query
        else:
            self.path, self.query = target, ""

    @property
    def has_body(self) -> bool:
        """Whether the head announced a body with something in it (RFC 9112 section 6.3)."""
        return not self.content.is_eof() or self.content.total_bytes > 0

    @property
    def client(self) -> str:
        """The client's address, seen through the proxies that are trusted."""
        connection = self.connection
        if not connection.trusted_peer:
            return connection.peer
        return client_of(connection.peer, self.headers.getall(X_FORWARDED_FOR, ()), connection.trusted)

    def forwarded_lines(self) -> bytes:
        """The `X-Forwarded-*` lines for the upstream."""
        connection, host = self.connection, self.head.host
        if connection.trusted_peer:
            return trusted_forwarded_lines(self.message.raw_headers, connection.peer, connection.scheme, host)
        return connection.forwarded + host

    def public_origin(self) -> bytes:
        """Scheme and authority by which the client knows us, for `Location` fields."""
        scheme, host = self.connection.scheme, self.headers.get("Host", "")
        if self.connection.trusted_peer:
            # The first of a list is what the client itself said to the first proxy.
            told = self.headers.get("X-Forwarded-Proto", scheme).partition(",")[0].strip().lower()
            scheme = told if told in ("http", "https") else scheme
            host = self.headers.get("X-Forwarded-Host", host).partition(",")[0].strip()
        return f"{scheme}://{host}".encode("utf-8", "surrogateescape") if host else b""

    def write(self, data: bytes | memoryview) -> None:
        """Put bytes on the client's connection.

        :raises ConnectionResetError: the client is gone.
        """
        transport = self.connection.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client closed the connection")
        transport.write(data)

    def early_hints(self, fields: RawFields, connection: Sequence[str]) -> None:
        """Pass a 103 on (RFC 8297); a client of HTTP/1.0 knows no interim answers."""
        if self.version >= (1, 1):
            named = named_by_connection(connection)
            lines = [b": ".join(field) for field in without(fields, named) if goes_outward(field[0].lower())]
            head = b"\r\n".join([b"HTTP/1.1 103 Early Hints", *lines, b"\r\n"])
            if not has_control(head):  # a hint that can't be given on is none
                self.write(head)

    @property
    def must_wait(self) -> bool:
        """Whether the client reads slower than we write."""
        return self.connection.writing_paused

    def abort(self) -> None:
        """Cut the client's connection off: after a head is sent, that is the only way left to say 'not complete'.

        With a reset, because to a client whose body ends with the connection an orderly end would say 'complete'.
        """
        self.connection.reset()

    # What aiohttp's server calls on a request.
    def _finish(self) -> None:
        pass

    def _cancel(self, exc: BaseException) -> None:
        set_exception(self.content, exc)


def origin_form(target: str) -> tuple[str | None, str]:
    """Authority, and path with query, of an absolute-form target, as written (RFC 9112 section 3.2.2).

    A target of any other form is given back as it is, without an authority.
    """
    _, separator, rest = target.partition("://")
    if not separator:
        return None, target
    cut = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    path = rest[cut:]
    return rest[:cut], path if path[:1] == "/" else "/" + path
