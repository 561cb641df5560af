"""What is refused before anything else looks at a request, and before a byte of it goes upstream."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from aiohttp.hdrs import EXPECT, HOST, TRANSFER_ENCODING, VIA

from aiogateway.errors import Problem
from aiogateway.middlewares.chain import Handler
from aiogateway.proxy.headers import via_count
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response

# How often a request may have passed through here (contract, "To and from the upstream").
MAX_PASSES: Final = 2
_LABEL: Final = r"(?!-)[A-Za-z0-9_-]{1,63}"
_AUTHORITY: Final = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?")
VERSIONS: Final = frozenset({(1, 0), (1, 1)})


def admission(inner: Handler) -> Handler:
    """Refuse what no route takes.

    :raises Problem: `http_version_not_supported`, `not_implemented` (RFC 9112 section 6.1), `expectation_failed`
        (RFC 9110 section 10.1.1), `loop_detected`.
    """

    async def answer(request: Request) -> Response:
        headers = request.headers
        if request.version not in VERSIONS:
            raise Problem("http_version_not_supported")
        check_authority(request)
        if TRANSFER_ENCODING in headers:
            if request.version == (1, 0):
                raise Problem("bad_request", "HTTP/1.0 knows no Transfer-Encoding")
            codings = headers.getall(TRANSFER_ENCODING)
            if len(codings) != 1 or codings[0].lower() != "chunked":
                raise Problem("not_implemented", "the only transfer coding taken is chunked")
        if EXPECT in headers and any(value.lower() != "100-continue" for value in headers.getall(EXPECT)):
            raise Problem("expectation_failed")
        if VIA in headers and via_count(headers.getall(VIA)) > MAX_PASSES:
            raise Problem("loop_detected")
        return await inner(request)

    return answer


@lru_cache(maxsize=1024)
def is_authority(text: str) -> bool:
    """Whether this is a host with or without a port (RFC 9110 section 7.2). Remembered: clients use few."""
    return _AUTHORITY.fullmatch(text) is not None


def check_authority(request: Request) -> None:
    """Refuse what a backend could read as another host or path than we do (RFC 9112 sections 3.2 and 3.2.2).

    :raises Problem: `bad_request`.
    """
    hosts = request.headers.getall(HOST, ())
    if len(hosts) != 1 and (hosts or request.version >= (1, 1)):
        raise Problem("bad_request", "the request must have one Host field")
    if hosts and not is_authority(hosts[0]):
        raise Problem("bad_request", "the Host field is malformed")
    if request.authority is not None and hosts and request.authority.lower() != hosts[0].lower():
        raise Problem("bad_request", "the request's target and its Host field disagree")
    if "#" in request.query or "#" in request.path:
        raise Problem("bad_request", "the request's target has a fragment")
