"""The clients that are no load generator: latency of one connection, bulk bodies, event delays. Raw sockets.

Rules: one command, one JSON object on standard output, exit 1 with a line when an answer is not what was asked for.
Run as `python -m benchmarks.client COMMAND PORT …`, pinned by the caller.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from benchmarks.traffic import EVENTS_GET, SMALL_GET, download, upload

BLOCK = memoryview(bytes(1024 * 1024))
TIMEOUT_SECONDS = 30.0
WARM_REQUESTS = 200
EVENT = re.compile(rb"data: (\d+)\n")


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    """A connection to 127.0.0.1:`port` without Nagle's delay."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def read_head(connection: socket.socket) -> tuple[int, bytes]:
    """Content-Length and the body's first bytes of a 200; anything else ends the program with what came."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            sys.exit(f"the connection closed before an answer: {data[:200]!r}")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    if not head.startswith(b"HTTP/1.1 200") or length is None:
        sys.exit(f"not a 200 with Content-Length: {head[:200]!r} {rest[:300]!r}")
    return int(length[1]), rest


def read_answer(connection: socket.socket) -> bytes:
    """The whole body of a small 200."""
    length, body = read_head(connection)
    while len(body) < length:
        body += connection.recv(65536)
    return body


def latency(proxied: int, direct: int, count: int) -> dict[str, float]:
    """Milliseconds of the median small GET through the proxy and past it, taken in turns on two connections."""
    head = SMALL_GET.head()
    times: dict[int, list[float]] = {proxied: [], direct: []}
    with connected(proxied) as by_proxy, connected(direct) as straight:
        for _ in range(WARM_REQUESTS + count):
            for port, connection in ((proxied, by_proxy), (direct, straight)):
                start = time.perf_counter()
                connection.sendall(head)
                read_answer(connection)
                times[port].append((time.perf_counter() - start) * 1000)
    through, past = (statistics.quantiles(times[port][WARM_REQUESTS:], n=100) for port in (proxied, direct))
    return {
        "p50_ms": through[49],
        "p99_ms": through[98],
        "direct_p50_ms": past[49],
        "added_p50_ms": through[49] - past[49],
    }


def send(port: int, size: int) -> None:
    """Upload `size` bytes and check that the backend counted them all."""
    with connected(port) as connection:
        connection.sendall(upload(size).head())
        left = size
        while left:
            block = BLOCK[:left]
            connection.sendall(block)
            left -= len(block)
        if json.loads(read_answer(connection)) != {"received": size}:
            sys.exit("the backend did not get the whole upload")


def receive(port: int, size: int) -> None:
    """Download `size` bytes and count them."""
    buffer = memoryview(bytearray(len(BLOCK)))
    with connected(port) as connection:
        connection.sendall(download(size).head())
        length, rest = read_head(connection)
        got = len(rest)
        while got < length:
            step = connection.recv_into(buffer)
            if not step:
                break
            got += step
        if got != size:
            sys.exit(f"the download ended after {got} of {size} bytes")


def bulk(one: Callable[[int, int], None], port: int, size: int, streams: int) -> dict[str, float]:
    """`streams` transfers of `size` bytes at once; GiB a second over all of them."""
    start = time.perf_counter()
    with ThreadPoolExecutor(streams) as pool:
        for done in [pool.submit(one, port, size) for _ in range(streams)]:
            done.result()
    return {"gib_s": size * streams / 2**30 / (time.perf_counter() - start)}


def events(port: int, streams: int) -> dict[str, float]:
    """Milliseconds from the backend's write of a stream's first event to its arrival, over `streams` streams."""
    first: list[float] = []
    later: list[float] = []
    for _ in range(streams):
        delays: list[float] = []
        with connected(port) as connection:
            connection.sendall(EVENTS_GET.head())
            while data := connection.recv(65536):
                now = time.monotonic_ns()
                delays.extend((now - int(written)) / 1e6 for written in EVENT.findall(data))
                if data.endswith(b"0\r\n\r\n"):
                    break
        if not delays:
            sys.exit("the stream ended without an event")
        first.append(delays[0])
        later.extend(delays[1:])
    return {
        "first_event_ms": statistics.median(first),
        "first_event_max_ms": max(first),
        "later_event_ms": statistics.median(later),
    }


COMMANDS: dict[str, Callable[..., dict[str, float]]] = {
    "latency": latency,
    "upload": lambda port, size, streams: bulk(send, port, size, streams),
    "download": lambda port, size, streams: bulk(receive, port, size, streams),
    "events": events,
}

if __name__ == "__main__":
    try:
        print(json.dumps(COMMANDS[sys.argv[1]](*map(int, sys.argv[2:]))))
    except OSError as broken:
        sys.exit(f"{sys.argv[1]}: {broken}")
