"""The requests that the cache has under way: owns their tasks.

1. Ask the upstream; a 304 renews what is stored, and one that is about something else is asked again without condition.
2. Decide by the head whether the answer is for many; one that is not goes to the client that asked first.
3. Give it on as it arrives, and store it when it is complete.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import aiohttp
from aiohttp.hdrs import CONTENT_LENGTH

from aiogateway.caching.conditions import renewed
from aiogateway.caching.entry import Entry, Key, Store
from aiogateway.caching.flight import Alone, Failed, Flight, Shared, Stored
from aiogateway.caching.inquiry import Inquiry
from aiogateway.caching.storing import ANEW, Asked, Selecting, entry_of, lines_without
from aiogateway.caching.stream import Reader, Stream
from aiogateway.compression import Compression, Piecewise
from aiogateway.compression.policy import EVENTS
from aiogateway.errors import Problem
from aiogateway.proxy.record import Record
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response, abandoning
from aiogateway.proxy.retell import media_type
from aiogateway.proxy.shelf import Shelf
from aiogateway.proxy.upstream_answer import UpstreamAnswer

# Bytes of a body on its way that are held though there is no room for it.
LEAST: Final = 64 * 1024
BROKE_OFF: Final = "the service broke off in the middle of its answer"


class Asking(NamedTuple):
    """How a route's upstream is asked.

    :ivar ask: what answers an inquiry.
    :ivar plain: whether the answer is wanted in no content coding, because the gateway makes those.
    """

    ask: Callable[[Request], Awaitable[Response]]
    plain: bool


class Flights:
    """:param compression: closed by whoever made it.
    :param max_object: bytes of the largest body that is stored.
    :param clock: seconds since the epoch.
    :param unclaimed: told of what was asked when no client is there any more whose record would say so.
    """

    def __init__(
        self,
        store: Store,
        compression: Compression,
        max_object: int,
        clock: Callable[[], float],
        unclaimed: Callable[[Record], None],
    ) -> None:
        self._store = store
        self._compression = compression
        self._max_object = max_object
        self._clock = clock
        self._unclaimed = unclaimed
        self._room = Shelf(most=max_object)
        self._under_way: dict[Key, list[Flight]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def find(self, key: Key, source: str, selecting: Selecting, alike: tuple[str, ...]) -> Flight | None:
        """One that may bring what such a request asks for.

        :param alike: names of fields that answers of this URI were selected by, as far as that is known.
        """
        now = self._clock()
        for flight in self._under_way.get(key, ()):
            if flight.suits(source, selecting, alike, now) and not self._store.dropped(key, flight.since):
                return flight
        return None

    def begin(self, flight: Flight, asking: Asking, *, joinable: bool = True) -> None:
        """Send what a flight is about.

        :param joinable: whether others may join it.
        """
        if joinable:
            self._under_way.setdefault(flight.key, []).append(flight)
        task = asyncio.create_task(self._fly(flight, asking))
        self._tasks.add(task)
        flight.begin(task)
        task.add_done_callback(self._tasks.discard)
        if joinable:
            task.add_done_callback(lambda _: self._over(flight))

    def _over(self, flight: Flight) -> None:
        flights = self._under_way.get(flight.key, [])
        if flight in flights:
            flights.remove(flight)
            if not flights:
                del self._under_way[flight.key]

    async def close(self) -> None:
        """End all of them. A second time is harmless."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _fly(self, flight: Flight, asking: Asking) -> None:
        try:
            response = await self._answer(flight, asking)
            flight.inquiry.record.status = 304 if response is None else response.status
        except Problem as problem:
            flight.inquiry.record.status, flight.inquiry.record.code = problem.status, problem.code
            flight.settle(Failed(problem))
            return
        finally:
            if flight.inquiry.heard is None:
                self._unclaimed(flight.inquiry.record)
        if response is None:
            return
        with abandoning(response):
            head = self._for_many(response, flight.asked, asking, self._clock())
        if head is None or not isinstance(response, UpstreamAnswer):
            flight.settle(Alone(response, flight.inquiry.record.code))
            if flight.inquiry.heard is None:
                response.abandon()
            return
        await self._bring(flight, response, head)

    async def _answer(self, flight: Flight, asking: Asking) -> Response | None:
        """The answer; None when it said that what is stored is good still, and that settled it."""
        response = await asking.ask(flight.inquiry)
        stale = flight.stale
        if stale is None or not isinstance(response, UpstreamAnswer) or response.status != 304:
            return response
        message = response.exchange.message
        lines = b"\r\n".join(response.lines)
        response.exchange.finish()
        fresh = renewed(stale, message.headers, lines, flight.asked, self._clock())
        if fresh is not None:
            await self._store.renew(flight.key, stale, fresh)
            flight.settle(Stored(fresh, None, 304, True, fresh))
            return None
        await self._store.remove(flight.key, stale)
        flight.inquiry = Inquiry(flight.inquiry, (), plain=asking.plain)
        return await asking.ask(flight.inquiry)

    def _for_many(self, response: Response, asked: Asked, asking: Asking, received: float) -> Entry | None:
        """What is to be stored of an answer; None for one that is not for many."""
        if type(response) is not UpstreamAnswer:  # an error retold, or a stream of events
            return None
        exchange = response.exchange
        message = exchange.message
        if media_type(message) == EVENTS:  # one that ended before its head was looked at
            return None
        length = message.headers.get(CONTENT_LENGTH)
        if length is None and not message.chunked and response.status != 204:
            return None  # it would end with the connection, and then nobody knows whether it is complete
        size = 0 if length is None or message.chunked else int(length)
        if size > self._max_object or exchange.uploading:
            return None
        lines = b"\r\n".join(response.lines)
        encodable = asking.plain and self._compression.may_encode(response.status, message.headers)
        return entry_of(response.status, message.headers, lines, asked, received, size=size, encodable=encodable)

    async def _bring(self, flight: Flight, response: UpstreamAnswer, head: Entry) -> None:
        """Give an answer's body on, and store it."""
        exchange = response.exchange
        payload = exchange.payload
        stream: Stream | None = None
        try:
            body = payload.read_nowait()
            if not payload.at_eof() or len(body) > self._max_object:
                sized = CONTENT_LENGTH in exchange.message.headers and not exchange.message.chunked
                stream = self._stream(flight, head.size if sized else self._max_object)
                flight.settle(Shared(head, b"\r\n".join(response.lines), stream, sized, response.status))
                chunk = body or await exchange.read()
                while chunk:
                    await stream.put(chunk)
                    chunk = await exchange.read()
                flight.complete()
                stream.end()
                body = stream.body()
            exchange.finish()
        except (aiohttp.ClientError, Problem) as exc:
            problem = exc if isinstance(exc, Problem) else Problem("upstream_bad_response", BROKE_OFF)
            if stream is None:
                flight.settle(Failed(problem))
            else:
                stream.fail(problem)
            return
        finally:
            exchange.abort()
            if stream is not None and not stream.ended:
                stream.fail(Problem("upstream_bad_response", BROKE_OFF))
        if stream is not None and not stream.whole:
            return
        entry = head.sized(len(body))
        kept = await self._store.keep(flight.key, entry, body, flight.since)
        if stream is None:
            first = entry.saying(lines_without(b"\r\n".join(response.lines), ANEW))
            flight.settle(Stored(entry, body, response.status, kept, first))

    def _stream(self, flight: Flight, size: int) -> Stream:
        """A stream for a body; where there is no room for all of it, its readers wait for each other."""
        bound = LEAST
        if self._room.take(size):
            bound = size
            flight.hold(lambda: self._room.give_back(size))
        return Stream(bound, lambda: flight.waiting)

    def coded(self, flight: Flight, shared: Shared, coding: str) -> Stream | None:
        """What a flight brings, in a coding: encoded once for all who take that; None when it can't be had so.

        :param flight: that the one who asks has joined, and doesn't read yet.
        """
        known = flight.coded.get(coding)
        if known is not None:
            return known if known.whole else None
        encoder = self._compression.piecewise(coding)
        if encoder is None:
            return None
        made = flight.coded[coding] = self._stream(flight, self._max_object)
        task = asyncio.create_task(self._encode(flight, shared, shared.stream.join(), encoder, coding, made))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return made

    async def _encode(
        self, flight: Flight, shared: Shared, source: Reader, encoder: Piecewise, coding: str, into: Stream
    ) -> None:
        """Encode what a flight brings, and store it so if it is stored."""
        try:
            while chunk := await source.next():
                late = not source.at_hand and not shared.stream.ended
                if encoded := await encoder.feed(chunk, late=late):
                    await into.put(encoded)
            await into.put(encoder.finish())
            into.end()
        except Problem as problem:
            into.fail(problem)
        finally:
            source.close()
            encoder.close()
            if not into.ended:
                into.fail(Problem("upstream_bad_response", BROKE_OFF))
        await flight.landed()
        if into.whole and shared.stream.whole:
            await self._store.keep_coded(flight.key, shared.entry, coding, into.body())
