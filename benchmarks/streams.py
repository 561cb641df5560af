"""Event streams: how late a chunk is, what many open streams cost, and how soon a client's leaving is known.

Upstream and clients are one process, so that one clock times a chunk's way; each is as thin as a protocol can be, and
the same is measured without a gateway between, because they share a core. An event says when it was sent, and events
are spread over the second. Nothing is dropped without a word: as many must arrive as were sent.

Run as `python -m benchmarks.streams`; with `--check` exit 1 when a figure is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, cast

import uvloop

from benchmarks import gateway, processes
from benchmarks.stream_backend import OPEN_STREAM

SOME: Final = 1000
MANY: Final = 5000
# Seconds that are measured, and seconds before that in which everything comes to rest.
SECONDS: Final = 20.0
REST: Final = 3.0
TICK: Final = 0.001
# Seconds in which the last event must arrive.
LAST: Final = 1.0
LEAVING: Final = 100
OPENING: Final = 100
PATIENCE: Final = 10.0
LATE_MS: Final = 5.0
LATE_OF_MANY_MS: Final = 250.0
LEFT_MS: Final = 100.0
MEMORY_MIB: Final = 300.0
CORE: Final = 0.80

EVENT: Final = re.compile(rb"data: (\d+)\n\n")
HEAD_END: Final = b"\r\n\r\n"
REQUEST: Final = (
    b"GET /live HTTP/1.1\r\nHost: gateway.test\r\nAccept: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\nLast-Event-ID: 7\r\nUser-Agent: benchmark\r\n\r\n"
)
ROUTES: Final = """
[[route]]
path = "/live"
upstream = "bench"
auth = "public"
rate_limit = "off"
"""


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


@contextlib.contextmanager
def serving(folder: Path, upstream: int, core: str) -> Iterator[tuple[int, int]]:
    """A gateway in `folder` before 127.0.0.1:`upstream`; its process id and its port."""
    (folder / "table" / "routes").mkdir(parents=True)
    (folder / "table" / "upstreams.toml").write_text(f'[bench]\nurl = "http://127.0.0.1:{upstream}"\n')
    (folder / "table" / "routes" / "bench.toml").write_text(ROUTES)
    port, admin_port, log = processes.free_port(), processes.free_port(), folder / "gateway.log"
    environ = gateway.environment(folder / "table", port, admin_port, guards=False)
    environ |= {"GATEWAY_POOL_MAX_STREAMS": str(MANY)}
    with processes.running([sys.executable, "-m", "aiogateway", "serve"], core, log, environ) as pid:
        processes.wait_for_port(port, pid, log)
        yield pid, port


@dataclass
class Figures:
    """What one measurement gave.

    :ivar left: milliseconds until the upstream knew, of each client that left.
    :ivar memory: MiB.
    :ivar cpu: cores.
    :ivar waited: milliseconds that the gateway waited for its core, which others use too.
    """

    late: Late
    left: list[float]
    memory: float
    cpu: float
    waited: float


async def direct(count: int, seconds: float) -> Late:
    """How late events are on so many streams without a gateway."""
    hall = Hall()
    async with listening(hall) as port:
        await hall.open(port, count)
        await hall.send(seconds)
    return hall.late()


async def through(count: int, folder: Path, core: str) -> Figures:
    """So many streams through one."""
    hall = Hall()
    async with listening(hall) as upstream:
        with serving(folder, upstream, core) as (pid, port):
            await hall.open(port, count)
            await hall.send(REST)
            before, waited = processes.cpu_seconds(pid), processes.waited_seconds(pid)
            await hall.send(SECONDS)
            cpu = (processes.cpu_seconds(pid) - before) / SECONDS
            waited = processes.waited_seconds(pid) - waited
            memory = processes.resident_mib(pid)
            left = [await hall.leave() for _ in range(LEAVING)]
            return Figures(hall.late(), left, memory, cpu, waited * 1e3)


async def measure(folder: Path, core: str) -> bool:
    """Print the figures; whether all bounds are kept."""
    kept = True
    for count, bound in ((SOME, LATE_MS), (MANY, LATE_OF_MANY_MS)):
        print(f"{f'{count} streams, direct':24} {await direct(count, SECONDS)}")
        found = await through(count, folder / str(count), core)
        print(f"{f'{count} streams, gateway':24} {found.late}")
        left = max(found.left)
        print(
            f"{'':24} {found.cpu:.0%} of a core, for which it waited {found.waited:.0f} ms, {found.memory:.0f} MiB;"
            f" {LEAVING} clients leave: the upstream knows after {statistics.median(found.left):.1f} ms at the median,"
            f" {left:.1f} at most"
        )
        kept = kept and found.late.most <= bound and left <= LEFT_MS
    return kept and found.memory <= MEMORY_MIB and found.cpu <= CORE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 when a figure is missed")
    wanted = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    ours, theirs = processes.cores()
    os.sched_setaffinity(0, {int(core) for core in theirs.split(",")})
    gc.disable()  # its own pauses are not the gateway's
    with tempfile.TemporaryDirectory() as folder:
        kept = uvloop.run(measure(Path(folder), ours))
    print(
        f"bounds: {LATE_MS:.0f} ms at {SOME} streams, {LATE_OF_MANY_MS:.0f} at {MANY}; {LEFT_MS:.0f} ms for leaving;"
        f" {MEMORY_MIB:.0f} MiB and {CORE:.0%} of a core at {MANY}: {'kept' if kept else 'missed'}"
    )
    return int(wanted.check and not kept)


if __name__ == "__main__":
    sys.exit(main())
