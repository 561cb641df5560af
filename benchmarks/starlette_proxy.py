"""The contender in Python's usual way: Starlette and one pooled httpx client, both bodies streamed.

Started by uvicorn with uvloop, one process; `BENCH_BACKEND` names the backend's origin.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypedDict

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

HOP_BY_HOP = frozenset({"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host"})


class State(TypedDict):
    """What lives as long as the application."""

    client: httpx.AsyncClient


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[State]:
    """One client, and so one pool, for all requests."""
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=100, keepalive_expiry=60)
    backend = os.environ["BENCH_BACKEND"]
    async with httpx.AsyncClient(base_url=backend, limits=limits, timeout=60, trust_env=False) as client:
        yield {"client": client}


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """The fields that are not about one connection alone."""
    return {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}


async def relayed(answer: httpx.Response) -> AsyncIterator[bytes]:
    """The body as it comes; a client that leaves must not keep the connection from the pool."""
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    finally:
        await answer.aclose()


async def proxy(request: Request) -> StreamingResponse:
    """Send the request on and stream the answer back."""
    client: httpx.AsyncClient = request.state.client
    outbound = client.build_request(
        request.method,
        request.url.path + ("?" + request.url.query if request.url.query else ""),
        headers=passed_on(request.headers),
        content=request.stream() if "content-length" in request.headers else None,
    )
    answer = await client.send(outbound, stream=True)
    return StreamingResponse(
        relayed(answer),
        status_code=answer.status_code,
        headers=passed_on(answer.headers),
    )


app = Starlette(routes=[Route("/{path:path}", proxy, methods=["GET", "POST"])], lifespan=lifespan)
