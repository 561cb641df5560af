"""A name for every request, on its answer and on what goes upstream; with it go the other lines that are due.

A client's own `X-Request-ID` is taken when it is well-formed, so that one name follows a request through the whole
platform; anything else is replaced, because the name ends up in logs and pages.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Callable
from typing import Final

from aiogateway.middlewares.chain import Handler
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response

WELL_FORMED: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")


def maker() -> Callable[[], str]:
    """Names that no other worker or machine makes: 56 random bits a process, then a count. Make it after forking."""
    prefix, count = secrets.token_hex(7), itertools.count()
    return lambda: prefix + next(count).to_bytes(5, "big").hex()


def request_id(inner: Handler, make: Callable[[], str]) -> Handler:
    """:param make: gives the name of a request that brings none."""
    is_well_formed = WELL_FORMED.fullmatch

    async def answer(request: Request) -> Response:
        given = request.head.request_id
        request.id = given if given is not None and is_well_formed(given) else make()
        request.id_line = b"X-Request-ID: " + request.id.encode()
        request.due.append(request.id_line)
        response = await inner(request)
        response.lines += request.due
        return response

    return answer
