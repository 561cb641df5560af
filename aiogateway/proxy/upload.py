"""What is left of a request's body on its way to an upstream, while its answer may be on its way already."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiogateway.deadlines import Credit, Deadlines
from aiogateway.errors import Problem
from aiogateway.pipes import Impossible
from aiogateway.proxy.request import Rest
from aiogateway.splice import Patience, SourceLost, Splice, possible
from aiogateway.upstreams.connection import UpstreamConnection

NOT_READING: Final = "the service stopped reading the request"
# A chunk up to this is copied into one buffer with its framing; a larger one is written beside it.
JOIN: Final = 16 * 1024


class Upload:
    """Passes the rest of a body on, chunk by chunk, as fast as the upstream takes it and no faster.

    It begins at once. What goes wrong wakes whoever reads the answer.

    :param rest: where the rest of the body comes from.
    :param chunked: whether it is framed in chunks.
    :param idle: seconds that the upstream may keep it waiting.
    :param on_sent: called when all of it is with the connection.
    :ivar sent: whether it is.
    """

    __slots__ = ("_chunked", "_connection", "_deadlines", "_on_sent", "_rest", "_task", "idle", "sent")

    def __init__(
        self,
        connection: UpstreamConnection,
        rest: Rest,
        deadlines: Deadlines,
        *,
        chunked: bool,
        idle: float,
        on_sent: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._rest = rest
        self._deadlines = deadlines
        self._chunked = chunked
        self._on_sent = on_sent
        self.idle = idle
        self.sent = False
        self._task = asyncio.create_task(self._send())

    def cancel(self) -> None:
        """Send no more; harmless once all is sent."""
        self._task.cancel()

    async def _send(self) -> None:
        connection, chunked, body = self._connection, self._chunked, self._rest
        body.read_plainly()
        try:
            while chunk := await body.read():
                write_chunk(connection.write, chunk) if chunked else connection.write(chunk)
                chunk = b""  # not to be held while the upstream reads
                if connection.must_wait:
                    await self._bounded(connection.drain)
                if not chunked:
                    await self._splice()
        except Problem as problem:
            connection.fail(problem)
            return
        except ConnectionError:
            return  # the upstream closed: reading says what it said before that
        if chunked:
            connection.write(b"0\r\n\r\n")
        self.sent = True
        self._on_sent()

    async def _splice(self) -> None:
        """Have the kernel move the rest of the body, if it is long enough, or as much of it as it can.

        :raises Problem: one side keeps the other waiting for too long, or the client is gone.
        :raises ConnectionError: the upstream takes no more.
        """
        connection, body = self._connection, self._rest
        if not possible(body.left()) or (sink := connection.descriptor()) is None or (held := body.hold()) is None:
            return
        source, arrived, giving = held
        taking = Patience(self.idle, Credit(0), lambda: Problem("upstream_timeout", NOT_READING))
        try:
            if arrived:
                connection.write(arrived)
            await self._bounded(connection.flushed)
            connection.write(await Splice(source, sink, body.left(), self._deadlines, giving, taking).run())
        except Impossible:
            return
        except ConnectionResetError:
            connection.was_reset()
            raise
        except SourceLost as exc:
            raise Problem("client_closed") from exc
        finally:
            body.moved(giving)

    async def _bounded(self, taken: Callable[[], Awaitable[None]]) -> None:
        """Wait until the upstream has taken something, for as long as it may keep us waiting."""
        deadline = self._deadlines.after(self.idle, self._not_reading)
        try:
            await taken()
        finally:
            deadline.cancel()

    def _not_reading(self) -> None:
        self._connection.fail(Problem("upstream_timeout", NOT_READING))


def write_chunk(write: Callable[[bytes], None], chunk: bytes) -> None:
    """Write one chunk with its framing (RFC 9112 section 7.1)."""
    if len(chunk) <= JOIN:
        write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
    else:
        write(b"%x\r\n" % len(chunk))
        write(chunk)
        write(b"\r\n")
