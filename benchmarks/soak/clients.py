"""Clients that ask again and again over kept-alive connections, and count what goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

IDEMPOTENT: Final = frozenset({"GET", "PUT"})
# Seconds after which an answer that didn't come counts as none.
PATIENCE: Final = 30.0


@dataclass(frozen=True)
class Ask:
    """A kind of request.

    :ivar size: bytes of its body, which are made up.
    :ivar fields: lines of its head, each with its end.
    :ivar body: in place of one that is made up.
    """

    method: str
    path: str
    size: int = 0
    fields: str = ""
    body: bytes = b""


@dataclass
class Told:
    """What clients saw.

    :ivar repeated: idempotent requests whose kept connection closed before a byte of the answer.
    :ivar wrong: what went wrong, by what it was.
    :ivar lost: the client's port of each connection on which that was, 0 where none was made.
    :ivar took: seconds of each answer that was as it should be.
    """

    asked: int = 0
    repeated: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    lost: list[int] = field(default_factory=list)
    took: list[float] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return self.wrong.total()


class Closed(Exception):
    """The connection closed before a byte of the answer."""


class Client:
    """One connection at a time to a port of 127.0.0.1."""

    def __init__(self, port: int, told: Told, numbers: itertools.count[int] | None = None) -> None:
        self._port = port
        self._told = told
        self._numbers = numbers
        self._pair: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._own_port = 0

    async def ask(self, kind: Ask, fine: Sequence[int] = (200,)) -> None:
        """Ask, and take note of how it went."""
        told, began = self._told, time.monotonic()
        told.asked += 1
        number = "" if self._numbers is None else f"X-Number: {next(self._numbers)}\r\n"
        kept = self._pair is not None
        try:
            async with asyncio.timeout(PATIENCE):
                try:
                    status = await self._exchange(kind, number)
                except Closed:
                    self.close()
                    if not kept or kind.method not in IDEMPOTENT:
                        raise
                    told.repeated += 1
                    status = await self._exchange(kind, number)
        except (OSError, asyncio.IncompleteReadError, Closed) as exc:
            told.wrong[f"{kind.method} {kind.path}: {type(exc).__name__}"] += 1
            told.lost.append(self._own_port)
            self.close()
            return
        told.statuses[status] += 1
        if status in fine:
            told.took.append(time.monotonic() - began)
        else:
            told.wrong[f"{kind.method} {kind.path}: {status}"] += 1

    async def _exchange(self, kind: Ask, number: str) -> int:
        if self._pair is None:
            self._own_port = 0
            self._pair = await asyncio.open_connection("127.0.0.1", self._port)
            self._own_port = self._pair[1].get_extra_info("sockname")[1]
        reader, writer = self._pair
        length = f"Content-Length: {kind.size or len(kind.body)}\r\n" if kind.method != "GET" else ""
        fields = "Host: soak\r\n" + kind.fields + number + length
        try:
            writer.write(f"{kind.method} {kind.path} HTTP/1.1\r\n{fields}\r\n".encode() + kind.body)
            for sent in range(0, kind.size, 1 << 16):
                writer.write(b"x" * min(1 << 16, kind.size - sent))
                await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
        except ConnectionError as exc:
            raise Closed from exc
        except asyncio.IncompleteReadError as exc:
            if exc.partial:
                raise
            raise Closed from exc
        answered = head.lower()
        if b"transfer-encoding: chunked" in answered:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                await reader.readexactly(size + 2)
            await reader.readuntil(b"\r\n")
        else:
            await reader.readexactly(int(answered.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        if b"connection: close" in answered:
            self.close()
        return int(head[9:12])

    def close(self) -> None:
        if self._pair is not None:
            self._pair[1].close()
            self._pair = None


@contextlib.asynccontextmanager
async def asking(
    port: int,
    kinds: Sequence[Ask],
    count: int,
    told: Told,
    *,
    numbers: itertools.count[int] | None = None,
    fine: Sequence[int] = (200,),
    pause: Callable[[], float] | None = None,
) -> AsyncIterator[None]:
    """Have so many clients ask for as long as the block lasts; each finishes its last request.

    :param numbers: numbers every request, so that the backend can tell whether it came twice.
    :param fine: statuses that are as they should be.
    :param pause: seconds between two requests of a client.
    """
    over = False

    async def run(offset: int) -> None:
        client = Client(port, told, numbers)
        for kind in itertools.islice(itertools.cycle(kinds), offset, None):
            if over:
                break
            await client.ask(kind, fine)
            await asyncio.sleep(0 if pause is None else pause())
        client.close()

    tasks = [asyncio.create_task(run(number % len(kinds))) for number in range(count)]
    try:
        yield
    finally:
        over = True
        await asyncio.gather(*tasks)
