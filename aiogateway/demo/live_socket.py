"""The live socket: questions answered in tokens, echoes, ticks, and the close that is asked for.

Rules: bytes come back as they are. A text is a command if it is written as one, else a question. Ticks go on beside
what is said; the one who asks for more of them gets those instead, and they end with the socket.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import WSMsgType, web

from aiogateway.demo.service import EVENT_GAP
from aiogateway.demo.speech import answer_to, tokens_of
from aiogateway.demo.world import World

WORDS_PER_MESSAGE: Final = 5
MESSAGE_LIMIT: Final = 64 * 1024
TICK_SECONDS: Final = 1.0
# What an application may close with (RFC 6455 7.4.2): the normal end, or a code of its own.
_CLOSE: Final = re.compile(r"close (1000|[34]\d{3})(?: (.*))?", re.DOTALL)
_TICKS: Final = re.compile(r"ticks ([1-9]\d?)")
_ECHO: Final = re.compile(r"echo .*", re.DOTALL)
_REASON_BYTES: Final = 123


class LiveSocket:
    """One client's socket.

    :param socket: not prepared yet.
    """

    def __init__(self, socket: web.WebSocketResponse, world: World) -> None:
        self._socket, self._world = socket, world
        self._ticking: asyncio.Task[None] | None = None
        self._commands: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Awaitable[None]]], ...] = (
            (_CLOSE, self._close),
            (_TICKS, self._tick),
            (_ECHO, self._echo),
        )

    async def talk(self, request: web.Request) -> web.WebSocketResponse:
        """Answer until either side closes."""
        await self._socket.prepare(request)
        try:
            async for message in self._socket:
                if message.type is WSMsgType.BINARY:
                    await self._socket.send_bytes(message.data)
                elif message.type is WSMsgType.TEXT:
                    await self._hear(message.data)
        finally:
            await self._still()
        return self._socket

    async def _hear(self, text: str) -> None:
        for pattern, command in self._commands:
            if match := pattern.fullmatch(text):
                return await command(match)
        for number, token in enumerate(tokens_of(answer_to(_question(text)), WORDS_PER_MESSAGE)):
            if number:
                await self._world.sleep(EVENT_GAP)
            await self._socket.send_json({"type": "token", "text": token})
        await self._socket.send_json({"type": "done"})

    async def _echo(self, match: re.Match[str]) -> None:
        await self._socket.send_str(match[0])

    async def _close(self, match: re.Match[str]) -> None:
        reason = (match[2] or "").encode()[:_REASON_BYTES].decode(errors="ignore")
        await self._still()
        await self._socket.close(code=int(match[1]), message=reason.encode())

    async def _tick(self, match: re.Match[str]) -> None:
        await self._still()
        self._ticking = asyncio.create_task(self._ticks(int(match[1])))

    async def _ticks(self, count: int) -> None:
        for number in range(1, count + 1):
            await self._world.sleep(TICK_SECONDS)
            await self._socket.send_json({"type": "tick", "number": number, "of": count})

    async def _still(self) -> None:
        """No more ticks."""
        ticking, self._ticking = self._ticking, None
        if ticking is not None:
            ticking.cancel()
            # A client that left fails the tick on its way; the socket's own end tells of it
            await asyncio.gather(ticking, return_exceptions=True)


def _question(text: str) -> str:
    """The question in a message: the field of a JSON object, else the message as it is."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return str(message.get("question", "")) if isinstance(message, dict) else text
