"""Encodes the answers of a route, for clients that take that."""

from __future__ import annotations

from aiogateway.compression import Compression
from aiogateway.middlewares.chain import Handler
from aiogateway.proxy.encoded_answer import encoded
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response


def compression(inner: Handler, encoding: Compression) -> Handler:
    """Around what asks the upstream."""

    async def answer(request: Request) -> Response:
        return encoded(await inner(request), request, encoding)

    return answer
