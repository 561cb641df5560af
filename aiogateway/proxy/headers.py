"""Fields of requests and answers on their way through: what is removed, what is set, how a head is written.

Pure functions over the raw `(name, value)` bytes that the parser gives, so that nothing is decoded, re-encoded or
reordered on the way. A request's head and an answer's head are each joined into one `bytes`, for one write.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.utils import formatdate
from functools import lru_cache
from typing import Final

from aiohttp.hdrs import CONTENT_LOCATION, DATE, LOCATION

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
        b"http-method-override",
        b"x-tunneled-method",
        b"x-original-uri",
        b"x-original-host",
        b"x-host",
    }
)
# Written by the gateway itself, so the client's own never goes on beside it.
# Subprotocols among that: a page's token may be one, also where no WebSocket is to be had.
SET_INWARD: Final = frozenset(
    {
        b"host",
        b"content-length",
        b"expect",
        b"x-request-id",
        b"traceparent",
        b"tracestate",
        b"sec-websocket-protocol",
    }
)
FORWARDED: Final = frozenset({b"forwarded", b"x-real-ip"})
# What CGI makes `HTTP_PROXY` of (CVE-2016-5385), names of users and addresses that only a proxy may state, and what
# belongs to an upgrade that is dropped.
CLAIMED: Final = frozenset(
    {b"proxy", b"remote-user", b"x-remote-user", b"x-forwarded", b"x-client-ip", b"true-client-ip", b"http2-settings"}
)
RELOCATED: Final = frozenset({b"location", b"content-location"})
SET_OUTWARD: Final = frozenset({b"server", b"x-request-id", b"content-length"})

# What RFC 9110 section 5.5 allows in a value, and line ends: all that a head may hold.
_ALLOWED: Final = bytes(code for code in range(256) if code in b"\t\r\n" or (code >= 0x20 and code != 0x7F))
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
VIA: Final = b"aiogateway"


class MalformedName(Exception):
    """A field's name is no token (RFC 9110 section 5.1); aiohttp's parser lets `Content-Length :` by."""


class Fates(dict[bytes, bool]):
    """Whether a field goes on, by its name as it is spelled.

    Remembered by spelling, because clients use few and a look into a dict is all that a request pays for. Bounded in
    number and length, because a client may make names up; forgotten as a whole when there are too many, so that made
    up ones don't keep the real ones out.
    """

    def __init__(self, goes_on: Callable[[bytes], bool], most: int = 1024, longest: int = 64) -> None:
        super().__init__()
        self._goes_on = goes_on
        self._most = most
        self._longest = longest

    def __missing__(self, name: bytes) -> bool:
        if _TOKEN.fullmatch(name) is None:
            raise MalformedName
        verdict = self._goes_on(name.lower())
        if len(name) <= self._longest:
            if len(self) >= self._most:
                self.clear()
            self[name] = verdict
        return verdict


def goes_inward(name: bytes) -> bool:
    """Whether a request's field goes on as it is; the name in lower case."""
    return not (
        name in HOP_BY_HOP
        or name in OVERRIDES
        or name in SET_INWARD
        or name in FORWARDED
        or name in CLAIMED
        or name.startswith((b"x-forwarded-", b"x-user-"))
        # CGI and WSGI read `_` as `-`: X_User_Id would become the identity that only the gateway may state.
        or b"_" in name
    )


def goes_outward(name: bytes) -> bool:
    """Whether an answer's field goes on as it is; the name in lower case."""
    return not (name in HOP_BY_HOP or name in SET_OUTWARD or name in RELOCATED or name.startswith(b"access-control-"))


_inward: Final = Fates(goes_inward)
_outward: Final = Fates(goes_outward)


# What `Connection` usually says; anything else names fields to be removed.
_USUAL: Final = frozenset({"keep-alive", "close", "Keep-Alive", "Close", "Upgrade", "upgrade"})
_PLAIN_OPTIONS: Final = frozenset({"keep-alive", "close", "upgrade", "te", ""})


def named_by_connection(values: Iterable[str]) -> frozenset[bytes]:
    """Names that `Connection` lists beside the usual options, in lower case (RFC 9110 section 7.6.1).

    :param values: of each `Connection` field.
    """
    if all(value in _USUAL for value in values):
        return frozenset()
    named = {option.strip().lower() for value in values for option in value.split(",")}
    return frozenset(name.encode("utf-8", "surrogateescape") for name in named - _PLAIN_OPTIONS)


def without(fields: RawFields, names: frozenset[bytes]) -> RawFields:
    return [field for field in fields if field[0].lower() not in names]


def has_control(head: bytes) -> bool:
    """Whether a head holds a control character other than its line ends and tabs (RFC 9110 section 5.5)."""
    return bool(head.translate(None, _ALLOWED))


