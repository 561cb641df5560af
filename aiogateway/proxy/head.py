"""What the fields of a request come to, worked out once for all requests that bring the same ones.

A browser says the same in every request of a page: where it comes from, what it takes, who it is. What that means is
kept by the fields themselves, every byte of them, so that nothing of one client's is ever taken for another's.
"""

from __future__ import annotations

from typing import Final

from aiohttp.hdrs import ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, ORIGIN, TRANSFER_ENCODING
from aiohttp.http_parser import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy, istr

from aiogateway.compression import Choice, choose
from aiogateway.proxy.headers import inward_lines
from aiogateway.recent import Recent

X_REQUEST_ID: Final = istr("X-Request-ID")
TRACEPARENT: Final = istr("traceparent")
Fields = tuple[tuple[bytes, bytes], ...]

# What no page's origin is.
NOBODY: Final = ""
# Heads that are kept, twice as many at the most, and the bytes of one.
MOST: Final = 256
LONGEST: Final = 4096


class Head:
    """The fields of a request. What middlewares find out from nothing but them is kept here too.

    :param raw: as they came.
    :param headers: the same, by name.
    :ivar origin: the page's; None without one, and nobody's when several are named.
    :ivar bearer: the token of the only `Authorization` field; None where there is none such.
    :ivar host: the first `Host`.
    :ivar request_id: the client's own name for the request.
    :ivar traced: whether they name a trace.
    :ivar has_framing: whether they say something of a body.
    :ivar admitted: a version of HTTP in which nothing is wrong with them; None while that isn't known.
    :ivar agent: the client's software as logs show it; None while that isn't known.
    """

    __slots__ = (
        "__weakref__",
        "_coding",
        "_inward",
        "admitted",
        "agent",
        "bearer",
        "has_framing",
        "headers",
        "host",
        "origin",
        "raw",
        "request_id",
        "traced",
    )

    def __init__(self, raw: Fields, headers: CIMultiDictProxy[str]) -> None:
        self.raw = raw
        self.headers = headers
        origins = headers.getall(ORIGIN, [])
        self.origin = None if not origins else origins[0] if len(origins) == 1 else NOBODY
        credentials = headers.getall(AUTHORIZATION, [])
        alone = len(credentials) == 1 and credentials[0].startswith("Bearer ")
        self.bearer = credentials[0][7:] if alone else None
        self.host = headers.get(HOST, "").encode("utf-8", "surrogateescape")
        self.request_id = headers.get(X_REQUEST_ID)
        self.traced = TRACEPARENT in headers
        self.has_framing = CONTENT_LENGTH in headers or TRANSFER_ENCODING in headers
        self.admitted: tuple[int, int] | None = None
        self.agent: str | None = None
        self._inward: bytes | None = None
        self._coding: Choice | None = None

    def inward(self) -> bytes:
        """The lines that go on to an upstream, without the last line end.

        :raises MalformedName: a name is no token.
        """
        lines = self._inward
        if lines is None:
            lines = self._inward = b"\r\n".join(inward_lines(self.raw, self.headers.getall(CONNECTION, ())))
        return lines

    def coding(self) -> Choice:
        """The content coding that the client gets."""
        choice = self._coding
        if choice is None:
            choice = self._coding = choose(self.headers.getall(ACCEPT_ENCODING, ()))
        return choice


NO_HEAD: Final = Head((), CIMultiDictProxy(CIMultiDict()))


class Heads:
    """Those of late, of all clients of one worker."""

    def __init__(self) -> None:
        self._recent: Recent[Fields, Head] = Recent(MOST)

    def of(self, message: RawRequestMessage, last: Head | None) -> Head:
        """What a request's fields come to.

        :param last: those of the request before on the same connection: to compare costs less than to look up.
        """
        raw = message.raw_headers
        if last is not None and last.raw == raw:
            return last
        found = self._recent.find(raw)
        if found is None:
            found = Head(raw, message.headers)
            if sum([len(name) + len(value) for name, value in raw]) <= LONGEST:
                self._recent.keep(raw, found)
        return found
