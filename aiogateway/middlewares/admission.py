"""What is refused before anything else looks at a request, and before a byte of it goes upstream."""

from __future__ import annotations

from typing import Final

from aiohttp.hdrs import CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING, VIA

from aiogateway.errors import Problem
from aiogateway.middlewares.chain import Handler
from aiogateway.proxy.body import too_large
from aiogateway.proxy.headers import via_count
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response
from aiogateway.routes import Route

# How often a request may have passed through here (contract, "To and from the upstream").
MAX_PASSES: Final = 2
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
        if TRANSFER_ENCODING in headers:
            codings = headers.getall(TRANSFER_ENCODING)
            if len(codings) != 1 or codings[0].lower() != "chunked":
                raise Problem("not_implemented", "the only transfer coding taken is chunked")
        if EXPECT in headers and headers[EXPECT].lower() != "100-continue":
            raise Problem("expectation_failed")
        if VIA in headers and via_count(headers.getall(VIA)) > MAX_PASSES:
            raise Problem("loop_detected")
        return await inner(request)

    return answer


def body_limit(inner: Handler, route: Route) -> Handler:
    """Refuse a body whose announced length is over the route's `max_body`; what comes in chunks is counted later."""
    limit = route.max_body

    async def answer(request: Request) -> Response:
        length = request.headers.get(CONTENT_LENGTH)
        if length is not None and int(length) > limit:
            raise too_large(limit)
        return await inner(request)

    return answer
