"""The public listener on a real socket, with a handler of the test's own, and a client that sends what it is told to.

Deadlines go by a clock that stands still, so a test says when a wait is over; timers of the event loop are real.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import termios
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import cast

from aiogateway.address import Network
from aiogateway.deadlines import Deadlines
from aiogateway.errors import Problem
from aiogateway.overload import Door
from aiogateway.proxy.connection import ClientConnection
from aiogateway.proxy.listener import Server
from aiogateway.proxy.record import Record
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response, problem_response
from aiogateway.proxy.terms import Handler
from tests.clock import Clock, eventually

# Seconds that any one wait of a test may take.
PATIENCE = 30.0


@dataclass
class Answer:
    """One answer as it came. `lines` are its fields, by name in lower case; the last of equal names wins."""

    status: int
    lines: dict[str, str]
    body: bytes


@dataclass
class Client:
    """A client's end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, *, bodiless: bool = False) -> Answer:
        """The next answer; its body must have a `Content-Length`, unless it has none whatever the head says."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            start, *fields = head[:-4].split("\r\n")
            lines = {name.lower(): value for name, _, value in (line.partition(": ") for line in fields)}
            body = await self.reader.readexactly(0 if bodiless else int(lines.get("content-length", "0")))
        assert start.startswith("HTTP/1.1 ")
        return Answer(int(start.split()[1]), lines, body)

    async def rest(self) -> bytes:
        """Everything up to the connection's end."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read(-1)

    async def some(self) -> bytes:
        """What comes next, or nothing at the connection's end, however that comes about."""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE):
                return await self.reader.read(65536)
        return b""

    async def leave(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


class Served:
    """A server that listens."""

    def __init__(self, server: Server, watching: Watching, deadlines: Deadlines, clock: Clock, port: int) -> None:
        self.server = server
        self.watching = watching
        self.deadlines = deadlines
        self.clock = clock
        self._port = port
        self._clients: list[Client] = []

    async def client(self, data: bytes = b"") -> Client:
        """A new connection, on which these bytes are sent."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self._port))
        self._clients.append(client)
        client.send(data)
        return client

    def connection(self) -> ClientConnection:
        """The server's end of the only connection."""
        (connection,) = self.server.connections
        return cast(ClientConnection, connection)

    async def caught_up(self) -> None:
        """Wait until the server took in every byte that was sent on the only connection."""
        transport = self.connection().transport
        assert transport is not None
        number = transport.get_extra_info("socket").fileno()
        await eventually(
            lambda: fcntl.ioctl(number, termios.FIONREAD, bytes(4)) == bytes(4), "the server reads what was sent"
        )

    def pass_time(self, seconds: float) -> None:
        """Let deadlines expire."""
        self.clock.advance(seconds)
        self.deadlines.sweep()

    async def close(self) -> None:
        for client in self._clients:
            await client.leave()
        for connection in self.server.connections:
            connection.force_close()
        await eventually(lambda: not self.server.connections, "every connection ends")


class Watching:
    """Remembers the record of every request that is over."""

    def __init__(self) -> None:
        self.active = 0
        self.records: list[Record] = []

    def finished(self, request: Request) -> None:
        self.records.append(request.record)


def answer_unparsed(problem: Problem, request: Request) -> Response:
    request.record.code = problem.code
    return problem_response(problem, "unparsed", close=True)


def refuse(problem: Problem) -> bytes:
    return problem_response(problem, "unparsed", close=True).in_full()


@contextlib.asynccontextmanager
async def serving(
    handler: Handler,
    *,
    keepalive_timeout: float = 75.0,
    download_min_rate: int = 0,
    trusted: Sequence[Network] = (),
    door: Door | None = None,
) -> AsyncIterator[Served]:
    """A listener on a free port of 127.0.0.1, closed with all its connections at the end."""
    clock = Clock()
    deadlines = Deadlines(clock)
    watching = Watching()
    server = Server(
        handler,
        observer=watching,
        answer_unparsed=answer_unparsed,
        refuse=refuse,
        deadlines=deadlines,
        header_timeout=10.0,
        keepalive_timeout=keepalive_timeout,
        download_min_rate=download_min_rate,
        trusted=trusted,
        door=door or Door(1000, 0),
    )
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    served = Served(server, watching, deadlines, clock, listener.sockets[0].getsockname()[1])
    try:
        yield served
    finally:
        listener.close()
        await served.close()


async def echo(request: Request) -> Response:
    """Says what it was asked, with the body it was sent; a problem of the body becomes the answer."""
    parts: list[bytes] = []
    try:
        while chunk := await request.content.readany():
            parts.append(chunk)
    except Problem as problem:
        return problem_response(problem, "echo", close=True)
    major, minor = request.version
    lines = [f"X-Asked: {request.method} {request.path}{request.query} {major}.{minor}".encode()]
    return Response(200, lines, b"".join(parts))


def after(event: asyncio.Event) -> Handler:
    """An echo that waits first."""

    async def slow(request: Request) -> Response:
        await event.wait()
        return await echo(request)

    return slow
