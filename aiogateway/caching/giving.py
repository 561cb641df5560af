"""Makes answers of what is stored, as each client asked: all of it, a part, or the word that it has it already."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp.hdrs import RANGE

from aiogateway.caching.answers import SharedAnswer, StoredAnswer
from aiogateway.caching.cache_status import hit_line
from aiogateway.caching.conditions import Part, is_not_modified, lines_not_modified, part_of
from aiogateway.caching.entry import Entry, Key, Store
from aiogateway.caching.flight import Flight, Shared
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response


class Giving:
    """:param clock: seconds since the epoch."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    async def close(self) -> None:
        """End what is under way."""

    async def hit(self, request: Request, key: Key, entry: Entry, now: float, *, plain: bool) -> Response | None:
        """What is stored, for a client, without asking the upstream; None when the body isn't there any more.

        :param now: seconds since the epoch.
        :param plain: whether what is stored may be encoded for the client.
        """
        lines = [hit_line(entry.ttl(now)), b"Age: %d" % entry.age(now)]
        return await self._give(request, key, entry, lines, None, plain=plain)

    async def stored(
        self, request: Request, key: Key, entry: Entry, line: bytes, *, plain: bool, body: bytes | None = None
    ) -> Response | None:
        """What is stored, for a client, after the upstream was asked; None when the body isn't there any more.

        :param line: what the answer says of the cache.
        :param plain: whether what is stored may be encoded for the client.
        :param body: if it is at hand.
        """
        age = int(entry.age(self._clock()))
        # RFC 9111 section 5.1: an age says that the answer is not from the service just now.
        lines = [line, b"Age: %d" % age] if age else [line]
        return await self._give(request, key, entry, lines, body, plain=plain)

    async def _give(
        self, request: Request, key: Key, entry: Entry, lines: list[bytes], body: bytes | None, *, plain: bool
    ) -> Response | None:
        """:param lines: beside those that are stored."""
        headers = request.headers
        if is_not_modified(headers, entry):
            return StoredAnswer(304, [*lines_not_modified(entry.lines), *lines], b"", None)
        lines.insert(0, entry.lines)
        if request.method == "HEAD":
            return StoredAnswer(entry.status, lines, b"", None if entry.status == 204 else entry.size)
        if body is None:
            body = await self._store.body(key, entry)
            if body is None:
                return None
        if RANGE in headers and (part := part_of(headers, entry)) is not None:
            return self._part(entry, lines, body, part)
        return StoredAnswer(entry.status, lines, body, None if entry.status == 204 else len(body))

    def _part(self, entry: Entry, lines: list[bytes], body: bytes, part: Part) -> Response:
        """RFC 9110 sections 15.3.7 and 15.5.17."""
        if part.first == part.end:
            return StoredAnswer(416, [*lines[1:], b"Content-Range: bytes */%d" % entry.size], b"", 0)
        lines.append(b"Content-Range: bytes %d-%d/%d" % (part.first, part.end - 1, entry.size))
        return StoredAnswer(206, lines, body[part.first : part.end], part.end - part.first)

    def shared(self, request: Request, flight: Flight, shared: Shared, line: bytes, *, plain: bool) -> Response:
        """What arrives for many, for a client that takes part in the flight which brings it."""
        if is_not_modified(request.headers, shared.entry):
            flight.leave()
            return StoredAnswer(304, [*lines_not_modified(shared.lines), line], b"", None)
        return SharedAnswer(flight, shared, [shared.lines, line])
