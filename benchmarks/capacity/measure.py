"""Takes the figures of the capacity model that `scripts/bench` doesn't write down, and writes them as JSON.

Memory of connections and streams, CPU of an event, of a message, of a stored answer, of a TLS handshake, and what a
check of a limit costs a Redis and the worker that asks it. CPU time on a shared machine differs by half between runs.

Run as `python -m benchmarks.capacity.measure FILE`: three minutes, mostly waiting. It needs wrk, nginx, redis-server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import socket
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import trustme
import uvloop

from aiogateway.stores import Policy, SharedCounters
from aiogateway.stores.redis import RedisCounters
from benchmarks import caching, footprint, machine, processes, streams, websocket
from benchmarks.backend import backends
from tests.redis_server import RedisServer

STREAMS: Final = streams.MANY  # a busy worker: one wake-up finds several events
SOCKETS: Final = 32
IDLE_SOCKETS: Final = 2000
CACHE_ROUNDS: Final = 2
CHECKS: Final = 40_000
AT_ONCE: Final = 32
HANDSHAKES: Final = 300
# A log of times is the dearer kind, a count the common one; no event passes meanwhile.
POLICY: Final = Policy("600/hour", 600, 3600, "measured", logged=False)

# Name, value, unit, and how it was taken.
Taken = Iterator[tuple[str, float, str, str]]


def connections() -> Taken:
    """Memory of a worker, and of what clients hold open."""
    how = "python -m benchmarks.footprint, part "
    names = (("idle", ("worker_new", "worker", "client")), ("streams", ("download", "stream")))
    for part, words in names:
        for word, figure in zip(words, footprint.take((part,)), strict=True):
            yield f"{word}_{figure.unit.lower()}", figure.measured, figure.unit, how + part


def events(folder: Path, core: str) -> Taken:
    """An event of a stream, at an event a second on each."""
    found = uvloop.run(streams.through(STREAMS, folder, core, real_time=False))
    yield "event_us", found.cpu / STREAMS * 1e6, "µs", f"benchmarks.streams, {STREAMS} streams, an event a second each"


async def _sockets(folder: Path, core: str) -> tuple[float, float]:
    server = await asyncio.get_running_loop().create_server(websocket.Echo, "127.0.0.1", 0, backlog=4096)
    async with server:
        with websocket.proxies(folder, server.sockets[0].getsockname()[1], core) as found:
            pid, port = found["gateway"]
            echo = await websocket.cost(pid, port, SOCKETS)
            before = processes.resident_mib(pid)
            clients = await websocket.opened(port, IDLE_SOCKETS)
            await asyncio.sleep(websocket.REST)
            each = (processes.resident_mib(pid) - before) * 1024 / IDLE_SOCKETS
            for client in clients:
                client.transport.abort()
    return echo / 2, each


def sockets(folder: Path, core: str) -> Taken:
    """A message of 1 KiB, and the memory of an idle socket."""
    folder.mkdir()
    message, each = uvloop.run(_sockets(folder, core))
    yield "message_us", message, "µs", f"benchmarks.websocket, {SOCKETS} sockets, half of an echo of 1 KiB"
    yield "socket_kib", each, "KiB", f"benchmarks.websocket, {IDLE_SOCKETS} idle sockets"


def stored(folder: Path, core: str, others: str) -> Taken:
    """A stored answer, over one that is fetched."""
    ratios = []
    with backends(folder / "backends", others) as ports, caching.serving(folder, ports.answers, core) as (pid, port):
        for _ in range(CACHE_ROUNDS):
            proxied, hit = (caching.cpu_us(pid, port, path, folder, others) for path in ("/proxied", "/cached"))
            ratios.append(hit / proxied)
    yield "hit_of_proxied", statistics.median(ratios), "times", "benchmarks.caching, stored over fetched"


def _cpu(work: Callable[[], object]) -> float:
    """CPU seconds of this process that something takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


async def _ask(url: str, pid: int, count: int) -> tuple[float, float]:
    counters, left = RedisCounters(url, timeout=10.0), iter(range(count))

    async def one() -> None:
        for number in left:
            await counters.take([(POLICY, f"address {number % 5000}")])

    await counters.ping()
    theirs, ours = processes.cpu_seconds(pid), time.process_time()
    await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    ours, theirs = time.process_time() - ours, processes.cpu_seconds(pid) - theirs
    await counters.close()
    return theirs / count * 1e6, ours / count * 1e6


def _told(port: int, line: str, name: str) -> int:
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(f"{line}\r\nQUIT\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    return int(answer.split(name)[1].split()[0])


def checks(count: int = CHECKS) -> Taken:
    """A check of a limit: a Redis that is asked, the worker that asks it, and what a counter takes there."""
    local = SharedCounters(10_000)
    own = _cpu(lambda: [local.take([(POLICY, f"address {n % 5000}")]) for n in range(count)]) / count * 1e6
    local.close()
    with RedisServer() as server:
        before = _told(server.port, "INFO memory", "used_memory:")
        theirs, ours = uvloop.run(_ask(server.url, server.pid, count))
        held = _told(server.port, "INFO memory", "used_memory:") - before
        counters = _told(server.port, "DBSIZE", ":")
    how = f"{AT_ONCE} at once over one connection, the gateway's script, one counter a check"
    yield "redis_check_us", theirs, "µs", f"CPU of redis-server, {how}"
    yield "worker_check_us", ours - own, "µs", f"CPU of the asking worker beyond the check in its own memory, {how}"
    yield "redis_counter_bytes", held / counters, "bytes", "used_memory a key, a counter of sub-windows with few in use"


def _shake(server: ssl.SSLContext, client: ssl.SSLContext) -> float:
    """CPU seconds of the server's part of a full handshake."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    mine = server.wrap_bio(up, down, server_side=True)
    theirs = client.wrap_bio(down, up, server_hostname="gateway.test")
    spent, done = 0.0, [False, False]
    while not all(done):
        for place, side in enumerate((theirs, mine)):
            began = time.process_time()
            try:
                side.do_handshake()
                done[place] = True
            except ssl.SSLWantReadError:
                pass
            spent += (time.process_time() - began) * place
    return spent


def handshakes(count: int = HANDSHAKES) -> Taken:
    """A full handshake of TLS 1.3 with a certificate on P-256, the server's part."""
    authority, server, client = (
        trustme.CA(),
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    )
    authority.issue_cert("gateway.test", key_type=trustme.KeyType.ECDSA).configure_cert(server)
    authority.configure_trust(client)
    taken = statistics.median(_shake(server, client) for _ in range(count))
    yield "handshake_us", taken * 1e6, "µs", "TLS 1.3, P-256, full, server's part, Python's ssl"


def taken() -> Taken:
    """All figures, one after the other."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    own, others = processes.cores()
    yield from handshakes()
    yield from checks()
    yield from connections()
    os.sched_setaffinity(0, {int(core) for core in others.split(",")})
    with tempfile.TemporaryDirectory() as folder:
        yield from events(Path(folder, "events"), own)
        yield from sockets(Path(folder, "sockets"), own)
        yield from stored(Path(folder), own, others)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="where to write, such as docs/benchmarks/DATE-capacity.json")
    wanted = parser.parse_args()
    began, measured = machine.describe(), {}
    for name, value, unit, how in taken():
        print(f"{name:24} {value:9.2f} {unit:6} {how}", flush=True)
        measured[name] = {"value": round(value, 3), "unit": unit, "how": how}
    wanted.file.write_text(json.dumps({"machine": began, "measured": measured}, indent=1, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
