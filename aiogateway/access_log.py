"""One line about each request that is over: what an SRE asks at night about one request.

Rules: nothing secret or personal is in it: no field of the head but the user agent, no query value, nothing that looks
like a token or an e-mail address. A line is short and plain ASCII, whatever clients send.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import orjson

from aiogateway.proxy.request import Request

# Characters that are shown at the most.
MAX_PATH: Final = 768
MAX_TEXT: Final = 200
MAX_NAMES: Final = 16
_PRIVATE: Final = re.compile(r"(?<![^/?&=\s,;:])[^/?&=\s,;:]*(?:@|%40)[^/?&=\s,;]*|eyJ[\w.%+=-]*", re.IGNORECASE)
_NAME: Final = re.compile(r"[A-Za-z0-9_.\-\[\]]{1,64}")
# Surrogates that stand for no byte of a head.
_NO_BYTE: Final = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_MASK: Final = "***"
_FRACTIONS: Final = tuple(f".{milliseconds:03d}Z" for milliseconds in range(1000))


def plain(text: str, longest: int) -> str:
    """A text in printable ASCII, what looks private masked, other bytes as `%XX`."""
    if not (text.isascii() and text.isprintable()) or "@" in text or "%40" in text or "eyJ" in text:
        # Searches for words cost a fraction of a pattern's.
        text = _PRIVATE.sub(_MASK, text[: 4 * longest])
        raw = _NO_BYTE.sub("?", text).encode("utf-8", "surrogateescape")
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else f"%{byte:02X}" for byte in raw)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


@lru_cache(maxsize=1024)
def plain_text(text: str) -> str:
    """A short text, such as a name, as `plain`."""
    return plain(text, MAX_TEXT)


def query_names(query: str) -> str:
    """The names in a query, without their values; what is no name, or holds something private, is left out.

    :param query: with its `?`, or empty.
    """
    names = []
    for part in query[1:].split("&", MAX_NAMES)[:MAX_NAMES]:
        name, equals, _ = part.partition("=")
        if equals and _NAME.fullmatch(name) is not None and "eyJ" not in name:
            names.append(f"{name}=")
    return f"?{'&'.join(names)}" if names else ""


def shown_path(request: Request) -> str:
    """A request's path, and the names of its query."""
    return plain(request.path, MAX_PATH) + (query_names(request.query)[:MAX_TEXT] if request.query else "")


def micros(span: float) -> int:
    """A span of seconds in whole microseconds; `round` to so many digits takes ten times as long."""
    return int(span * 1e6 + 0.5)


class Clock:
    """Unix time as ISO 8601, to the millisecond. Spelling the second is what costs: it is remembered."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def text(self, moment: float) -> str:
        second = int(moment)
        if second != self._second:
            self._second, self._text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return self._text + _FRACTIONS[int(moment * 1000) % 1000]


class AccessLog:
    """:param write: takes a line with its end.
    :param form: `json` or `text` (`GATEWAY_LOG_FORMAT`).
    :param wall: Unix time in seconds.
    """

    def __init__(self, write: Callable[[bytes], None], form: str, wall: Callable[[], float] = time.time) -> None:
        self._write = write
        self._wall = wall
        self._clock = Clock()
        self._line = self._json if form == "json" else self._text

    def log(self, request: Request) -> None:
        """Write the line of a request that is over."""
        record = request.record
        started = self._clock.text(self._wall() - record.ended + record.started)
        self._write(self._line(request, started))

    def _json(self, request: Request, started: str) -> bytes:
        record, identity, head = request.record, request.identity, request.head
        agent = head.agent
        if agent is None:
            agent = head.agent = plain_text(request.headers.get("User-Agent", ""))
        return orjson.dumps(
            {
                "time": started,
                "level": "info",
                "event": "request",
                "request_id": request.id,
                "trace_id": record.trace_id or None,
                "client": request.client,
                "user": None if identity is None else plain_text(identity.user),
                "method": request.method,
                "path": shown_path(request),
                "route": record.route if len(record.route) <= MAX_TEXT else record.route[:MAX_TEXT],
                "status": record.status_label(),
                "code": record.code or None,
                "flags": record.flags(),
                "upstream": record.upstream or None,
                "destination": record.destination or None,
                "attempts": record.attempts,
                "cache": record.cache or None,
                "bytes_in": record.bytes_in,
                "bytes_out": record.bytes_out,
                "duration": micros(record.ended - record.started) / 1e6,
                "pool": micros(record.pool) / 1e6 if record.pool else 0.0,
                "connect": micros(record.connect) / 1e6 if record.connect else 0.0,
                "ttfb": micros(record.ttfb()) / 1e6,
                "upstream_time": micros(record.upstream_time()) / 1e6,
                "ended_by": record.ended_by(),
                "user_agent": agent,
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )

    def _text(self, request: Request, started: str) -> bytes:
        record = request.record
        told = [
            started[11:],
            str(record.status_label()),
            f"{request.method} {shown_path(request)}",
            f"{record.total() * 1000:.1f} ms",
            f"-> {record.upstream}" if record.upstream else "",
            f"cache {record.cache}" if record.cache else "",
            record.flags(),
            record.code,
            request.id,
        ]
        return "  ".join(filter(None, told)).encode("ascii", "backslashreplace") + b"\n"
