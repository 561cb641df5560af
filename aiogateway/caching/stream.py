"""A body on its way, for as many clients as want it.

Each reads at its own pace. Up to a bound all of it is held, so that who comes later gets it from the beginning; beyond
that only what somebody has yet to read, and then whoever writes waits for the slowest.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from aiogateway.errors import Problem


class Stream:
    """:param bound: bytes that are held at most, but for one chunk.
    :param awaited: how many are yet to join who must get it from the beginning.

    :ivar size: bytes so far.
    :ivar whole: whether all of it is held.
    :ivar ended: whether nothing more comes.
    """

    def __init__(self, bound: int, awaited: Callable[[], int]) -> None:
        self._bound = bound
        self._awaited = awaited
        self._chunks: deque[bytes] = deque()
        self._first = 0
        self._held = 0
        self._problem: Problem | None = None
        self._written = asyncio.Event()
        self._read = asyncio.Event()
        self._readers: set[Reader] = set()
        self.size = 0
        self.whole = True
        self.ended = False

    async def put(self, chunk: bytes) -> None:
        """Give on what came, and wait until there is room for more."""
        self._chunks.append(chunk)
        self._held += len(chunk)
        self.size += len(chunk)
        self.whole = self.whole and self.size <= self._bound
        _wake(self._written)
        while not self.whole and not self.ended:
            if not self._awaited():
                self._let_go()
            if self._held <= self._bound:
                return
            await self._read.wait()

    def _let_go(self) -> None:
        """Forget what everybody has read."""
        read_by_all = min((reader.at for reader in self._readers), default=self._first + len(self._chunks))
        while self._first < read_by_all:
            self._held -= len(self._chunks.popleft())
            self._first += 1

    def end(self) -> None:
        """Nothing more comes: that was all."""
        self.ended = True
        self._awaited = _nobody  # nor is it asked again; who answered may hold what holds this, a cycle for each answer
        _wake(self._written)

    def fail(self, problem: Problem) -> None:
        """Nothing more comes, and that was not all."""
        self._problem = problem
        self.end()

    def body(self) -> bytes:
        """All of it, for when that is held."""
        return b"".join(self._chunks)

    def join(self) -> Reader:
        """Read from the beginning, which must be held still; whoever joins closes what it gets."""
        reader = Reader(self)
        self._readers.add(reader)
        _wake(self._read)
        return reader

    def leave(self, reader: Reader) -> None:
        """Read no more; a second time is harmless."""
        self._readers.discard(reader)
        _wake(self._read)

    def at_hand(self, at: int) -> bool:
        """Whether a chunk is there, by its number."""
        return at < self._first + len(self._chunks)

    async def chunk(self, at: int) -> bytes:
        """A chunk by its number, once it is there; empty at the end.

        :raises Problem: the end never came.
        """
        while not self.at_hand(at):
            if self._problem is not None:
                raise self._problem
            if self.ended:
                return b""
            await self._written.wait()
        return self._chunks[at - self._first]

    def was_read(self) -> None:
        """Somebody has read a chunk: there may be room for more."""
        if not self.whole:
            _wake(self._read)


class Reader:
    """One who reads a stream.

    :ivar at: the number of the chunk that comes next.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.at = 0

    @property
    def at_hand(self) -> bool:
        """Whether the next chunk is there already."""
        return self._stream.at_hand(self.at)

    async def next(self) -> bytes:
        """The next chunk; empty at the end.

        :raises Problem: the end never came.
        """
        chunk = await self._stream.chunk(self.at)
        if chunk:
            self.at += 1
            self._stream.was_read()
        return chunk

    def close(self) -> None:
        """Read no more; a second time is harmless."""
        self._stream.leave(self)


def _nobody() -> int:
    return 0


def _wake(event: asyncio.Event) -> None:
    """Wake whoever waits now, and nobody who comes later."""
    event.set()
    event.clear()
