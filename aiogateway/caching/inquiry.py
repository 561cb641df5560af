"""What the cache asks an upstream, and what of it an answer may depend on.

An answer that many get is asked for without what is one client's own: its conditions, its range, and the codings it
takes where the gateway encodes itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from aiohttp.hdrs import ACCEPT_ENCODING, AUTHORIZATION, CONNECTION
from multidict import CIMultiDict, CIMultiDictProxy

from aiogateway.caching.entry import Key
from aiogateway.caching.storing import Asked, Selecting
from aiogateway.compression import IDENTITY
from aiogateway.proxy.head import Head
from aiogateway.proxy.headers import RawFields, goes_inward, named_by_connection
from aiogateway.proxy.record import Record
from aiogateway.proxy.request import Request

# Conditions and ranges are the client's own; what is asked is decided by what is stored.
CONDITIONAL: Final = frozenset({b"if-none-match", b"if-modified-since", b"if-range", b"range"})
# No two requests have the same.
UNIQUE: Final = frozenset({"forwarded", "traceparent", "tracestate", "x-forwarded-for", "x-real-ip", "x-request-id"})
BY_IDENTITY: Final = frozenset({"x-user-id", "x-user-roles"})
# What stands for a field that isn't there; no field's value can be this.
ABSENT: Final = "\0"

_SHARED_SLOTS: Final = (
    *("authority", "connection", "content", "cors", "id", "id_line", "identity", "keep_alive", "match"),
    *("path", "query", "received", "rest", "route", "sent", "trace_lines", "version"),
)
_OF_HOPS: Final = re.compile(r"[;,]")


class Inquiry(Request):
    """A GET for the cache, made of a client's request; it has a record of its own.

    :param request: of the client that asks first.
    :param fields: added to what the client sent: conditions of the cache's own.
    :param plain: whether the answer is wanted in no content coding.
    :ivar heard: told of early hints; None when no client waits any more.
    """

    __slots__ = ("heard",)

    def __init__(self, request: Request, fields: RawFields, *, plain: bool) -> None:
        for name in _SHARED_SLOTS:
            setattr(self, name, getattr(request, name))
        self.method = "GET"
        self.handshake = None
        self.due = []
        self.heard: Request | None = request.heard if isinstance(request, Inquiry) else request
        self.record = Record(request.record.started)
        self.record.route = request.record.route
        dropped = CONDITIONAL | {b"accept-encoding"} if plain else CONDITIONAL
        raw = [field for field in request.message.raw_headers if field[0].lower() not in dropped]
        raw += fields
        if plain:
            raw.append((b"Accept-Encoding", IDENTITY.encode()))
        headers = CIMultiDict(request.headers)
        for name in (*(name.decode() for name in dropped), ACCEPT_ENCODING if plain else ""):
            headers.popall(name, None)
        self.headers = CIMultiDictProxy(headers)
        self.message = request.message._replace(raw_headers=tuple(raw), headers=self.headers)
        self.head = Head(tuple(raw), self.headers)

    def early_hints(self, fields: RawFields, connection: Sequence[str]) -> None:
        """Pass a 103 on to the client that asked first; others may be elsewhere in their answers."""
        if self.heard is not None:
            try:
                self.heard.early_hints(fields, connection)
            except ConnectionResetError:
                self.heard = None  # it left; the answer may be others' too


def key_of(request: Request) -> Key:
    """The URI that a request is about, as the client knows it.

    What a trusted proxy says of that is part of it: an upstream may write links by it, and a client may have sent it.
    """
    origin = _origin(request.public_origin())
    if request.connection.trusted_peer:
        origin = "\n".join((origin, *_told_by_proxies(request.message.raw_headers)))
    return Key(origin, request.path, request.query)


@lru_cache(maxsize=64)
def _origin(public: bytes) -> str:
    return public.decode("utf-8", "surrogateescape").lower()


def _told_by_proxies(fields: RawFields) -> list[str]:
    """What proxies say of the URI, and so not whom they speak for."""
    found = []
    for name, raw in fields:
        lower, value = name.lower(), raw.decode("latin-1")
        if lower.startswith(b"x-forwarded-") and lower != b"x-forwarded-for":
            found.append(f"{lower.decode('latin-1')}: {value}")
        elif lower == b"forwarded":
            parts = (part.strip().lower() for part in _OF_HOPS.split(value))
            found += [f"forwarded: {part}" for part in parts if part.startswith(("host=", "proto="))]
    return sorted(found)


def selecting(request: Request, *, plain: bool) -> Selecting:
    """What the upstream sees of a request, by the name of a field; None for what no other request has.

    :param plain: whether it is asked for an answer in no content coding.
    """
    headers = request.headers

    def value(name: str) -> str | None:
        if name in UNIQUE:
            return None
        if name in BY_IDENTITY:
            return ABSENT if request.identity is None else request.identity.lines.decode("latin-1")
        raw = name.encode("latin-1", "replace")
        if name == "accept-encoding" and plain:
            return IDENTITY
        if raw in CONDITIONAL or (CONNECTION in headers and raw in named_by_connection(headers.getall(CONNECTION))):
            return ABSENT
        if not goes_inward(raw) and not (raw.startswith(b"x-forwarded-") and request.connection.trusted_peer):
            return ABSENT  # removed, or written by the gateway from what the key holds
        return ", ".join(headers.getall(name, (ABSENT,)))

    return value


def source_of(request: Request) -> str:
    """What a request is asked of: the upstream, and the path there."""
    route = request.route
    return f"{route.upstream.name} {route.target(request.path, request.match.params)}"


def asked_of(request: Request, source: str, sees: Selecting, now: float) -> Asked:
    """What decides how an answer to a request may be kept.

    :param sees: what the upstream sees of it.
    :param now: seconds since the epoch.
    """
    kept = request.route.cache
    by_route = None if kept is None or isinstance(kept, bool) else float(kept)
    return Asked(source, sees, AUTHORIZATION in request.headers, by_route, now)
