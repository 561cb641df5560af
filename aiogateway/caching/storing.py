"""Whether an answer may be stored, and what is stored of it (RFC 9111 section 3). Pure, but for the names of bodies."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable
from typing import Final, NamedTuple

from aiohttp.hdrs import ETAG, EXPIRES, LAST_MODIFIED, SET_COOKIE, VARY

from aiogateway.caching.entry import Entry, Freshness
from aiogateway.caching.fields import Directives, entity_tags, names, unqualified
from aiogateway.caching.freshness import BY_ROUTE, Headers, freshness_of, said

# Of these we know all that they mean (RFC 9111 section 5.2.2.3).
UNDERSTOOD: Final = frozenset({200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 451, 501})
# A part, or the word that a stored answer is good still: neither is an answer of its own.
NEVER: Final = frozenset({206, 304})
# What must be said for an answer to a request with `Authorization` to be kept (RFC 9111 section 3.5).
SHARED: Final = ("must-revalidate", "public", "s-maxage")
# Made anew for every answer, or meant for one connection only (RFC 9111 section 3.1).
ANEW: Final = frozenset(
    {b"age", b"content-length", b"proxy-authenticate", b"proxy-authentication-info", b"proxy-authorization"}
)
# Seconds for which an answer that can be validated, or that a client may take stale, is kept beyond its time; and for
# which one is kept at most.
GRACE: Final = 24 * 3600.0
LONGEST: Final = 30 * 24 * 3600.0
# Bounds of what an answer may be tagged with.
MOST_TAGS: Final = 64
LONGEST_TAG: Final = 128

_TAGS: Final = {"Cache-Tag": re.compile(r"[ \t]*,[ \t]*"), "Surrogate-Key": re.compile(r"[ \t]+")}
_NAMED: Final = re.compile(r"[\s,]+")

# What the upstream was asked with, by the name of a field in lower case: None for a value that no other request has.
Selecting = Callable[[str], str | None]


class Asked(NamedTuple):
    """What an answer was given to.

    :ivar source: the upstream, and the path there.
    :ivar selecting: what the upstream saw of the request.
    :ivar authorized: whether the request had `Authorization`.
    :ivar by_route: seconds for which an answer that says nothing itself may be kept; None for not at all.
    :ivar at: when it was sent, in seconds since the epoch.
    """

    source: str
    selecting: Selecting
    authorized: bool
    by_route: float | None
    at: float


def may_store(status: int, headers: Headers, asked: Asked) -> bool:
    """Whether a whole answer to a GET may be kept by a cache that many share (RFC 9111 section 3)."""
    found, targeted = said(headers)
    understood = status in UNDERSTOOD
    if status in NEVER or SET_COOKIE in headers:
        return False
    if "must-understand" in found:
        if not understood:
            return False
    elif "no-store" in found:
        return False
    if unqualified(found.get("private")):
        return False
    if asked.authorized and found.keys().isdisjoint(SHARED):
        return False
    lasting = not found.keys().isdisjoint(("max-age", "s-maxage", "public")) or (EXPIRES in headers and not targeted)
    return lasting or (asked.by_route is not None and status in BY_ROUTE)


def vary_of(headers: Headers, selecting: Selecting) -> tuple[tuple[str, str], ...] | None:
    """What an answer was selected by; None when no other request could get it."""
    found = []
    for name in names(headers.getall(VARY, ())):
        value = None if name == "*" else selecting(name)
        if value is None:
            return None
        found.append((name, digest(value)))
    return tuple(found)


def digest(value: str) -> str:
    """What stands for a request's value: that may be a secret, and is only ever compared."""
    value = " ".join(value.split())
    return hashlib.blake2b(value.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def matches(entry: Entry, source: str, selecting: Selecting) -> bool:
    """Whether an entry is what such a request would get (RFC 9111 section 4.1)."""
    if entry.source != source:
        return False
    for name, wanted in entry.vary:
        value = selecting(name)
        if value is None or digest(value) != wanted:
            return False
    return True


def tags_of(headers: Headers) -> tuple[str, ...] | None:
    """What an answer can be purged by; None when that is more than a store takes."""
    found = {
        tag
        for name, between in _TAGS.items()
        for value in headers.getall(name, ())
        for tag in between.split(value.strip(" \t"))
        if tag
    }
    if len(found) > MOST_TAGS or any(len(tag) > LONGEST_TAG for tag in found):
        return None
    return tuple(sorted(found))


def withheld(found: Directives) -> frozenset[bytes]:
    """Fields that the answer itself keeps out of a shared cache (RFC 9111 sections 5.2.2.4 and 5.2.2.7)."""
    named = (value for name in ("private", "no-cache") for value in found.get(name, ()) if value)
    return frozenset(name.lower().encode("utf-8", "replace") for value in named for name in _NAMED.split(value) if name)


def kept_lines(lines: bytes, headers: Headers) -> bytes:
    """Of an answer's lines, what is stored.

    :param lines: as they go to a client: hop-by-hop fields are gone, and what `Connection` named.
    """
    return lines_without(lines, ANEW | withheld(said(headers).directives))


def lines_without(lines: bytes, names: frozenset[bytes]) -> bytes:
    """A head's lines, less those of some fields.

    :param names: in lower case.
    """
    return b"\r\n".join(line for line in lines.split(b"\r\n") if name_of(line) not in names)


def name_of(line: bytes) -> bytes:
    """The name in a line of a head, in lower case."""
    return line.partition(b":")[0].lower()


def until(freshness: Freshness, received: float, *, validator: bool) -> float:
    """When an answer is of no use to anybody any more; in seconds since the epoch.

    :param validator: whether it can be validated.
    """
    beyond = max(freshness.while_revalidating, freshness.if_error)
    if validator or not (freshness.strict or freshness.validate):
        beyond = max(beyond, GRACE)
    return received + min(max(freshness.lifetime - freshness.age, 0.0) + beyond, LONGEST)


def entry_of(
    status: int, headers: Headers, lines: bytes, asked: Asked, received: float, *, size: int, encodable: bool
) -> Entry | None:
    """What is to be stored of a whole answer; None when nothing may be.

    :param lines: as they go to a client.
    :param received: when its head was there, in seconds since the epoch.
    :param size: of its body, in bytes.
    :param encodable: whether its body may be given in another coding.
    """
    if not may_store(status, headers, asked):
        return None
    vary, tags = vary_of(headers, asked.selecting), tags_of(headers)
    if vary is None or tags is None:
        return None
    freshness = freshness_of(status, headers, asked.at, received, asked.by_route)
    etag, modified = headers.get(ETAG, ""), headers.get(LAST_MODIFIED, "")
    kept_out = withheld(said(headers).directives)
    if etag == "*" or entity_tags([etag]) != [etag] or b"etag" in kept_out:
        etag = ""
    if b"last-modified" in kept_out:
        modified = ""
    if freshness.lifetime <= freshness.age and not (
        etag or modified or freshness.while_revalidating or freshness.if_error
    ):
        return None  # stale from the beginning, and nobody could say whether it is good still
    return Entry(
        id=secrets.token_hex(16),
        status=status,
        lines=kept_lines(lines, headers),
        vary=vary,
        source=asked.source,
        freshness=freshness,
        etag=etag,
        modified=modified,
        encodable=encodable,
        received=received,
        until=until(freshness, received, validator=bool(etag or modified)),
        size=size,
        tags=tags,
    )
