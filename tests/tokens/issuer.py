"""An issuer of tokens: a real server on loopback that gives its key set, or something else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from aiogateway.tokens.jwks import Jwks
from tests.clock import Clock
from tests.tokens.signing import public_jwk

PATH = "/keys.json"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Issuer:
    """Answers fetches, and counts them.

    :ivar fetches: how many have come.
    :ivar open: answers wait for it.
    :ivar answer: how one is made.
    """

    def __init__(self) -> None:
        self.fetches = 0
        self.open = asyncio.Event()
        self.open.set()
        self.port = 0
        self.answer: Answer
        self.gives(public_jwk("RS256", kid="r0"))
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PATH}"

    def gives(self, *keys: Any) -> None:
        """From now on give a set of these keys."""
        self.says(orjson.dumps({"keys": keys}))

    def says(self, body: bytes, status: int = 200, **headers: str) -> None:
        """From now on answer with these very bytes."""

        async def answer(request: web.Request) -> web.StreamResponse:
            return web.Response(body=body, status=status, headers=headers)

        self.answer = answer

    async def start(self) -> None:
        """Listen, on the port of the last time if there was one."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = site.port

    async def stop(self) -> None:
        """Go down: connections are refused."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.fetches += 1
        await self.open.wait()
        return await self.answer(request)


@asynccontextmanager
async def issuing() -> AsyncIterator[Issuer]:
    issuer = Issuer()
    await issuer.start()
    try:
        yield issuer
    finally:
        issuer.open.set()
        await issuer.stop()


@asynccontextmanager
async def started(jwks: Jwks) -> AsyncIterator[Jwks]:
    await jwks.start()
    try:
        yield jwks
    finally:
        await jwks.close()


def jwks_of(issuer: Issuer, clock: Clock, timeout: float = 3.0) -> Jwks:
    return Jwks(f"{issuer.url}?token=s3cret", ("RS256", "ES256", "EdDSA"), clock, timeout)
