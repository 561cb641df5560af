"""Ten thousand broken requests, to a real gateway: it stays up, and its upstream sees only what was clearly asked.

Requests, good and hostile ones, are mutated by chance with a fixed seed, and sent in several packets. `strict` says
what each clearly asks for; the upstream reads what it gets by the same letter. Beside them a client sends clean
requests, one after the other, all the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
import struct
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from .harness import Gateway, free_port, running, write_table
from .strict import Asked, read

COUNT = 10_000
AT_ONCE = 64
# Seconds to wait for an answer that is due, and for one that is not; nothing fails when they pass.
DUE, NOT_DUE = 0.3, 0.005
PATIENCE = 20.0
STATUSES = {100, 200, 400, 404, 405, 408, 413, 414, 417, 431, 501, 505, 508}
# What the gateway writes or leaves out itself.
OWN = re.compile(rb"host|via|content-length|transfer-encoding|x-request-id|traceparent|x-forwarded-(for|proto|host)")

EVIL = b"GET /b/evil HTTP/1.1\r\nHost: a\r\nX-Evil: 1\r\n\r\n"
GET = b"GET /b/0 HTTP/1.1\r\nHost: a\r\nX-Mark: 0\r\n\r\n"
POST = b"POST /b/0 HTTP/1.1\r\nHost: a\r\nX-Mark: 0\r\n"
CHUNKS = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SEEDS = [
    GET,
    GET * 3,
    b"\r\n" + GET,
    b"HEAD /b/0?a=b%20c HTTP/1.1\r\nHost: a.b:80\r\nAccept: */*\r\nUser-Agent: x/1 (y; z)\r\n\r\n",
    b"GET /b/0 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + GET,
    b"GET http://a:80/b/0?x#y HTTP/1.1\r\nHost: a:80\r\n\r\n",
    b"GET https://[::1]/b/0 HTTP/1.1\r\nHost: [::1]\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 1\r\n\r\n" + GET,
    b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n" + EVIL,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /b/0/%2e%2e/%2F/%c0%ae;x/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n" + GET,
    POST + b"Content-Length: 5\r\n\r\nhello" + GET,
    POST + b"Content-Length: %d\r\nContent-Type: text/plain\r\n\r\n" % len(EVIL) + EVIL + GET,
    POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    POST + b"Content-Length: 0\r\n\r\n" + EVIL,
    POST + b"Content-Length: 5\r\nContent-Length: 44\r\n\r\nhello" + EVIL,
    POST + b"Content-Length: 18446744073709551615\r\n\r\n" + EVIL,
    CHUNKS + b"5\r\nhello\r\n0\r\n\r\n",
    CHUNKS + b'5;a=b;c="d"\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n' + GET,
    CHUNKS + b"%x\r\n%b\r\n0\r\n\r\n" % (len(EVIL), EVIL),
    CHUNKS + b"0\r\n\r\n" + EVIL,
    POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX" + EVIL,
    POST + b"Transfer-Encoding: xchunked\r\nContent-Length: 44\r\n\r\n" + EVIL,
    POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + EVIL,
    POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + EVIL,
    b"POST /b/0 HTTP/1.0\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n" + EVIL,
    GET[:-2] + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n" + EVIL,
    GET[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n" + EVIL,
    GET[:-2] + b"Connection: close, X-Mark, Host\r\nKeep-Alive: 1\r\nTE: trailers\r\n\r\n",
    GET[:-2] + b"X-Http-Method-Override: DELETE\r\nX_Mark: 2\r\nVia: 1.1 aiogateway\r\n\r\n",
    b"PUT /b/0 HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\nContent-Length: 2\r\nAuthorization: Bearer x\r\n\r\n{}",
]
INSERTED = [
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b"\x0b", b"\xff", b":", b",", b";", b"%", b"#", b"@", b"0", b"/../"),
    *(b"\r\n\r\n", b"\r\n ", b" \r\n", b"\x7f", b"\xc3\xa9", b"HTTP/1.1", b"http://b", b"Host: b\r\n", b"chunked, "),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding : chunked\r\n", b"Content-Length: 3\r\n", b"0\r\n\r\n"),
    *(b"Content-Length: +5\r\n", b"Connection: close\r\n", b"Upgrade: h2c\r\nConnection: upgrade\r\n", EVIL),
]


def mutated(rng: random.Random, number: int) -> bytes:
    """A seed, marked with a number, with a few changes."""
    data = bytearray(
        rng.choice(SEEDS).replace(b"/b/0", b"/b/%d" % number).replace(b"X-Mark: 0", b"X-Mark: %d" % number)
    )
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 5))):
        at, size = rng.randrange(len(data) + 1), rng.randint(1, 12)
        match rng.randrange(8):
            case 0 | 1:
                data[at:at] = rng.choice(INSERTED)
            case 2:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 3:
                data[at : at + 1] = bytes([byte ^ 1 << rng.randrange(8) for byte in data[at : at + 1]])
            case 4:
                del data[at : at + size]
            case 5:
                data[at:at] = data[at : at + size * 4]
            case 6:  # behind a line's end, where lines may stand
                ends = [found.end() for found in re.finditer(rb"\r\n", data)] or [0]
                at = rng.choice(ends)
                data[at:at] = rng.choice(INSERTED)
            case _:
                del data[at if rng.random() < 0.2 else len(data) :]
    return bytes(data)


def packets(rng: random.Random, data: bytes) -> list[bytes]:
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 0, 1, 2, 4))))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True) if start < end]


class Upstream(asyncio.Protocol):
    """Reads what the gateway sends by the letter, keeps it, and answers."""

    def __init__(self, seen: list[Asked], faults: list[bytes], opened: set[asyncio.Transport]) -> None:
        self._seen, self._faults, self._opened, self._held = seen, faults, opened, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._opened.add(transport)

    def data_received(self, data: bytes) -> None:
        asked, self._held, open_ended = read(self._held + data, strict=True)
        if not open_ended:
            self._faults.append(self._held)
            self._transport.close()
        self._seen += asked
        for _ in asked:
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self._opened.discard(self._transport)


async def exchange(port: int, rng: random.Random, data: bytes, due: int) -> list[int]:
    """Send bytes over a connection of their own; the statuses of what comes back until it ends or nothing is due."""
    loop, got = asyncio.get_running_loop(), b""
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # With a reset at the end: thousands of connections would wait in the kernel for nothing.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await loop.sock_connect(sock, ("127.0.0.1", port))
        with contextlib.suppress(ConnectionError, TimeoutError):
            for packet in packets(rng, data):
                await loop.sock_sendall(sock, packet)
                await asyncio.sleep(0)
            while True:
                wait = DUE if len(statuses(got)) < due else NOT_DUE
                more = await asyncio.wait_for(loop.sock_recv(sock, 65536), wait)
                if not more:
                    break
                got += more
    return statuses(got)


def statuses(got: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"(?m)^HTTP/1\.1 (\d{3}) ", got)]


async def ask_cleanly(port: int, until: asyncio.Event) -> int:
    """Send clean requests over one connection; how many were answered as they should be."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    count = 0
    try:
        while not until.is_set():
            writer.write(b"GET /b/clean/%d HTTP/1.1\r\nHost: a\r\n\r\n" % count)
            async with asyncio.timeout(PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ") and b"onnection: close" not in head, head
            count += 1
            await asyncio.sleep(0.01)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return count


class Run:
    """Everything that was sent and seen."""

    def __init__(self, port: int, seen: list[Asked]) -> None:
        self.port, self.seen = port, seen
        self.asked: list[Asked] = []
        self.answered: Counter[int] = Counter()

    async def everything(self) -> int:
        """Send all of it; how many clean requests were answered meanwhile."""
        done = asyncio.Event()
        clean = asyncio.create_task(ask_cleanly(self.port, done))
        try:
            numbers = iter(range(COUNT))
            await asyncio.gather(*(self.some(numbers) for _ in range(AT_ONCE)))
        finally:
            done.set()
            count = await clean
        return count

    async def some(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            rng = random.Random(number)
            data = mutated(rng, number)
            asked, _, open_ended = read(data)
            self.asked += asked
            self.answered.update(await exchange(self.port, rng, data, len(asked) + (not open_ended)))


def unasked(seen: list[Asked], asked: list[Asked]) -> list[Asked]:
    """What was seen, and not asked for with at least these fields."""
    known: defaultdict[tuple[bytes, bytes, bytes], list[frozenset[tuple[bytes, bytes]]]] = defaultdict(list)
    for each in asked:
        known[each.method, each.target, each.body].append(each.fields)
    return [
        each
        for each in seen
        if not any(
            {field for field in each.fields if OWN.fullmatch(field[0]) is None} <= fields
            for fields in known[each.method, each.target, each.body]
        )
    ]


async def run(gateway: Gateway, port: int) -> tuple[Run, list[bytes], int]:
    seen: list[Asked] = []
    faults: list[bytes] = []
    opened: set[asyncio.Transport] = set()
    loop, session = asyncio.get_running_loop(), Run(gateway.port, seen)
    async with await loop.create_server(lambda: Upstream(seen, faults, opened), "127.0.0.1", port):
        clean = await session.everything()
        for transport in opened:
            transport.abort()
        await asyncio.sleep(0)
        return session, faults, clean


def test_ten_thousand_mutated_requests_break_nothing_and_smuggle_nothing(tmp_path: Path) -> None:
    port = free_port()
    table = write_table(
        tmp_path / "config",
        f'[main]\nurl = "http://127.0.0.1:{port}"\n',
        'upstream = "main"\nauth = "public"\nrate_limit = "off"\n[[route]]\npath = "/b/{rest:path}"\n',
    )
    with running(table) as gateway:  # which judges its end, and what it wrote
        session, faults, clean = asyncio.run(run(gateway, port))
        assert gateway.process.poll() is None
        assert gateway.get("/healthz").status == 200
    seen = [each for each in session.seen if not each.target.startswith(b"/b/clean/")]
    assert not faults, f"the upstream got {faults[:3]}"
    assert set(session.answered) <= STATUSES, session.answered
    assert not (smuggled := unasked(seen, session.asked)), smuggled[:3]
    assert clean > 50 and session.answered[200] > 1000 and session.answered[400] > 1000, (clean, session.answered)
