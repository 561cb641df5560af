"""Which answers may be encoded, and what becomes of their fields (RFC 9110 section 8.4). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from aiohttp.hdrs import CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, VARY
from multidict import CIMultiDictProxy

Headers = CIMultiDictProxy[str]

# Without a body of their own, or with a part of one.
NEVER: Final = frozenset({204, 205, 206, 304})
# Each stream would hold an encoder for as long as it is open, and its events are small.
EVENTS: Final = "text/event-stream"
# Media types that are remembered: services may make any up.
REMEMBERED: Final = 256
# Digests of the plain body, and parts of it, are not to be had of the encoded one.
UNTRUE: Final = frozenset(
    {b"accept-ranges", b"content-digest", b"content-encoding", b"content-md5", b"digest", b"repr-digest"}
)

_NO_TRANSFORM: Final = re.compile(r"(?:^|[ \t,])no-transform(?:$|[ \t,;])", re.IGNORECASE)
_STRONG: Final = re.compile(rb'(^etag:[ \t]*)(?=")', re.IGNORECASE | re.MULTILINE)
_VARIES: Final = b"Vary: Accept-Encoding"


def fitting(patterns: Iterable[str]) -> Callable[[str], bool]:
    """What tells whether a `Content-Type` is one of those that are encoded.

    :param patterns: `text/*` for all of a kind (`GATEWAY_COMPRESS_TYPES`).
    """
    wanted = [pattern.strip().lower() for pattern in patterns]
    exact = frozenset(pattern for pattern in wanted if not pattern.endswith("/*"))
    kinds = tuple(pattern[:-1] for pattern in wanted if pattern.endswith("/*"))
    known: dict[str, bool] = {}

    def fits(value: str) -> bool:
        found = known.get(value)
        if found is None:
            media_type = value.partition(";")[0].strip().lower()
            found = media_type != EVENTS and (media_type in exact or media_type.startswith(kinds))
            if len(known) < REMEMBERED:
                known[value] = found
        return found

    return fits


def may_encode(status: int, headers: Headers, fits: Callable[[str], bool]) -> bool:
    """Whether an answer may be encoded, whatever its size and whoever asked."""
    if status in NEVER or not fits(headers.get(CONTENT_TYPE, "")):
        return False
    if CONTENT_ENCODING in headers or CONTENT_RANGE in headers:
        return False
    return not forbids_coding(headers)


def forbids_coding(headers: Headers) -> bool:
    """Whether an answer is to stay as it is (`no-transform`, RFC 9111 section 5.2.2.6)."""
    return CACHE_CONTROL in headers and any(map(_NO_TRANSFORM.search, headers.getall(CACHE_CONTROL)))


def varying(headers: Headers) -> bytes | None:
    """The line that says that an answer depends on the codings a client takes; None where that is said already."""
    if VARY in headers:
        said = {name.strip().lower() for value in headers.getall(VARY) for name in value.split(",")}
        if not said.isdisjoint(("*", "accept-encoding")):
            return None
    return _VARIES


def encoded_lines(lines: bytes, coding: str) -> bytes:
    """An answer's lines, for its body in a coding."""
    kept = (line for line in weakened(lines).split(b"\r\n") if line.partition(b":")[0].lower() not in UNTRUE)
    return b"\r\n".join((*kept, b"Content-Encoding: %b" % coding.encode()))


def weakened(lines: bytes) -> bytes:
    """An answer's lines with a weak entity tag.

    A strong one names the plain body's bytes; in a coding it is the same only in what it says (RFC 9110 section 8.8.1).
    """
    return _STRONG.sub(rb"\1W/", lines)
