"""Makes answers of what is stored, as each client asked: all of it, a part, or the word that it has it already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import Any

from aiohttp.hdrs import RANGE

from aiogateway.caching.answers import SharedAnswer, StoredAnswer
from aiogateway.caching.cache_status import hit_lines
from aiogateway.caching.conditions import Part, is_not_modified, lines_not_modified, part_of
from aiogateway.caching.entry import Entry, Key, Store
from aiogateway.caching.flight import Flight, Shared
from aiogateway.caching.flights import Flights
from aiogateway.compression import IDENTITY, Compression, encoded_lines
from aiogateway.linux import Buffer
from aiogateway.proxy.headers import date_line
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response

# As they stand in a coding: the same for everybody who takes that.
lines_in = lru_cache(maxsize=256)(encoded_lines)


class Giving:
    """:param flights: closed by whoever made them.
    :param clock: seconds since the epoch.
    """

    def __init__(self, store: Store, flights: Flights, compression: Compression, clock: Callable[[], float]) -> None:
        self._store = store
        self._flights = flights
        self._compression = compression
        self._clock = clock
        self._encoding: dict[tuple[str, str], asyncio.Task[bytes]] = {}

    async def close(self) -> None:
        """End what is under way. A second time is harmless."""
        tasks = list(self._encoding.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def hit(
        self, request: Request, key: Key, entry: Entry, age: float, *, plain: bool
    ) -> Coroutine[Any, Any, Response | None]:
        """What is stored, for a client, without asking the upstream; None when the body isn't there any more.

        :param age: of it, in seconds.
        :param plain: whether what is stored may be encoded for the client.
        """
        line = hit_lines(entry.freshness.lifetime - age, age)
        return self._give(request, key, entry, line, None, plain=plain)

    async def stored(
        self, request: Request, key: Key, entry: Entry, line: bytes, *, plain: bool, body: Buffer | None = None
    ) -> Response | None:
        """What is stored, for a client, after the upstream was asked; None when the body isn't there any more.

        :param line: what the answer says of the cache.
        :param plain: whether what is stored may be encoded for the client.
        :param body: if it is at hand.
        """
        return await self._give(request, key, entry, self.aged(entry, line), body, plain=plain)

    def aged(self, entry: Entry, lines: bytes) -> bytes:
        """Lines with the age of an entry that has one: it is not from the service just now (RFC 9111 section 5.1)."""
        age = int(entry.age(self._clock()))
        return b"%b\r\nAge: %d" % (lines, age) if age else lines

    async def _give(
        self, request: Request, key: Key, entry: Entry, line: bytes, body: Buffer | None, *, plain: bool
    ) -> Response | None:
        """:param line: beside those that are stored."""
        headers = request.headers
        coding = self._coding(request, entry.size) if plain and entry.encodable else IDENTITY
        stored = entry.lines if coding == IDENTITY else lines_in(entry.lines, coding)
        if is_not_modified(headers, entry):
            return StoredAnswer(304, [*lines_not_modified(stored), line], b"", None)
        part = part_of(headers, entry) if RANGE in headers and request.method == "GET" else None
        if part is not None:  # of the plain body, which is what its size is known of
            coding, stored = IDENTITY, entry.lines
        lines = [stored, line]
        if request.method == "HEAD":
            length = entry.size if coding == IDENTITY and entry.status != 204 else None
            return StoredAnswer(entry.status, lines, b"", length)
        found = body if coding == IDENTITY and body is not None else await self._store.body(key, entry, coding)
        if found is None and coding != IDENTITY:
            found = await self._encoded(key, entry, coding, body)
        if found is None:
            return None
        if part is not None:
            return self._part(entry, lines, found, part)
        return StoredAnswer(entry.status, lines, found, None if entry.status == 204 else len(found))

    def _coding(self, request: Request, size: int | None) -> str:
        """The coding for a client of what may be encoded."""
        choice = request.head.coding()
        return self._compression.coding(choice, size)

    async def _encoded(self, key: Key, entry: Entry, coding: str, plain: Buffer | None) -> Buffer | None:
        """A body in a coding that isn't stored: encoded for the first who takes that, and kept for all others.

        :param plain: if it is at hand.
        """
        if plain is None:
            plain = await self._store.body(key, entry)
            if plain is None:
                return None
        task = self._encoding.get((entry.id, coding))
        if task is None:
            task = asyncio.create_task(self._encode(key, entry, coding, plain))
            self._encoding[entry.id, coding] = task
            task.add_done_callback(lambda _: self._encoding.pop((entry.id, coding)))
        return await asyncio.shield(task)

    async def _encode(self, key: Key, entry: Entry, coding: str, plain: Buffer) -> bytes:
        encoded = await self._compression.encode(coding, plain)
        await self._store.keep_coded(key, entry, coding, encoded)
        return encoded

    def _part(self, entry: Entry, lines: list[bytes], body: Buffer, part: Part) -> Response:
        """RFC 9110 sections 15.3.7 and 15.5.17."""
        if part.first == part.end:
            return StoredAnswer(416, [*lines[1:], date_line(), b"Content-Range: bytes */%d" % entry.size], b"", 0)
        lines.append(b"Content-Range: bytes %d-%d/%d" % (part.first, part.end - 1, entry.size))
        return StoredAnswer(206, lines, body[part.first : part.end], part.end - part.first)

    def shared(self, request: Request, flight: Flight, shared: Shared, line: bytes, *, plain: bool) -> Response:
        """What arrives for many, for a client that has joined the flight which brings it.

        :param line: what the answer says of the cache.
        :param plain: whether it may be encoded for the client.
        """
        entry, size = shared.entry, shared.entry.size if shared.sized else None
        coding = self._coding(request, size) if plain and entry.encodable else IDENTITY
        lines = shared.lines if coding == IDENTITY else encoded_lines(shared.lines, coding)
        if is_not_modified(request.headers, entry):
            flight.leave()
            return StoredAnswer(304, [*lines_not_modified(lines), line], b"", None)
        coded = None if coding == IDENTITY else self._flights.coded(flight, shared, coding)
        if coded is None:
            return SharedAnswer(flight, entry.status, [shared.lines, line], shared.stream, size)
        return SharedAnswer(flight, entry.status, [lines, line], coded, None)
