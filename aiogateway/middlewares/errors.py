"""Whatever is raised becomes an answer in the contract's format, in this one place."""

from __future__ import annotations

from typing import Final

import structlog

from aiogateway.errors import Problem
from aiogateway.middlewares.chain import Handler
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response, problem_response

HANG_UP: Final = frozenset(
    {
        "bad_request",
        "client_closed",
        "expectation_failed",
        "http_version_not_supported",
        "internal",
        "not_implemented",
        "request_timeout",
    }
)

log = structlog.get_logger(__name__)


def errors(inner: Handler) -> Handler:
    """Answer problems as `application/problem+json`, and anything else raised, a fault of ours, as 500."""

    async def answer(request: Request) -> Response:
        try:
            return await inner(request)
        except Problem as problem:
            # The frames that it came through may hold it: without them it is a cycle no more, and gone with its answer.
            told = problem.with_traceback(None)
        except ConnectionError:
            told = Problem("client_closed")
        except Exception:  # the outermost place: what nobody understood must still be answered, and be seen
            log.exception("unhandled error", request_id=request.id, method=request.method)
            told = Problem("internal")
        request.record.code = told.code
        # Unread bytes of a body would be taken for the next request, and so might what follows a malformed one.
        return problem_response(told, request.id, close=told.code in HANG_UP or not request.content.is_eof())

    return answer
