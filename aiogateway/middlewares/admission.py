"""What is refused before anything else looks at a request, and before a byte of it goes upstream.

What the parser refuses by itself (RFC 9112 sections 2 to 7: bare CR and LF, folded lines, names and values with bytes
they can't have, framing that is malformed or said twice) never comes here; this is what it lets by. Whatever is
refused as malformed ends the connection: where the next request begins can't be told any more.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from aiohttp.hdrs import CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, VIA

from aiogateway.errors import Problem
from aiogateway.middlewares.chain import Handler
from aiogateway.proxy.headers import named_by_connection, via_count
from aiogateway.proxy.parsing import UNKNOWN_CODING
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response

# How often a request may have passed through here (contract, "To and from the upstream").
MAX_PASSES: Final = 2
# Digits of a Content-Length. aiohttp reads 2**64 - 1 as no body at all, and thousands of zeros are no number to Python.
MAX_LENGTH_DIGITS: Final = 18
_LABEL: Final = r"(?!-)[A-Za-z0-9_-]{1,63}"
_AUTHORITY: Final = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*\.?|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{{1,5}}))?")
# The longest name (RFC 1035 section 2.3.4), and a port.
_LONGEST_AUTHORITY: Final = 255 + len(":65535")
_BAD_QUERY: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|%00|#")
VERSIONS: Final = frozenset({(1, 0), (1, 1)})
SCHEMES: Final = frozenset({"http", "https"})
# Fields by which a request is judged here and read by its upstream: a request that lost one on the way would be
# another. RFC 9110 section 7.6.1: `Connection` must not name what is meant for all recipients.
END_TO_END: Final = frozenset(
    {b"authorization", b"cache-control", b"content-encoding", b"content-range", b"content-type", b"cookie", b"origin"}
)


def admission(inner: Handler) -> Handler:
    """Refuse what no route takes.

    :raises Problem: `bad_request`, `http_version_not_supported`, `not_implemented` (RFC 9110 section 9.3.6, RFC 9112
        section 6.1), `expectation_failed` (RFC 9110 section 10.1.1), `loop_detected`.
    """

    def answer(request: Request) -> Awaitable[Response]:
        if request.version not in VERSIONS:
            raise Problem("http_version_not_supported")
        if request.method == "CONNECT":
            raise Problem("not_implemented", "this gateway makes no tunnels")
        head = request.head
        if head.admitted != request.version:
            check_fields(request)
            if request.version == (1, 1):  # HTTP/1.0 has a say in whether the connection is kept, each time
                head.admitted = request.version
        check_target(request)
        return inner(request)

    return answer


def check_fields(request: Request) -> None:
    """Refuse what the fields alone show to be wrong.

    :raises Problem: `bad_request`, `not_implemented`, `expectation_failed`, `loop_detected`.
    """
    headers = request.headers
    hosts = headers.getall(HOST, ())
    if len(hosts) != 1 and (hosts or request.version >= (1, 1)):
        raise Problem("bad_request", "the request must have one Host field")
    if hosts and not is_authority(hosts[0]):
        raise Problem("bad_request", "the Host field is malformed")
    check_framing(request)
    if CONNECTION in headers:
        check_connection(request)
    if EXPECT in headers and any(value.lower() != "100-continue" for value in headers.getall(EXPECT)):
        raise Problem("expectation_failed")
    if VIA in headers and via_count(headers.getall(VIA)) > MAX_PASSES:
        raise Problem("loop_detected")


@lru_cache(maxsize=1024)
def _is_authority(text: str) -> bool:
    found = _AUTHORITY.fullmatch(text)
    if found is None or int(found[2] or 0) > 65535:
        return False
    try:
        return found[1] is None or bool(IPv6Address(found[1]))
    except AddressValueError:
        return False


def is_authority(text: str) -> bool:
    """Whether this is a host with or without a port (RFC 9110 section 7.2). Remembered: clients use few."""
    return len(text) <= _LONGEST_AUTHORITY and _is_authority(text)


def check_target(request: Request) -> None:
    """Refuse what a backend could read as another host, path or query than we do (RFC 9112 section 3.2).

    :raises Problem: `bad_request`.
    """
    if request.authority is not None:
        hosts = request.headers.getall(HOST, ())
        if request.message.path.partition(":")[0].lower() not in SCHEMES or not is_authority(request.authority):
            raise Problem("bad_request", "the request's target is malformed")
        if hosts and request.authority.lower() != hosts[0].lower():
            raise Problem("bad_request", "the request's target and its Host field disagree")
    if "#" in request.path:
        raise Problem("bad_request", "the request's target has a fragment")
    if request.query and _BAD_QUERY.search(request.query) is not None:
        raise Problem("bad_request", "the query has a character or an escape that can't be in a query")


def check_framing(request: Request) -> None:
    """Refuse a body whose end the parser sees elsewhere than others might (RFC 9112 section 6).

    :raises Problem: `bad_request`, `not_implemented`.
    """
    headers = request.headers
    length = headers.get(CONTENT_LENGTH)
    if length is not None and len(length) > MAX_LENGTH_DIGITS:
        raise Problem("bad_request", "the Content-Length is out of all bounds")
    if TRANSFER_ENCODING in headers:
        if request.version == (1, 0):
            raise Problem("bad_request", "HTTP/1.0 knows no Transfer-Encoding")
        codings = headers.getall(TRANSFER_ENCODING)
        if len(codings) != 1 or codings[0].lower() != "chunked":
            raise Problem("not_implemented", UNKNOWN_CODING)


def check_connection(request: Request) -> None:
    """Refuse to lose a field that `Connection` must not name, and see that `close` wins.

    :raises Problem: `bad_request`.
    """
    values = request.headers.getall(CONNECTION)
    if not END_TO_END.isdisjoint(named_by_connection(values)):
        raise Problem("bad_request", "the Connection field names a field that is not the connection's")
    if request.version == (1, 0) and any(
        option.strip().lower() == "close" for value in values for option in value.split(",")
    ):
        request.keep_alive = False  # RFC 9112 section 9.3; the parser lets a `keep-alive` beside it win