def via_count(values: Iterable[str], name: str = VIA.decode()) -> int:
    """How often a request passed through a gateway of this name (RFC 9110 section 7.6.3)."""
    members = (member.split() for value in values for member in value.split(","))
    return sum(1 for member in members if len(member) > 1 and member[1].lower() == name)


def forwarded_lines(peer: str, scheme: str) -> bytes:
    """The `X-Forwarded-*` lines for requests whose own ones are not believed, less the host that is to end them."""
    return b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: " % (
        peer.encode("latin-1"),
        scheme.encode(),
    )


def trusted_forwarded_lines(fields: RawFields, peer: str, scheme: str, host: bytes) -> bytes:
    """The `X-Forwarded-*` and kindred lines for a request from a trusted proxy: its own kept, its address added."""
    named = [(name.lower(), name, value) for name, value in fields]
    hops = [value for lower, _, value in named if lower == b"x-forwarded-for" and value]
    hops.append(peer.encode("latin-1"))
    kept = [
        (name, value)
        for lower, name, value in named
        if lower in FORWARDED
        or (lower.startswith(b"x-forwarded-") and lower != b"x-forwarded-for" and b"_" not in lower)
    ]
    present = {name.lower() for name, _ in kept}
    kept.append((b"X-Forwarded-For", b", ".join(hops)))
    if b"x-forwarded-proto" not in present:
        kept.append((b"X-Forwarded-Proto", scheme.encode()))
    if b"x-forwarded-host" not in present:
        kept.append((b"X-Forwarded-Host", host))
    return b"\r\n".join([b": ".join(field) for field in kept])


def inward_lines(fields: RawFields, connection: Sequence[str]) -> list[bytes]:
    """The lines of a client's request that go on to the upstream, without their line ends.

    :param fields: the client's fields, raw.
    :param connection: the values of its `Connection` fields.
    :raises MalformedName: a name is no token.
    """
    if connection and (named := named_by_connection(connection)):
        fields = without(fields, named)
    fates = _inward
    return [b": ".join(field) for field in fields if fates[field[0]]]


def outward_lines(
    fields: RawFields,
    headers: Mapping[str, str],
    connection: Sequence[str],
    relocate: Mapping[bytes, bytes],
    public_origin: Callable[[], bytes],
) -> list[bytes]:
    """The lines of an upstream's answer that go on to the client, without their line ends; `Date` is among them.

    :param fields: the upstream's fields, raw.
    :param headers: the same, by name.
    :param connection: the values of its `Connection` fields.
    :param relocate: origins of the upstream's destinations, each with the path its URL ends in.
    :param public_origin: what the client calls us, as `https://host:port`; asked for only when it is needed.
    :raises MalformedName: a name is no token.
    """
    dated = DATE in headers
    if connection and (named := named_by_connection(connection)):
        fields = without(fields, named)
        dated = dated and b"date" not in named
    fates = _outward
    lines = [b": ".join(field) for field in fields if fates[field[0]]]
    if LOCATION in headers or CONTENT_LOCATION in headers:
        lines += [
            b"%b: %b" % (name, relocated(value, relocate, public_origin))
            for name, value in fields
            if name.lower() in RELOCATED
        ]
    if not dated:
        lines.append(date_line())
    return lines


def relocated(location: bytes, relocate: Mapping[bytes, bytes], public_origin: Callable[[], bytes]) -> bytes:
    """A `Location` that names a destination of the upstream, with the public origin instead (contract)."""
    scheme, separator, rest = location.partition(b"//")
    if not separator or scheme.lower() not in (b"", b"http:", b"https:"):
        return location
    cut = min((at for at in map(rest.find, (b"/", b"?", b"#")) if at >= 0), default=len(rest))
    authority, path = rest[:cut], rest[cut:]
    # A reference without a scheme (RFC 3986 section 4.2) has the one that the upstream was asked with.
    schemes = (scheme[:-1],) if scheme else (b"http", b"https")
    base = next((relocate[found] for name in schemes if (found := origin(name, authority)) in relocate), None)
    if base is None:
        return location
    if base and path.startswith(base) and path[len(base) : len(base) + 1] in (b"", b"/", b"?", b"#"):
        path = path[len(base) :]
    return public_origin() + path


def origin(scheme: bytes, authority: bytes) -> bytes:
    """Scheme and authority in one spelling: lower case, the scheme's own port left out."""
    scheme, authority = scheme.lower(), authority.lower()
    port = {b"http": b":80", b"https": b":443"}.get(scheme, b"")
    return b"%b://%b" % (scheme, authority.removesuffix(port) if port else authority)


@lru_cache(maxsize=2)
def _date_line(second: int) -> bytes:
    return b"Date: %b" % formatdate(second, usegmt=True).encode()


def date_line() -> bytes:
    """The `Date` line of this second (RFC 9110 section 6.6.1), without its line end."""
    return _date_line(int(time.time()))
