"""The backend for bodies and event streams: reads uploads to their end, writes downloads and timed events.

Rules: HTTP/1.1 with keep-alive but no pipelining, heads in one piece or many, uploads with Content-Length only (411
otherwise); never more in memory than one buffer a connection. Run as `python -m benchmarks.stream_backend PORT`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast

import uvloop

from benchmarks.traffic import DOWNLOAD, EVENTS

BUFFER_BYTES = 256 * 1024
BLOCK = bytes(BUFFER_BYTES)
EVENT_COUNT = 5
EVENT_GAP_SECONDS = 0.01
OPEN_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    b"X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n"
)


class Connection(asyncio.BufferedProtocol):
    """One connection: a head, then what it asks for, then the next head."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._head = b""
        self._body_left = 0
        self._body_size = 0
        self._send_left = 0
        self._writable = True
        self._events: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not derived from it

    def connection_lost(self, exc: Exception | None) -> None:
        self._send_left = 0
        if self._events is not None:
            self._events.cancel()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if not self._body_left:
            self._head += bytes(self._buffer[:nbytes])
            head, end, rest = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._head = b""
            self._begin(head.decode("latin-1"))
            nbytes = len(rest)
        if self._body_left:
            self._body_left -= nbytes
            if not self._body_left:
                self._answer(b'{"received":%d}' % self._body_size)

    def _begin(self, head: str) -> None:
        request_line, *lines = head.split("\r\n")
        method, target, _ = request_line.split(" ")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if target.startswith(DOWNLOAD):
            self._send_left = int(target.partition("size=")[2])
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"
                % self._send_left
            )
            self._send()
        elif target.startswith(EVENTS):
            self._events = asyncio.get_running_loop().create_task(self._send_events(target))
        elif method == "POST" and "content-length" not in fields:
            self._answer(b"{}", b"411 Length Required")
        else:
            self._body_left = self._body_size = int(fields.get("content-length", 0))
            if not self._body_left:
                self._answer(b'{"received":0}')

    def _answer(self, body: bytes, status: bytes = b"200 OK") -> None:
        head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        self._transport.write(head + body)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._send()

    def _send(self) -> None:
        while self._send_left and self._writable:
            size = min(self._send_left, BUFFER_BYTES)
            self._send_left -= size
            self._transport.write(BLOCK if size == BUFFER_BYTES else BLOCK[:size])

    async def _send_events(self, target: str) -> None:
        """Each event carries the clock at which it was written; the system's monotonic clock is one for all.

        :param target: may name other seconds between events, `?gap=3`.
        """
        gap = float(target.partition("gap=")[2] or EVENT_GAP_SECONDS)
        self._transport.write(OPEN_STREAM)
        for _ in range(EVENT_COUNT):
            await asyncio.sleep(gap)
            event = b"data: %d\n\n" % time.monotonic_ns()
            self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        self._transport.write(b"0\r\n\r\n")


async def serve(port: int) -> None:
    """Serve on 127.0.0.1:`port` until cancelled."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
