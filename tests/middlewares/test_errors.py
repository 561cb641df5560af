"""Whatever is raised becomes an answer."""

from __future__ import annotations

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from aiogateway.errors import Problem
from aiogateway.middlewares.errors import HANG_UP, errors
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response
from tests.middlewares.asked import head, ok, request


async def answered(exc: BaseException | None, raw: bytes = head()) -> Response:
    async def raises(asked: Request) -> Response:
        if exc is None:
            return await ok(asked)
        raise exc

    asked = request(raw)
    asked.id = "r-1"
    return await errors(raises)(asked)


async def test_what_is_no_error_is_left_alone() -> None:
    assert (await answered(None)).status == 200


async def test_a_problem_becomes_its_answer() -> None:
    response = await answered(Problem("method_not_allowed", headers=(("Allow", "GET, HEAD"),)))
    assert response.status == 405
    assert b"Allow: GET, HEAD" in response.lines and b"Content-Type: application/problem+json" in response.lines
    body = json.loads(bytes(response.body))
    assert (body["code"], body["request_id"]) == ("method_not_allowed", "r-1")


@pytest.mark.parametrize("exc", [ConnectionResetError("gone"), BrokenPipeError("gone")])
async def test_a_client_that_left_is_499(exc: Exception) -> None:
    assert (await answered(exc)).status == 499


async def test_anything_else_is_500_and_only_the_log_knows_more() -> None:
    with capture_logs() as logged:
        response = await answered(ValueError("secret inner message"))
    assert (response.status, json.loads(bytes(response.body))["code"]) == (500, "internal")
    assert b"secret" not in bytes(response.body)
    assert [(line["request_id"], line["log_level"]) for line in logged] == [("r-1", "error")]


async def test_cancellation_is_not_swallowed() -> None:
    with pytest.raises(asyncio.CancelledError):
        await answered(asyncio.CancelledError())


@pytest.mark.parametrize(
    ("code", "raw", "closes"),
    [
        ("forbidden", head(), False),
        ("forbidden", head("Content-Length: 2") + b"hi", False),
        ("forbidden", head("Content-Length: 2") + b"h", True),
        ("forbidden", head("Transfer-Encoding: chunked"), True),
        *((code, head(), True) for code in sorted(HANG_UP)),
    ],
)
async def test_the_connection_ends_where_what_follows_could_be_misread(code: str, raw: bytes, closes: bool) -> None:
    assert (await answered(Problem(code), raw)).close is closes
