"""A listener that stops with clients in its queue."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from collections.abc import Iterator
from typing import Any, cast

import pytest
import trustme

from aiogateway.draining import Listener


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


class Greeting(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(b"hello")


async def test_who_had_connected_is_accepted(listening: socket.socket) -> None:
    listener, address = Listener(cast(Any, Greeting), listening, None), listening.getsockname()
    await listener.start()
    with socket.create_connection(address) as client:
        listener.stop()
        client.settimeout(30)
        assert await asyncio.to_thread(client.recv, 5) == b"hello"
        await listener.give_up()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


@pytest.mark.parametrize("begun", [True, False])
async def test_who_is_given_up_in_its_handshake_is_nobody_s_trouble(listening: socket.socket, begun: bool) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("gateway.test").configure_cert(tls)
    listener = Listener(cast(Any, Greeting), listening, tls)
    await listener.start()
    with socket.create_connection(listening.getsockname()) as client:
        listener.stop()
        if begun:
            await asyncio.sleep(0)
        assert listener.taking
        await listener.give_up()
        client.settimeout(30)
        assert await asyncio.to_thread(client.recv, 5) == b""
    gc.collect()
    assert told == []
