"""Fields of requests and answers on their way through: what is removed, what is set, how a head is written.

Pure functions over the raw `(name, value)` bytes that the parser gives, so that nothing is decoded, re-encoded or
reordered on the way. A request's head and an answer's head are each joined into one `bytes`, for one write.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.utils import formatdate
from enum import IntEnum
from functools import lru_cache
from typing import Final

RawFields = Sequence[tuple[bytes, bytes]]

# RFC 9110 section 7.6.1, with Proxy-* of section 11.7 and Trailer, whose trailers are not passed on.
HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Fields that make a backend see another method or path than the one whose policy was applied.
OVERRIDES: Final = frozenset(
    {
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        b"x-original-method",
        b"x-original-url",
        b"x-rewrite-url",
        b"x-override-url",
    }
)
# Written by the gateway itself, so the client's own never goes on beside it.
SET_INWARD: Final = frozenset({b"host", b"content-length", b"expect", b"x-request-id"})
FORWARDED: Final = frozenset({b"forwarded", b"x-real-ip"})
SET_OUTWARD: Final = frozenset({b"server", b"x-request-id", b"content-length"})

# What RFC 9110 section 5.5 forbids in a value, line ends aside: it is looked for in a whole head.
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
VIA: Final = b"aiogateway"


class Fate(IntEnum):
    """What becomes of a field, by its name alone."""

    PASS = 0
    DROP = 1
    CONNECTION = 2
    FORWARDED = 3
    X_FORWARDED_FOR = 4
    LOCATION = 5
    DATE = 6


@lru_cache(maxsize=4096)
def inward(name: bytes) -> Fate:
    """The fate of a request's field. Remembered by spelling: clients use few, and the memory is bounded."""
    lower = name.lower()
    if lower == b"connection":
        return Fate.CONNECTION
    if lower == b"x-forwarded-for":
        return Fate.X_FORWARDED_FOR
    if lower.startswith(b"x-forwarded-") or lower in FORWARDED:
        return Fate.FORWARDED
    if lower in HOP_BY_HOP or lower in OVERRIDES or lower in SET_INWARD:
        return Fate.DROP
    # CGI and WSGI read `_` as `-`: X_User_Id would become the identity that only the gateway may state.
    return Fate.DROP if b"_" in lower or lower.startswith(b"x-user-") else Fate.PASS


@lru_cache(maxsize=4096)
def outward(name: bytes) -> Fate:
    """The fate of an answer's field."""
    lower = name.lower()
    if lower == b"connection":
        return Fate.CONNECTION
    if lower in {b"location", b"content-location"}:
        return Fate.LOCATION
    if lower == b"date":
        return Fate.DATE
    drop = lower in HOP_BY_HOP or lower in SET_OUTWARD or lower.startswith(b"access-control-")
    return Fate.DROP if drop else Fate.PASS


# What `Connection` usually says; anything else names fields to be removed.
_PLAIN_OPTIONS: Final = frozenset({b"keep-alive", b"close", b"upgrade", b"te", b""})


def named_by_connection(fields: RawFields) -> frozenset[bytes]:
    """Lower-case names that the `Connection` fields list beside the usual options (RFC 9110 section 7.6.1)."""
    named: set[bytes] = set()
    for name, value in fields:
        if len(name) == 10 and name.lower() == b"connection":
            named.update(option.strip().lower() for option in value.split(b","))
    return frozenset(named - _PLAIN_OPTIONS)


def without(fields: RawFields, names: frozenset[bytes]) -> RawFields:
    return [field for field in fields if field[0].lower() not in names]


def has_control(head: bytes) -> bool:
    """Whether a head holds a control character other than its line ends and tabs (RFC 9110 section 5.5)."""
    return _CONTROL.search(head) is not None


def via_count(values: Iterable[str], name: str = VIA.decode()) -> int:
    """How often a request passed through a gateway of this name (RFC 9110 section 7.6.3)."""
    members = (member.split() for value in values for member in value.split(","))
    return sum(1 for member in members if len(member) > 1 and member[1].lower() == name)


def forwarded_lines(peer: str, scheme: str, host: bytes) -> bytes:
    """The `X-Forwarded-*` lines for a request whose own ones are not believed."""
    return b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n" % (
        peer.encode("latin-1"),
        scheme.encode(),
        host,
    )


