"""What goes wrong in services, on purpose: slow, failing, cut off, HTML where JSON was due, and no HTTP at all.

Rules: all hang below the homepage's open paths, so that they can be tried without a token. The parameters are checked,
since anyone may send them.
"""

from __future__ import annotations

from aiohttp import web

from aiogateway.demo.forms import unprocessable
from aiogateway.demo.service import Handler, any_method
from aiogateway.demo.world import World

LONGEST_WAIT = 600
CUT_LENGTH = 64 * 1024
HTML = """<!DOCTYPE html>
<html><head><title>{status} {reason}</title></head>
<body><h1>{reason}</h1><p>uvicorn on homepage-chatbot-service:8017</p></body></html>
"""


def routes(world: World) -> list[web.RouteDef]:
    return [
        any_method("/v2/homepage-slow", _slow(world)),
        any_method("/v2/homepage-fail", fail),
        any_method("/v2/homepage-cut", cut),
        any_method("/v2/homepage-html-error", html_error),
        any_method("/v2/homepage-garbage", garbage),
    ]


def _number(request: web.Request, name: str, default: int, lowest: int, highest: int) -> int:
    """A whole number of the query.

    :raises HTTPUnprocessableEntity: it is none, or out of range.
    """
    text = request.query.get(name, str(default))
    # The length first: int() is slow on what is long
    if len(text) > 4 or not (text.isascii() and text.isdigit()) or not lowest <= int(text) <= highest:
        fault = {"type": "number", "loc": ["query", name], "msg": f"A whole number from {lowest} to {highest}"}
        raise unprocessable([fault])
    return int(text)


def _slow(world: World) -> Handler:
    async def slow(request: web.Request) -> web.Response:
        """Answers after `seconds` (3)."""
        seconds = _number(request, "seconds", 3, 0, LONGEST_WAIT)
        await world.sleep(seconds)
        return web.json_response({"status": "ok", "waited": seconds})

    return slow


async def fail(request: web.Request) -> web.Response:
    """Answers with `status` (503) and JSON that gives inner matters away, as a service with a bug does."""
    status = _number(request, "status", 503, 400, 599)
    detail = "psycopg2.OperationalError: connection to server at 10.0.3.7 failed"
    headers = {"Retry-After": "2"} if status in (429, 503) else {}
    return web.json_response({"detail": detail}, status=status, headers=headers)


async def html_error(request: web.Request) -> web.Response:
    """Answers with `status` (500) and a page of HTML."""
    status = _number(request, "status", 500, 400, 599)
    reason = "Not Found" if status == 404 else "Internal Server Error"
    return web.Response(text=HTML.format(status=status, reason=reason), content_type="text/html", status=status)


async def cut(request: web.Request) -> web.StreamResponse:
    """Promises `CUT_LENGTH` bytes, sends half of them, and closes the connection."""
    answer = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    answer.content_length = CUT_LENGTH
    await answer.prepare(request)
    await answer.write(b"x" * (CUT_LENGTH // 2))
    _hang_up(request)
    return answer


async def garbage(request: web.Request) -> web.StreamResponse:
    """Sends bytes that are no HTTP, and closes the connection."""
    if request.transport is not None:
        request.transport.write(b"\x00\x01 this is no HTTP\r\n\r\n")
    _hang_up(request)
    return web.Response()


def _hang_up(request: web.Request) -> None:
    """Closes the connection once what was written has gone out; aiohttp then gives the rest of the answer up."""
    if request.transport is not None:
        request.transport.close()
