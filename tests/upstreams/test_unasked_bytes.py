"""Bytes from an upstream that belong to no request, which a connection must not be used again with."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from aiohttp.http_exceptions import HttpProcessingError

from tests.clock import eventually
from tests.upstreams.scripted import OK, Peer, answering, ask, connected

UNASKED = {
    "an answer": OK,
    "the beginning of one": b"HTTP/1.1 200 OK\r\nX-Not-Asked: for\r\n",
    "the beginning of a line": b"HTTP",
    "nonsense": b"nonsense\r\n\r\n",
}


@pytest.mark.parametrize("extra", UNASKED.values(), ids=UNASKED)
async def test_a_connection_with_bytes_that_nobody_asked_for_is_not_used_again(extra: bytes) -> None:
    """They would be read as the beginning of the next request's answer: someone else's, or a forged one."""
    idle = asyncio.Event()

    async def then(peer: Peer) -> None:
        await idle.wait()
        await peer.say(extra)
        await peer.rest()

    async with connected(answering(OK, then=then)) as connection:
        assert await ask(connection) == (200, b"ok")
        idle.set()
        await eventually(lambda: not connection.is_reusable(), "the extra bytes are noticed", within=1)


@pytest.mark.parametrize("extra", UNASKED.values(), ids=UNASKED)
async def test_nor_is_one_where_they_came_in_the_answer_s_own_packet(extra: bytes) -> None:
    async with connected(answering(OK + extra)) as connection:
        with contextlib.suppress(HttpProcessingError):  # an answer with nonsense behind it may be refused as well
            assert await ask(connection) == (200, b"ok")
        assert not connection.is_reusable()