def trusted_forwarded_lines(fields: RawFields, peer: str, scheme: str, host: bytes) -> bytes:
    """The `X-Forwarded-*` and kindred lines for a request from a trusted proxy: its own kept, its address added."""
    hops = [value for name, value in fields if inward(name) is Fate.X_FORWARDED_FOR and value]
    hops.append(peer.encode("latin-1"))
    kept = [(name, value) for name, value in fields if inward(name) is Fate.FORWARDED]
    present = {name.lower() for name, _ in kept}
    kept.append((b"X-Forwarded-For", b", ".join(hops)))
    if b"x-forwarded-proto" not in present:
        kept.append((b"X-Forwarded-Proto", scheme.encode()))
    if b"x-forwarded-host" not in present:
        kept.append((b"X-Forwarded-Host", host))
    return b"".join([b"%b: %b\r\n" % field for field in kept])


def request_head(start: bytes, fields: RawFields, added: Sequence[bytes]) -> bytes:
    """The head of the request to the upstream.

    :param start: request line and `Host`, with their line ends.
    :param fields: the client's fields, raw.
    :param added: whole lines of the gateway's own, put last.
    """
    parts = [start]
    add = parts.append
    for name, value in fields:
        fate = inward(name)
        if fate is Fate.PASS:
            add(b"%b: %b\r\n" % (name, value))
        elif fate is Fate.CONNECTION and value.lower() not in _PLAIN_OPTIONS:
            named = named_by_connection(fields)
            if any(field[0].lower() in named for field in fields):
                return request_head(start, without(fields, named | {b"connection"}), added)
    parts += added
    add(b"\r\n")
    return b"".join(parts)


def response_lines(
    fields: RawFields, relocate: Mapping[bytes, bytes], public_origin: Callable[[], bytes], *, dated: bool = False
) -> list[bytes]:
    """The lines of an upstream's answer that go on to the client, with a `Date` (RFC 9110 section 6.6.1).

    :param fields: the upstream's fields, raw.
    :param relocate: origins of the upstream's destinations, each with the path its URL ends in.
    :param public_origin: what the client calls us, as `https://host:port`; asked for only when it is needed.
    :param dated: whether a `Date` is there already, or not wanted.
    """
    lines: list[bytes] = []
    for name, value in fields:
        fate = outward(name)
        if fate is Fate.PASS:
            lines.append(b"%b: %b\r\n" % (name, value))
        elif fate is Fate.DATE:
            dated = True
            lines.append(b"%b: %b\r\n" % (name, value))
        elif fate is Fate.LOCATION:
            lines.append(b"%b: %b\r\n" % (name, relocated(value, relocate, public_origin)))
        elif fate is Fate.CONNECTION and value.lower() not in _PLAIN_OPTIONS:
            named = named_by_connection(fields)
            if any(field[0].lower() in named for field in fields):
                rest = without(fields, named | {b"connection"})
                return response_lines(rest, relocate, public_origin, dated=dated)
    if not dated:
        lines.append(date_line())
    return lines


def relocated(location: bytes, relocate: Mapping[bytes, bytes], public_origin: Callable[[], bytes]) -> bytes:
    """A `Location` that names a destination of the upstream, with the public origin instead (contract)."""
    scheme, separator, rest = location.partition(b"://")
    if not separator:
        return location
    cut = min((at for at in map(rest.find, (b"/", b"?", b"#")) if at >= 0), default=len(rest))
    base = relocate.get(origin(scheme, rest[:cut]))
    if base is None:
        return location
    path = rest[cut:]
    return public_origin() + (path[len(base) :] if base and path.startswith(base + b"/") else path)


def origin(scheme: bytes, authority: bytes) -> bytes:
    """Scheme and authority in one spelling: lower case, the scheme's own port left out."""
    scheme, authority = scheme.lower(), authority.lower()
    port = {b"http": b":80", b"https": b":443"}.get(scheme, b"")
    return b"%b://%b" % (scheme, authority.removesuffix(port) if port else authority)


@lru_cache(maxsize=2)
def _date_line(second: int) -> bytes:
    return b"Date: %b\r\n" % formatdate(second, usegmt=True).encode()


def date_line() -> bytes:
    """The `Date` line of this second (RFC 9110 section 6.6.1)."""
    return _date_line(int(time.time()))
