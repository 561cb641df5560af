"""Bodies that go from one socket to another inside the kernel (splice(2)), without a copy in this process.

Owns the pipe between the two and whoever has to be waited for. Rules: the transports of both sockets are still while
this runs: the source's doesn't read, the sink's has nothing left to write. What was taken from the source and not given
to the sink is lost when this fails; both connections are of no more use then.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
from collections.abc import Callable
from typing import Final

from aiogateway.deadlines import Credit, Deadline, Deadlines
from aiogateway.linux import descriptor_limit
from aiogateway.pipes import CAPACITY, PIPES, Impossible, Pipes

# A body of which no more is left is copied: that is cheaper.
LEAST: Final = 128 * 1024
# Bytes that all pipes hold, which the kernel has to keep for clients that read slowly; none holds less than the second.
IN_PIPES: Final = 64 << 20
LITTLE: Final = 64 * 1024
# Bodies at once, unless descriptors are few: each takes four, and all together no more than a quarter.
MOST: Final = 1024
# Pieces that are moved in one turn of the loop.
IN_A_ROW: Final = 8
# Seconds between looks at who keeps us waiting.
LOOK: Final = 5.0

_FLAGS: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class SourceLost(Exception):
    """The source closed its connection, or lost it, in the middle of the body."""


def descriptor_of(transport: asyncio.BaseTransport | None) -> int | None:
    """The descriptor of a transport's socket; None where bytes are more than what goes over the wire, as with TLS."""
    if transport is None or transport.is_closing() or transport.get_extra_info("sslcontext") is not None:
        return None
    sock = transport.get_extra_info("socket")
    return sock.fileno() if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6) else None


class Patience:
    """How long one side may keep us waiting.

    :param idle: seconds in which something must move; None: any number.
    :param credit: what it has to keep up.
    :param exhausted: makes what is raised when it doesn't.
    :ivar waited: seconds that it was waited for.
    :ivar bytes: how many it gave, or took.
    """

    __slots__ = ("bytes", "credit", "exhausted", "idle", "waited")

    def __init__(self, idle: float | None, credit: Credit, exhausted: Callable[[], Exception]) -> None:
        self.idle = idle
        self.credit = credit
        self.exhausted = exhausted
        self.waited = 0.0
        self.bytes = 0

    def book(self, waited: float, count: int) -> bool:
        """Note how long it was waited for, and what moved; whether it keeps up what it has to."""
        self.waited += waited
        self.bytes += count
        return self.credit.spend(waited, count)


