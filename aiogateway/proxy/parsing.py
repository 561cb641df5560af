"""How requests are parsed: the limits, the parser, and what is said about what it refuses."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import HttpRequestParser
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE, RequestPayloadError

from aiogateway.errors import Problem

# RFC 9112 section 3 recommends at least 8000 octets for a request line. A field may hold a token of 16 KiB.
MAX_TARGET: Final = 16 * 1024
MAX_FIELD: Final = 24 * 1024
MAX_FIELDS: Final = 100
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


def unparsed(exc: BaseException | None) -> Problem:
    """What a request that can't be parsed is told."""
    if isinstance(exc, LineTooLong):
        # The exception says which limit was passed, not what passed it.
        return Problem("uri_too_long" if exc.args[1] == MAX_TARGET else "header_too_large")
    if exc is not None and "Too many headers" in str(exc):
        return Problem("header_too_large", f"the request has more than {MAX_FIELDS} fields")
    return Problem("bad_request", "the request can't be parsed")
