"""Answers, and how they are written once every middleware has seen them.

aiohttp's server calls `prepare` and `write_eof` on what the outermost handler returned. Until then nothing is sent,
so a middleware may still add lines. A head and a body that is already there share one write.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import orjson

from aiogateway.errors import MEDIA_TYPE, Problem, title_of
from aiogateway.linux import Buffer
from aiogateway.proxy.headers import date_line
from aiogateway.proxy.pace import Pace
from aiogateway.proxy.request import Request

# A body up to this that has arrived whole is sent in one write with its head.
SMALL_ANSWER: Final = 128 * 1024
# Bytes of a larger one that is at hand, which are written at once.
PIECE: Final = 64 * 1024


@lru_cache(maxsize=512)
def status_line(status: int) -> bytes:
    """A status line with the registered phrase: an upstream's own phrase is its text, and may be anything."""
    return b"HTTP/1.1 %d %b\r\n" % (status, title_of(status).encode())


class Response:
    """An answer of the gateway's own, its body in memory.

    :param lines: field lines, at least one, without their line ends. Middlewares add to them before it is written.
    :param close: whether the client's connection ends with this answer.
    """

    __slots__ = ("_pace", "body", "close", "keep_alive", "lines", "request", "status", "stream_idle")

    def __init__(self, status: int, lines: list[bytes], body: Buffer = b"", *, close: bool = False) -> None:
        self.status = status
        self.lines = lines
        self.body = body
        self.close = close
        self.keep_alive: bool | None = None
        self.stream_idle: float | None = None
        self._pace: Pace | None = None

    def begin(self, request: Request) -> None:
        """Decide whether the connection is kept (RFC 9112 section 9.3)."""
        self.request = request
        request.record.status = self.status
        self.keep_alive = request.keep_alive and not self.close and not request.connection.closing

    async def prepare(self, request: Any) -> None:
        """`begin`, for where aiohttp's server calls."""
        self.begin(request)

    def connection_line(self) -> bytes:
        """The `Connection` line, where the version's default is not what we do; it ends the head."""
        if not self.keep_alive:
            return b"Connection: close\r\n\r\n"
        return b"\r\n" if self.request.version >= (1, 1) else b"Connection: keep-alive\r\n\r\n"

    def head(self, ending: bytes) -> bytes:
        return b"%b%b\r\nContent-Length: %d\r\n%b" % (
            status_line(self.status),
            b"\r\n".join(self.lines),
            len(self.body),
            ending,
        )

    def abandon(self) -> None:
        """Let go of what it holds: nobody is going to have it."""

    def in_full(self) -> bytes:
        """Head and body of an answer that ends its connection, for where there is no request."""
        return b"".join((self.head(b"Connection: close\r\n\r\n"), self.body))

    async def wait_for_client(self) -> None:
        """Wait while the client reads; one that reads too slowly is cut off."""
        self._pace = self._pace or self.request.connection.pace(self.stream_idle)
        since = time.monotonic()
        try:
            await self._pace.drain()
        finally:
            self.request.record.sending += time.monotonic() - since

    async def write_eof(self, data: bytes = b"") -> None:
        """Write the whole answer, a large one no faster than the client reads.

        :raises ConnectionResetError: the client is gone, or had to be cut off.
        """
        request = self.request
        head = self.head(self.connection_line())
        if request.method == "HEAD":
            request.write(head)
        elif len(self.body) > SMALL_ANSWER:
            request.write(head)
            await self._write_in_pieces(request)
        else:
            request.write(b"".join((head, self.body)))
            request.record.bytes_out = len(self.body)
        if request.must_wait:
            await self.wait_for_client()
        if request.content.exception() is not None:
            # The rest of the body can't be read to its end: hang up, once the answer is out.
            request.connection.force_close()

    async def _write_in_pieces(self, request: Request) -> None:
        """Write the body so that no more than a piece of it waits for a client."""
        whole = memoryview(self.body)
        for start in range(0, len(whole), PIECE):
            piece = whole[start : start + PIECE]
            request.write(piece)
            request.record.bytes_out += len(piece)
            if request.must_wait:
                await self.wait_for_client()


@contextlib.contextmanager
def abandoning(response: Response) -> Iterator[None]:
    """Let go of an answer if what is done before it is given fails, or is given up."""
    try:
        yield
    except BaseException:
        response.abandon()
        raise


def problem_response(problem: Problem, request_id: str, *, close: bool = False) -> Response:
    """A problem as an answer (RFC 9457)."""
    lines = [date_line(), b"Content-Type: %b" % MEDIA_TYPE.encode()]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in problem.headers]
    return Response(problem.status, lines, problem.body(request_id), close=close)


def json_response(status: int, content: object) -> Response:
    """A small JSON answer."""
    return Response(status, [date_line(), b"Content-Type: application/json"], orjson.dumps(content))