class Splice:
    """One body on its way.

    :param source: descriptor of a socket; not closed here.
    :param sink: the same.
    :param length: bytes to be moved, more than none.
    :param giving: with the source; none of its bytes are booked yet.
    :param taking: the same with the sink.
    :param brief: stop where the sink would have to be waited for.
    :param pipes: where one is taken from.
    """

    running = 0

    def __init__(
        self,
        source: int,
        sink: int,
        length: int,
        deadlines: Deadlines,
        giving: Patience,
        taking: Patience,
        *,
        brief: bool = False,
        pipes: Pipes = PIPES,
    ) -> None:
        self._source, self._sink = source, sink
        self._length = length
        self._deadlines = deadlines
        self._giving, self._taking = giving, taking
        self._brief = brief
        self._pipes = pipes
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._awaited: Patience | None = None
        self._deadline: Deadline | None = None
        self._since = self._booked = 0.0
        self._own: list[int] = []

    async def run(self) -> bytes:
        """Move all of it, or as much as `brief` says.

        :returns: what was taken of the source and is still to be given to the sink.
        :raises Impossible: no descriptors are left; nothing was moved.
        :raises SourceLost: the source has no more.
        :raises ConnectionError: the sink takes no more.
        :raises Exception: what a side's patience makes.
        """
        pipe = self._outlet, self._inlet = self._pipes.take()
        empty = True
        Splice.running += 1
        try:
            self._own_descriptors()
            empty = False
            self._turn()
            if self._done.done():
                self._done.result()
            else:
                await self._done
            left = self._left_in_pipe()
            empty = True
            return left
        finally:
            Splice.running -= 1
            self._ready()
            self._pipes.give_back(pipe, empty=empty)
            for descriptor in self._own:
                os.close(descriptor)

    def _own_descriptors(self) -> None:
        """Take descriptors of our own for both sockets.

        The loop lets nobody else watch a transport's. And once a transport is closed, its number may be another
        client's.

        :raises Impossible: none are left.
        """
        try:
            for descriptor in (self._source, self._sink):
                self._own.append(os.dup(descriptor))
        except OSError as exc:
            self._pipes.tell(exc)
            raise Impossible from exc
        self._source, self._sink = self._own

    def _left_in_pipe(self) -> bytes:
        held, pieces = self._giving.bytes - self._taking.bytes, []
        while held:
            pieces.append(os.read(self._outlet, held))
            held -= len(pieces[-1])
        return b"".join(pieces)

    def _turn(self) -> None:
        """Move what can be moved at once, and wait for whoever is not ready."""
        if self._done.done():
            return
        try:
            for _ in range(IN_A_ROW):
                held = self._giving.bytes - self._taking.bytes
                if not held and self._taking.bytes == self._length:
                    self._done.set_result(None)
                    return
                if not (self._empty(held) if held else self._fill(self._length - self._giving.bytes)):
                    return
        except (OSError, SourceLost) as exc:
            self._done.set_exception(exc)
            return
        self._loop.call_soon(self._turn)  # others first

    def _fill(self, left: int) -> bool:
        """Take from the source; False when it has to be waited for.

        :raises SourceLost: it has no more.
        """
        try:
            much = min(CAPACITY, max(LITTLE, IN_PIPES // Splice.running))
            count = os.splice(self._source, self._inlet, min(much, left), flags=_FLAGS)
        except BlockingIOError:
            self._wait(self._giving, self._source)
            return False
        except OSError as exc:
            raise SourceLost from exc
        if not count:
            raise SourceLost
        self._giving.book(0.0, count)
        return True

    def _empty(self, held: int) -> bool:
        """Give to the sink; False when it has to be waited for."""
        try:
            count = os.splice(self._outlet, self._sink, held, flags=_FLAGS)
        except BlockingIOError:
            self._wait(self._taking, self._sink)
            return False
        except ConnectionError:
            raise
        except OSError as exc:
            raise ConnectionResetError("the connection is lost") from exc
        self._taking.book(0.0, count)
        return True

    def _wait(self, side: Patience, descriptor: int) -> None:
        if self._brief and side is self._taking:
            self._done.set_result(None)
            return
        self._awaited = side
        self._since = self._booked = self._deadlines.clock()
        self._look_later(0.0)
        watch = self._loop.add_reader if side is self._giving else self._loop.add_writer
        watch(descriptor, self._resume)

    def _resume(self) -> None:
        side = self._awaited
        if side is not None and not self._ready() and not self._done.done():
            self._done.set_exception(side.exhausted())
        self._turn()

    def _ready(self) -> bool:
        """Nobody is waited for any more; whether whoever was kept up what it has to."""
        side, self._awaited = self._awaited, None
        if side is None:
            return True
        if self._deadline is not None:
            self._deadline.cancel()
        if side is self._giving:
            self._loop.remove_reader(self._source)
        else:
            self._loop.remove_writer(self._sink)
        return self._book(side)

    def _book(self, side: Patience) -> bool:
        """Note that a side was waited for; whether it keeps up what it has to."""
        now = self._deadlines.clock()
        waited, self._booked = now - self._booked, now
        return side.book(waited, 0)

    def _look_later(self, waited: float) -> None:
        side = self._awaited
        if side is not None:
            left = LOOK if side.idle is None else min(LOOK, side.idle - waited)
            self._deadline = self._deadlines.after(left, self._look)

    def _look(self) -> None:
        side = self._awaited
        if side is None or self._done.done():
            return
        good = self._book(side)
        waited = self._booked - self._since
        if good and (side.idle is None or waited < side.idle):
            self._look_later(waited)
        else:
            self._done.set_exception(side.exhausted())


def possible(left: int) -> bool:
    """Whether it is worth it for so many bytes, and there are not too many already."""
    return left > LEAST and Splice.running < most()


@functools.cache
def most() -> int:
    """How many bodies may be moved at once; not to be asked before this process may open as many as it ever will."""
    return min(MOST, descriptor_limit() // 16)
