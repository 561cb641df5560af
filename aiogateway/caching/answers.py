"""Answers that the cache gives: what is stored, and what arrives for many at once."""

from __future__ import annotations

from aiogateway.caching.flight import Flight
from aiogateway.caching.stream import Stream
from aiogateway.errors import Problem
from aiogateway.linux import Buffer
from aiogateway.proxy.response import Response, status_line
from aiogateway.proxy.upload import write_chunk


class StoredAnswer(Response):
    """An answer whose body is at hand.

    :param length: what `Content-Length` says; None for an answer that has none.
    """

    __slots__ = ("_length",)

    def __init__(self, status: int, lines: list[bytes], body: Buffer, length: int | None) -> None:
        super().__init__(status, lines, body)
        self._length = length

    def head(self, ending: bytes) -> bytes:
        framing = b"\r\n" if self._length is None else b"\r\nContent-Length: %d\r\n" % self._length
        return b"%b%b%b%b" % (status_line(self.status), b"\r\n".join(self.lines), framing, ending)


class SharedAnswer(Response):
    """An answer whose body arrives for several clients.

    :param flight: which brings it; this answer takes part in it, and ends that.
    :param stream: the body, plain or in a coding.
    :param size: of the body in bytes; None when that isn't known.
    """

    __slots__ = ("_flight", "_reader", "_size")

    def __init__(self, flight: Flight, status: int, lines: list[bytes], stream: Stream, size: int | None) -> None:
        super().__init__(status, lines)
        self._flight = flight
        self._size = size
        self._reader = flight.read(stream)

    async def write_eof(self, data: bytes = b"") -> None:
        """Write the head, and the body as it arrives.

        :raises ConnectionResetError: the client is gone, or had to be cut off.
        """
        request, reader = self.request, self._reader
        chunked = self._size is None and request.version >= (1, 1)
        if self._size is not None:
            framing = b"Content-Length: %d\r\n" % self._size
        elif chunked:
            framing = b"Transfer-Encoding: chunked\r\n"
        else:
            self.keep_alive, framing = False, b""  # HTTP/1.0: the end of the connection is the end of the body
        try:
            request.write(
                b"%b%b\r\n%b%b" % (status_line(self.status), b"\r\n".join(self.lines), framing, self.connection_line())
            )
            while chunk := await reader.next():
                request.record.bytes_out += len(chunk)
                if chunked:
                    write_chunk(request.write, chunk)
                else:
                    request.write(chunk)
                if request.must_wait:
                    await self.wait_for_client()
            if chunked:
                request.write(b"0\r\n\r\n")
            if request.must_wait:
                await self.wait_for_client()
        except Problem as exc:
            request.record.code = exc.code
            request.abort()
            raise ConnectionResetError("the answer could not be completed") from exc
        finally:
            self._flight.done(reader)
