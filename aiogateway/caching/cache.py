"""A cache that many clients share: what answers a GET or a HEAD of a route that has one (RFC 9111).

1. What is stored and suits the request is given, if it is fresh, or stale in a way that is allowed.
2. Else the upstream is asked: once for all who ask at the same time, and with a condition if something is stored.
3. What its answer says decides who gets it, and whether it is stored. When it fails, a stale answer may stand in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from aiohttp.hdrs import CONTENT_ENCODING, IF_MATCH, IF_UNMODIFIED_SINCE, RANGE

from aiogateway.caching import cache_status as status
from aiogateway.caching.conditions import describes, has_length, renewed, validators
from aiogateway.caching.entry import Entry, Key, Store
from aiogateway.caching.flight import Alone, Failed, Flight, Outcome, Shared, Stored
from aiogateway.caching.flights import Asking, Flights
from aiogateway.caching.freshness import Use, may_stand_in, use, wish_of
from aiogateway.caching.giving import Giving
from aiogateway.caching.inquiry import CONDITIONAL, Inquiry, asked_of, key_of, selecting, source_of
from aiogateway.caching.passing import Passing
from aiogateway.caching.storing import matches
from aiogateway.caching.visit import Visit
from aiogateway.compression import Compression
from aiogateway.errors import Problem
from aiogateway.metrics import Metrics, families
from aiogateway.proxy.encoded_answer import encoded
from aiogateway.proxy.record import Record
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response, abandoning
from aiogateway.proxy.upstream_answer import UpstreamAnswer

# Statuses for which a stale answer may stand in (RFC 5861 section 4).
ERRORS: Final = frozenset({500, 502, 503, 504})


class Cache:
    """:param store: closed by whoever made it, as is `compression`.
    :param max_object: bytes of the largest body that is stored.
    :param clock: seconds since the epoch.
    :param unclaimed: told of what was asked of upstreams for no client's sake.
    """

    def __init__(
        self,
        store: Store,
        compression: Compression,
        metrics: Metrics,
        max_object: int,
        clock: Callable[[], float],
        unclaimed: Callable[[Record], None],
    ) -> None:
        self._store = store
        self._compression = compression
        self._counts = {result: metrics.count(families.CACHE_REQUESTS, result) for result in status.RESULTS}
        self._clock = clock
        self._flights = Flights(store, compression, max_object, clock, unclaimed)
        self._passing = Passing(clock)
        self._giving = Giving(store, self._flights, compression, clock)

    async def close(self) -> None:
        """End what is under way."""
        await self._flights.close()
        await self._giving.close()

    async def drop(self, key: Key) -> None:
        """Forget what is stored of a URI, and store or share nothing asked for before (RFC 9111 section 4.4)."""
        await self._store.drop(key)

    async def purge(self, *, path: str | None = None, tag: str | None = None) -> bool:
        """Forget what is stored under a path, or with a tag, and store or share nothing asked for before.

        :return: whether it was done; a store that doesn't answer keeps what it has.
        :raises TooLong: it has more bytes than workers tell each other, or none.
        """
        return await self._store.purge(path=path, tag=tag)

    async def answer(self, request: Request, asking: Asking) -> Response:
        """The answer to a GET or a HEAD.

        :raises Problem: `not_in_cache`; what kept the upstream from an answer.
        """
        headers, wish = request.headers, wish_of(request.headers)
        if wish.unstored or request.has_body or IF_MATCH in headers or IF_UNMODIFIED_SINCE in headers:
            if wish.only:
                raise Problem("not_in_cache")
            return await self._go_on(request, asking, status.FWD_BYPASS)
        key, source = key_of(request), source_of(request)
        sees = selecting(request, plain=asking.plain)
        variants = await self._store.find(key)
        now = self._clock()
        for entry in variants:
            if matches(entry, source, sees):
                break
        else:
            entry = None
        if entry is not None:
            age = entry.age(now)
            good = use(entry.freshness, age, wish)
            if good is not Use.VALIDATE:
                response = await self._giving.hit(request, key, entry, age, plain=asking.plain)
                if response is not None:
                    self._store.used(key, entry)
                    self._tell(request, status.HIT if entry.freshness.lifetime > age else status.STALE)
                    if good is Use.GIVE_AND_VALIDATE:
                        self._renew(Visit(request, asking, key, asked_of(request, source, sees, now), wish), entry)
                    return response
                entry = None
        if wish.only:
            raise Problem("not_in_cache")
        visit = Visit(request, asking, key, asked_of(request, source, sees, now), wish)
        visit.know(variants, entry, now)
        return await self._forward(visit)

    async def _forward(self, visit: Visit) -> Response:
        """The answer to a request for which the upstream has to be asked."""
        request, headers = visit.request, visit.request.headers
        if request.method == "HEAD":
            return await self._head(visit)
        if RANGE in headers or (
            self._passing.has(visit.key, authorized=visit.asked.authorized)
            and any(name.decode() in headers for name in CONDITIONAL)
        ):
            return await self._go_on(request, visit.asking, visit.reason)
        return await self._asked(visit)

    async def _go_on(self, request: Request, asking: Asking, reason: str) -> Response:
        """The answer to a request that the cache has no part in."""
        response = await asking.ask(request)
        response.lines.append(status.forward_line(reason, response.status))
        self._tell(request, status.BYPASS)
        return response

    def _tell(self, request: Request, result: str) -> None:
        request.record.cache = result
        self._counts[result].events += 1

    def _renew(self, visit: Visit, entry: Entry) -> None:
        """Validate what was given stale, behind the client's back (RFC 5861 section 3)."""
        asked = visit.asked
        if self._flights.find(visit.key, asked.source, asked.selecting, visit.alike) is None:
            inquiry = Inquiry(visit.request, validators(entry), plain=visit.asking.plain)
            inquiry.heard = None
            self._flights.begin(
                Flight(visit.key, inquiry, asked, entry, self._store.mark(), background=True), visit.asking
            )

    async def _head(self, visit: Visit) -> Response:
        """The answer to a HEAD for which the upstream has to be asked; what it says of a stored GET is noted."""
        request, entry = visit.request, visit.entry
        response = await self._go_on(request, visit.asking, visit.reason)
        if entry is None or not isinstance(response, UpstreamAnswer) or response.status != 200:
            return response
        headers = response.exchange.message.headers
        if CONTENT_ENCODING in headers:  # about another form of it than the one that is stored
            return response
        fresh = None
        if describes(entry, headers) and has_length(entry, headers):
            lines = b"\r\n".join(response.lines)
            fresh = renewed(entry, headers, lines, visit.asked, self._clock())
        with abandoning(response):
            if fresh is None:
                await self._store.remove(visit.key, entry)
            else:
                await self._store.renew(visit.key, entry, fresh)
        return response

    async def _asked(self, visit: Visit) -> Response:
        """The upstream's answer, to this request or to one like it."""
        asked, key = visit.asked, visit.key
        for_itself = False
        while True:
            for_itself = for_itself or self._passing.has(key, authorized=asked.authorized)
            flight = None
            if not for_itself and visit.reason != status.FWD_REQUEST:
                flight = self._flights.find(key, asked.source, asked.selecting, visit.alike)
            leading = flight is None
            if flight is None:
                conditions = () if visit.entry is None else validators(visit.entry)
                inquiry = Inquiry(visit.request, conditions, plain=visit.asking.plain)
                flight = Flight(key, inquiry, asked, visit.entry, self._store.mark())
                self._flights.begin(flight, visit.asking, joinable=not for_itself)
            flight.join()
            outcome = await self._outcome(flight, visit.request, leading=leading)
            response = await self._from(outcome, flight, visit, leading=leading)
            if response is not None:
                return response
            for_itself = for_itself or leading or isinstance(outcome, Alone | Failed)

    async def _outcome(self, flight: Flight, request: Request, *, leading: bool) -> Outcome:
        """What becomes of a flight that was joined."""
        try:
            outcome = await flight.outcome()
        except BaseException:
            asked = flight.inquiry.record
            request.record.upstream, request.record.awaiting = asked.upstream, bool(asked.asked)
            if leading:
                flight.abandon()
            flight.leave()
            raise
        if leading:
            request.record.take_upstream(flight.inquiry.record)
        return outcome

    async def _from(self, outcome: Outcome, flight: Flight, visit: Visit, *, leading: bool) -> Response | None:
        """An answer from what became of a flight; None when that is not for this request."""
        request, asked = visit.request, visit.asked
        if isinstance(outcome, Shared | Stored):
            entry = outcome.entry
            visit.alike = entry.named
            if leading or matches(entry, asked.source, asked.selecting):
                line = status.forward_line(
                    visit.reason, outcome.status, stored=leading and outcome.kept, collapsed=not leading
                )
                response: Response | None
                if isinstance(outcome, Shared):
                    shared = outcome if leading else outcome._replace(lines=self._giving.aged(entry, entry.lines))
                    response = self._giving.shared(request, flight, shared, line, plain=visit.asking.plain)
                else:
                    flight.leave()
                    response = await self._giving.stored(
                        request,
                        visit.key,
                        outcome.first if leading else entry,
                        line,
                        plain=visit.asking.plain,
                        body=outcome.body,
                    )
                if response is not None:
                    validated = status.REVALIDATED if outcome.status == 304 else status.MISS
                    self._tell(request, validated if leading else status.COLLAPSED)
                elif leading:
                    visit.entry = None  # its body is gone, and there is nothing to validate
                return response
        flight.leave()
        if isinstance(outcome, Alone | Failed):
            return await self._not_shared(outcome, visit, leading=leading)
        return None

    async def _not_shared(self, outcome: Alone | Failed, visit: Visit, *, leading: bool) -> Response | None:
        """An answer where that of the upstream is for one client only, or there is none."""
        code = outcome.problem.status if isinstance(outcome, Failed) else outcome.response.status
        entry = visit.entry
        if code in ERRORS and entry is not None:
            age = entry.age(self._clock())
            if may_stand_in(entry.freshness, age, visit.wish):
                line = status.forward_line(visit.reason, code, detail="stale-if-error")
                mine = outcome.response if leading and isinstance(outcome, Alone) else None
                with abandoning(mine) if mine is not None else contextlib.nullcontext():
                    response = await self._giving.stored(
                        visit.request, visit.key, entry, line, plain=visit.asking.plain
                    )
                if response is not None:
                    if mine is not None:
                        mine.abandon()
                    self._tell(visit.request, status.STALE)
                    return response
        if not leading:
            return None
        if isinstance(outcome, Failed):
            raise outcome.problem
        if code not in ERRORS:
            self._passing.note(visit.key, authorized=visit.asked.authorized)
        response, visit.request.record.code = outcome.response, outcome.code
        if visit.asking.plain:
            response = encoded(response, visit.request, self._compression, told=True)
        response.lines.append(status.forward_line(visit.reason, response.status))
        self._tell(visit.request, status.MISS)
        return response
