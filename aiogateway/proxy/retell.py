"""A backend's own error, retold: its status kept, its words only where they are meant for the client.

A 4xx in JSON passes byte for byte and never comes here; in plain text or HTML its text becomes `detail`. A 5xx says
nothing but its status: its body may hold a traceback or an inner address, and goes to the log at level debug.
"""

from __future__ import annotations

import asyncio
import html
import re
from typing import Final

import aiohttp
import structlog
from aiohttp.hdrs import CONTENT_TYPE
from aiohttp.http_parser import RawResponseMessage

from aiogateway.errors import Problem
from aiogateway.proxy.exchange import Exchange
from aiogateway.proxy.headers import has_control
from aiogateway.routes import Route

log = structlog.get_logger(__name__)

MAX_DETAIL: Final = 4 * 1024
MAX_LOGGED: Final = 2 * 1024
# An error body is read to its end up to here, so that its connection can be used again.
MAX_READ: Final = 64 * 1024
# Seconds: the status is known, and not held back longer for its body's sake.
PATIENCE: Final = 2.0
KEPT: Final = frozenset({b"retry-after", b"www-authenticate", b"allow", b"set-cookie"})

# What error pages are written in. Python knows many more, some of which are no charsets, or raise whatever is asked.
CHARSETS: Final = {
    **dict.fromkeys(("iso-8859-1", "latin-1", "latin1", "windows-1252", "cp1252"), "cp1252"),
    "utf-16": "utf-16",
}

_CHARSET: Final = re.compile(r'charset="?([\w.:-]+)', re.IGNORECASE)
_HIDDEN: Final = re.compile(r"<(script|style|head)\b.*?</\1\s*>|<!--.*?-->", re.IGNORECASE | re.DOTALL)
_TAG: Final = re.compile(r"<[^>]*>")
_BLANK: Final = re.compile(r"\s+")


def media_type(message: RawResponseMessage) -> str:
    return message.headers.get(CONTENT_TYPE, "").partition(";")[0].strip().lower()


def is_retold(message: RawResponseMessage, route: Route) -> bool:
    """Whether an answer is replaced by a problem (contract, "Answers of the gateway's own")."""
    if message.code >= 500:
        return route.errors == "replace"
    return message.code >= 400 and media_type(message) in ("text/plain", "text/html")


def detail_of(message: RawResponseMessage, body: bytes) -> str | None:
    """The text of a 4xx as one line; None when nothing readable is there."""
    if "Content-Encoding" in message.headers:
        return None
    charset = _CHARSET.search(message.headers.get(CONTENT_TYPE, ""))
    text = body.decode(CHARSETS.get(charset[1].lower(), "utf-8") if charset else "utf-8", "replace")
    if media_type(message) == "text/html":
        text = html.unescape(_TAG.sub(" ", _HIDDEN.sub(" ", text)))
    text = _BLANK.sub(" ", "".join(char if char.isprintable() else " " for char in text)).strip()
    return text.encode()[:MAX_DETAIL].decode("utf-8", "ignore") or None


async def read_some(exchange: Exchange) -> bytes:
    """The beginning of an error's body. The exchange is over afterwards: finished when the body ended, else aborted."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(PATIENCE):
            while size <= MAX_READ and (chunk := await exchange.read()):
                parts.append(chunk[:MAX_DETAIL])
                size += len(chunk)
        exchange.finish()
    except (aiohttp.ClientError, Problem, TimeoutError):
        pass  # the status was said; a body that breaks off says nothing that was to be passed on whole
    finally:
        exchange.abort()
    return b"".join(parts)[:MAX_DETAIL]


async def retell(exchange: Exchange, route: Route, request_id: str) -> Problem:
    """The problem that stands for a backend's error; it ends the exchange."""
    message = exchange.message
    body = await read_some(exchange)
    kept = tuple(
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in message.raw_headers
        if name.lower() in KEPT and not has_control(value)
    )
    if message.code < 500:
        return Problem("upstream_error", detail_of(message, body), status=message.code, headers=kept)
    log.debug(
        "upstream error",
        upstream=route.upstream.name,
        status=message.code,
        request_id=request_id,
        body=body[:MAX_LOGGED].decode("utf-8", "backslashreplace"),
    )
    detail = f"the {route.upstream.name} service answered with an error"
    return Problem("upstream_error", detail, status=message.code, headers=kept)
