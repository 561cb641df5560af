"""How requests are parsed: the limits, the parser, and what is said about what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.http_parser import HttpRequestParser
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE, RequestPayloadError

from aiogateway.errors import Problem

# RFC 9112 section 3 recommends at least 8000 octets for a request line. A field may hold a token of 16 KiB.
MAX_TARGET: Final = 16 * 1024
MAX_FIELD: Final = 24 * 1024
MAX_FIELDS: Final = 100
# Bytes of all fields of a head together, as they are written.
MAX_HEAD: Final = 64 * 1024
# Bytes that may come before a head is whole: its fields, its first line, and empty lines before it.
MAX_ARRIVING: Final = MAX_TARGET + MAX_HEAD + 1024
UNKNOWN_CODING: Final = "the only transfer coding taken is chunked"
# Bytes of a client's body kept before reading pauses; aiohttp pauses at twice this.
BODY_BUFFER: Final = 64 * 1024


def make_parser(connection: BaseProtocol, loop: asyncio.AbstractEventLoop) -> HttpRequestParser:
    """A parser for the requests that are still to come on a connection."""
    return HttpRequestParser(
        connection,
        loop,
        BODY_BUFFER,
        max_line_size=MAX_TARGET,
        max_field_size=MAX_FIELD,
        max_headers=MAX_FIELDS,
        payload_exception=RequestPayloadError,
        auto_decompress=False,
        max_msg_queue_size=MAX_MSG_QUEUE_SIZE,
    )


TOO_LARGE: Final = Problem("header_too_large")
# What the parser's messages begin with; behind that they may hold the client's bytes.
_BY_MESSAGE: Final = (
    ("Too many headers", Problem("header_too_large", f"the request has more than {MAX_FIELDS} fields")),
    ("Bad status line:\n  Invalid HTTP version", Problem("http_version_not_supported")),
    ("Pause on PRI/Upgrade", Problem("http_version_not_supported")),  # the preface of HTTP/2
    # RFC 9112 section 6.1: the parser refuses any coding but `chunked` only when a byte of the body is there.
    ("Request has invalid `Transfer-Encoding`", Problem("not_implemented", UNKNOWN_CODING)),
)


def too_many_bytes(fields: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the fields of a head are more than `MAX_HEAD` together."""
    return sum([len(name) + len(value) + 4 for name, value in fields]) > MAX_HEAD


def unparsed(exc: BaseException | None) -> Problem:
    """What a request that can't be parsed is told."""
    if isinstance(exc, Problem):
        return exc
    if isinstance(exc, LineTooLong):
        # The exception says which limit was passed, not what passed it.
        return Problem("uri_too_long" if exc.args[1] == MAX_TARGET else "header_too_large")
    if isinstance(exc, HttpProcessingError):
        for beginning, problem in _BY_MESSAGE:
            if exc.message.startswith(beginning):
                return problem
    return Problem("bad_request", "the request can't be parsed")
