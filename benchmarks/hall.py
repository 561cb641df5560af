"""Both ends of many event streams, in one process, so that one clock times an event's way.

Each end is as thin as a protocol can be. An event says when it was sent, and events are spread over the second. Nothing
is dropped without a word: as many must arrive as were sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, cast

from benchmarks import processes
from benchmarks.stream_backend import OPEN_STREAM

# Seconds between looks at what is due, and in which the last event must arrive.
TICK: Final = 0.001
LAST: Final = 1.0
# Streams that are opened at once, and seconds that their heads may take.
OPENING: Final = 100
PATIENCE: Final = 10.0

EVENT: Final = re.compile(rb"data: (\d+)\n\n")
HEAD_END: Final = b"\r\n\r\n"
REQUEST: Final = (
    b"GET /live HTTP/1.1\r\nHost: gateway.test\r\nAccept: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\nLast-Event-ID: 7\r\nUser-Agent: benchmark\r\n\r\n"
)


class Source(asyncio.Protocol):
    """The upstream's end of a stream."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is not derived from it

    def data_received(self, data: bytes) -> None:
        self._head += data
        if self._head.endswith(HEAD_END):
            self._head = b""
            self.transport.write(OPEN_STREAM)
            self._hall.sources.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if (lost := self._hall.lost) is not None and not lost.done():
            lost.set_result(time.monotonic_ns())

    def send(self) -> None:
        event = b"data: %d\n\n" % time.monotonic_ns()
        self.transport.write(b"%x\r\n%b\r\n" % (len(event), event))


class Listener(asyncio.Protocol):
    """A client's end of one."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._head: bytes | None = b""
        self.headed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += data
            if HEAD_END not in self._head:
                return
            head, _, data = self._head.partition(HEAD_END)
            self._head = None
            if head.startswith(b"HTTP/1.1 200 "):
                self.headed.set_result(None)
            else:
                self.headed.set_exception(processes.BenchError(f"an answer was {head[:100]!r}"))
        now = time.monotonic_ns()
        self._hall.delays.extend([now - int(sent) for sent in EVENT.findall(data)])


class Late(NamedTuple):
    """Milliseconds from an event's sending to its arrival: at the median, of 99 % at most, of all at most."""

    median: float
    p99: float
    most: float

    def __str__(self) -> str:
        return f"an event is late by {self.median:.2f} ms at the median, {self.p99:.2f} at p99, {self.most:.2f} at most"


@dataclass
class Hall:
    """All streams of one measurement.

    :ivar delays: nanoseconds from sending to arrival, of each event.
    :ivar lost: when the upstream lost the next stream, in nanoseconds of the monotonic clock.
    """

    sources: list[Source] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)
    delays: list[int] = field(default_factory=list)
    lost: asyncio.Future[int] | None = None
    sent: int = 0

    async def open(self, port: int, count: int) -> None:
        """Open so many streams."""
        loop = asyncio.get_running_loop()
        for opened in range(0, count, OPENING):
            made = await asyncio.gather(
                *(
                    loop.create_connection(lambda: Listener(self), "127.0.0.1", port)
                    for _ in range(min(OPENING, count - opened))
                )
            )
            self.listeners += [listener for _, listener in made]
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*(listener.headed for _, listener in made))

    async def send(self, seconds: float) -> None:
        """Send an event a second on each stream, spread over it, and wait for the last one."""
        self.delays.clear()
        self.sent, count, began = 0, len(self.sources), time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            for number in range(self.sent, int(passed * count)):
                self.sources[number % count].send()
            self.sent = int(passed * count)
            await asyncio.sleep(TICK)
        await asyncio.sleep(LAST)
        if len(self.delays) != self.sent:
            raise processes.BenchError(f"{len(self.delays)} of {self.sent} events arrived")

    async def leave(self) -> float:
        """A client leaves; milliseconds until the upstream knows."""
        self.lost, left = asyncio.get_running_loop().create_future(), time.monotonic_ns()
        self.listeners.pop().transport.abort()
        async with asyncio.timeout(PATIENCE):
            return (await self.lost - left) / 1e6

    def late(self) -> Late:
        """How late events were."""
        found = sorted(delay / 1e6 for delay in self.delays)
        return Late(statistics.median(found), found[len(found) * 99 // 100], found[-1])


@contextlib.asynccontextmanager
async def listening(hall: Hall) -> AsyncIterator[int]:
    """The upstream's port."""
    server = await asyncio.get_running_loop().create_server(lambda: Source(hall), "127.0.0.1", 0, backlog=1024)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for end in [each.transport for each in hall.sources] + [each.transport for each in hall.listeners]:
            end.abort()
        await asyncio.sleep(0.1)
