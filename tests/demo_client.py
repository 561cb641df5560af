"""What the demo's tests share: a clock that stands still, a client by the variables' names, an upload."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from aiogateway.demo.stand_ins import StandIns
from aiogateway.demo.world import user_id_of

KEY = "k" * 48
ME = user_id_of("ada@example.com")
CHAT = {"user_id": ME, "project_id": "p1", "session_id": "s1", "question": "What does it cost?"}
LOGIN = {"email": "ada@example.com", "password": "p&q", "otp": "123456", "new_password": "p"}


class Time:
    """A clock that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class Client:
    """Speaks to running stand-ins; a service goes by its variable without `_SERVICE_URL`."""

    def __init__(self, session: aiohttp.ClientSession, urls: dict[str, str], time: Time) -> None:
        self._session, self.urls, self.time = session, urls, time

    def ask(self, service: str, method: str, path: str, **more: Any) -> Any:
        variable = service if service in self.urls else f"{service}_SERVICE_URL"
        return self._session.request(method, self.urls[variable] + path, **more)

    async def json(self, service: str, method: str, path: str, **more: Any) -> Any:
        async with self.ask(service, method, path, **more) as answer:
            return await answer.json()

    async def status(self, service: str, method: str, path: str, **more: Any) -> int:
        async with self.ask(service, method, path, **more) as answer:
            return int(answer.status)

    async def events(self, service: str, method: str, path: str, **more: Any) -> list[dict[str, str]]:
        """The events of a stream, by field name."""
        async with self.ask(service, method, path, **more) as answer:
            assert answer.content_type == "text/event-stream"
            blocks = (await answer.text()).split("\n\n")
        assert blocks.pop() == ""
        return [dict(line.partition(": ")[::2] for line in block.split("\n")) for block in blocks]

    def socket(self, service: str, path: str) -> Any:
        return self._session.ws_connect(self.urls[f"{service}_SERVICE_URL"] + path)


@asynccontextmanager
async def running() -> AsyncIterator[Client]:
    """Stand-ins that serve, with time and chance decided, and a client for them."""
    time = Time()
    stand_ins = StandIns(KEY, random.Random(7), time.clock, time.sleep)
    await stand_ins.start()
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            yield Client(session, stand_ins.environment(), time)
    finally:
        await stand_ins.close()


def multipart(data: bytes = b"%PDF-1.4", **fields: str) -> aiohttp.FormData:
    """An upload of one file."""
    form = aiohttp.FormData({"user_id": ME, "project_id": "p1", **fields})
    form.add_field("files", io.BytesIO(data), filename="a.pdf", content_type="application/pdf")
    return form
