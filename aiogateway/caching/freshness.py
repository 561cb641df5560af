"""How long an answer may be given: what its own fields say, what a request wishes, and what follows from both.

All of it in seconds. Pure: the time is given.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Final, NamedTuple

from aiohttp.hdrs import AGE, CACHE_CONTROL, DATE, EXPIRES, PRAGMA
from multidict import CIMultiDictProxy, istr

from aiogateway.caching.entry import Freshness
from aiogateway.caching.fields import Directives, age, directives, http_date, seconds, targeted, unqualified

CDN_CACHE_CONTROL: Final = istr("CDN-Cache-Control")
Headers = CIMultiDictProxy[str]

# Statuses whose answers may be kept for as long as the route says (of those of RFC 9110 section 15.1): an error is
# kept only for as long as it says itself.
BY_ROUTE: Final = frozenset({200, 203, 204, 300, 301, 308, 410})


class Said(NamedTuple):
    """What an answer says of its keeping.

    :ivar directives: that hold for us.
    :ivar targeted: whether they were meant for caches like this one; then `Expires` says nothing.
    """

    directives: Directives
    targeted: bool


def said(headers: Headers) -> Said:
    """Which directives of an answer hold: those for a cache before the service come first (RFC 9213 section 2.2)."""
    if CDN_CACHE_CONTROL in headers and (found := targeted(headers.getall(CDN_CACHE_CONTROL))) is not None:
        return Said(found, True)
    return Said(directives(headers.getall(CACHE_CONTROL, ())), False)


def explicit_lifetime(told: Said, headers: Headers, received: float) -> float | None:
    """For how long an answer says it is fresh (RFC 9111 section 4.2.1); None when it doesn't."""
    for name in ("s-maxage", "max-age"):
        if (found := seconds(told.directives.get(name))) is not None:
            return found
    values = [] if told.targeted else headers.getall(EXPIRES, [])
    if not values:
        return None
    expires, date = http_date(values[0]), http_date(headers.get(DATE, ""))
    if expires is None or any(value != values[0] for value in values):
        return 0.0
    return max(expires - (received if date is None else date), 0.0)


def initial_age(headers: Headers, asked: float, received: float) -> float:
    """The age an answer had when it was received (RFC 9111 section 4.2.3).

    :param asked: when the request was sent.
    :param received: when the answer's head was there.
    """
    date = http_date(headers.get(DATE, ""))
    apparent = 0.0 if date is None else max(received - date, 0.0)
    return max(apparent, age(headers.getall(AGE, [])) + max(received - asked, 0.0))


def freshness_of(status: int, headers: Headers, asked: float, received: float, by_route: float | None) -> Freshness:
    """How long an answer may be given.

    :param by_route: for how long one may be that says nothing of it itself; None for not at all.
    """
    told = said(headers)
    found = told.directives
    lifetime = explicit_lifetime(told, headers, received)
    if lifetime is None:
        lifetime = by_route if by_route is not None and status in BY_ROUTE else 0.0
    return Freshness(
        lifetime,
        initial_age(headers, asked, received),
        unqualified(found.get("no-cache")),
        not found.keys().isdisjoint(("must-revalidate", "proxy-revalidate", "s-maxage")),
        seconds(found.get("stale-while-revalidate")) or 0.0,
        seconds(found.get("stale-if-error")) or 0.0,
    )


class Wish(NamedTuple):
    """What a request says of stored answers (RFC 9111 section 5.2.1).

    :ivar validated: it takes none that was not validated for it.
    :ivar unstored: nothing of it or its answer is to be kept.
    :ivar only: it takes nothing but what is stored.
    :ivar max_age: that an answer may have.
    :ivar min_fresh: for which an answer must be fresh yet.
    :ivar max_stale: for which an answer may be stale already.
    :ivar if_error: for which an answer may be stale when no other can be had.
    """

    validated: bool = False
    unstored: bool = False
    only: bool = False
    max_age: float = math.inf
    min_fresh: float = 0.0
    max_stale: float = 0.0
    if_error: float = 0.0


NO_WISH: Final = Wish()


def wish_of(headers: Headers) -> Wish:
    """What a request wishes; most say nothing."""
    if CACHE_CONTROL not in headers:
        # RFC 9111 section 5.4: what clients of HTTP/1.0 say.
        return Wish(validated=True) if "no-cache" in directives(headers.getall(PRAGMA, ())) else NO_WISH
    found = directives(headers.getall(CACHE_CONTROL))
    max_age = seconds(found.get("max-age"))
    stale = found.get("max-stale")
    return Wish(
        "no-cache" in found,
        "no-store" in found,
        "only-if-cached" in found,
        math.inf if max_age is None else max_age,
        seconds(found.get("min-fresh")) or 0.0,
        math.inf if stale == [None] else seconds(stale) or 0.0,
        seconds(found.get("stale-if-error")) or 0.0,
    )


class Use(Enum):
    """What a stored answer is good for."""

    GIVE = "give"
    GIVE_AND_VALIDATE = "give and validate"
    VALIDATE = "validate"


def use(freshness: Freshness, age: float, wish: Wish) -> Use:
    """What a stored answer is good for, as the request wishes (RFC 9111 section 4.2, RFC 5861 section 3).

    :param age: that it has now.
    """
    left = freshness.lifetime - age
    if wish.validated or freshness.validate or age > wish.max_age:
        return Use.VALIDATE
    if left > 0:
        return Use.GIVE if left >= wish.min_fresh else Use.VALIDATE
    if freshness.strict or wish.min_fresh:
        return Use.VALIDATE
    if -left <= wish.max_stale and wish.max_stale:
        return Use.GIVE
    if -left <= freshness.while_revalidating and freshness.while_revalidating:
        return Use.GIVE_AND_VALIDATE
    return Use.VALIDATE


def may_stand_in(freshness: Freshness, age: float, wish: Wish) -> bool:
    """Whether a stale answer may be given because no other can be had (RFC 5861 section 4)."""
    if freshness.strict or freshness.validate or wish.validated:
        return False
    stale, allowed = age - freshness.lifetime, max(freshness.if_error, wish.if_error, wish.max_stale)
    return stale < 0 or 0 < allowed >= stale
