"""Upstreams that do what a script says, byte by byte, and connections to them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp.client_reqrep import ClientRequest
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader
from yarl import URL

from aiogateway.upstreams.connection import UpstreamConnection
from aiogateway.upstreams.connector import Connector, open_session

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """The upstream's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def head(self) -> bytes:
        """A request's head."""
        return await self._reader.readuntil(b"\r\n\r\n")

    async def exactly(self, count: int) -> bytes:
        return await self._reader.readexactly(count)

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        return await self._reader.read(-1)

    async def say(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        linger = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


@contextlib.asynccontextmanager
async def upstream(script: Script) -> AsyncIterator[int]:
    """Runs `script` for every connection to the port it gives; when the script is through, the connection closes."""
    running: set[asyncio.Task[None]] = set()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await script(Peer(reader, writer))
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.get_running_loop().create_task(play(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in running:
            task.cancel()
        for ended in await asyncio.gather(*running, return_exceptions=True):
            assert ended is None or isinstance(ended, asyncio.CancelledError), ended


@contextlib.asynccontextmanager
async def connecting(script: Script) -> AsyncIterator[Callable[[], Awaitable[UpstreamConnection]]]:
    """A function that connects to an upstream with this script."""
    async with upstream(script) as port, open_session() as session:
        loop = asyncio.get_running_loop()
        key = ClientRequest("GET", URL(f"http://127.0.0.1:{port}/"), loop=loop, session=session)
        yield Connector(session, key).connect


@contextlib.asynccontextmanager
async def connected(script: Script) -> AsyncIterator[UpstreamConnection]:
    """One connection to an upstream with this script."""
    async with connecting(script) as connect:
        connection = await connect()
        try:
            yield connection
        finally:
            connection.close()


def answering(*answers: bytes, then: Script | None = None) -> Script:
    """A script that gives one answer after the other to requests without a body, and goes on as `then`."""

    async def script(peer: Peer) -> None:
        for answer in answers:
            await peer.head()
            await peer.say(answer)
        await (then or Peer.rest)(peer)

    return script


async def head_of(connection: UpstreamConnection) -> tuple[RawResponseMessage, StreamReader]:
    """The next head, and the body that is read from then on."""
    message, connection.payload = await connection.next_head()
    assert connection.take_head(message)
    return message, connection.payload


async def ask(connection: UpstreamConnection, *, bodiless: bool = False) -> tuple[int, bytes]:
    """One exchange: status and whole body."""
    connection.begin(GET, bodiless=bodiless)
    message, payload = await head_of(connection)
    parts: list[bytes] = []
    while chunk := await payload.readany():
        parts.append(chunk)
    connection.complete(message)
    return message.code, b"".join(parts)
