"""How a process stops serving.

A stop goes: not ready; go on accepting for `GATEWAY_DRAIN_DELAY`, until balancers noticed; stop accepting; let what
is in flight finish for `GATEWAY_DRAIN_TIMEOUT`, event streams for half of it; close. Kept-alive connections are good
for one more request each, until none came for a moment. Who insists skips what is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Final

import structlog

from aiogateway.app import Gateway
from aiogateway.errors import Problem
from aiogateway.proxy.listener import Server

log = structlog.get_logger(__name__)

BACKLOG: Final = 4096
# Seconds a client gets for its TLS handshake.
HANDSHAKE: Final = 10.0
# Seconds between looks at what a drain still waits for, and seconds without a request after which it waits no more.
LOOK: Final = 0.05
QUIET: Final = 1.0


class Stop:
    """What the signals said: the first asks for a drain, the second for the end."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.insisted = asyncio.Event()

    def ask(self) -> None:
        self.asked.set()

    def insist(self) -> None:
        self.asked.set()
        self.insisted.set()

    def ask_or_insist(self) -> None:
        (self.insisted if self.asked.is_set() else self.asked).set()

    async def wait(self, seconds: float) -> bool:
        """Wait, but not once the end was asked for; whether it was."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.insisted.wait()
        return self.insisted.is_set()


class Listener:
    """The public listener of one process, which may stop before its connections end.

    :param sock: it listens already; another process may share it.
    :param tls: what it speaks.
    """

    def __init__(self, server: Server, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        self.server = server
        self.tls = tls
        self._socket = sock
        self._handshake = None if tls is None else HANDSHAKE
        self._listening: asyncio.Server | None = None
        self._taken: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Accept connections."""
        self._listening = await asyncio.get_running_loop().create_server(
            self.server, sock=self._socket, ssl=self.tls, backlog=BACKLOG, ssl_handshake_timeout=self._handshake
        )

    def close(self) -> None:
        """Accept no more; a second time is harmless."""
        if self._listening is not None:
            self._listening.close()

    def stop(self) -> None:
        """Accept no more but those that had connected: the kernel would reset them."""
        queue = self._socket.dup()
        self.close()
        self._taken = [asyncio.create_task(self._take(sock)) for sock in _queued(queue)]

    @property
    def taking(self) -> bool:
        """Whether some of those are still being accepted."""
        return not all(task.done() for task in self._taken)

    async def give_up(self) -> None:
        """Accept no more of those either. Clients that left again are nobody's fault."""
        await asyncio.sleep(0)  # who accepts a socket closes it, but only once it has begun
        for task in self._taken:
            task.cancel()
        await asyncio.gather(*self._taken, return_exceptions=True)

    async def _take(self, sock: socket.socket) -> None:
        await asyncio.get_running_loop().connect_accepted_socket(
            self.server, sock, ssl=self.tls, ssl_handshake_timeout=self._handshake
        )


def _queued(listener: socket.socket) -> Iterator[socket.socket]:
    """Connections that nobody accepted yet."""
    with contextlib.closing(listener):
        listener.setblocking(False)
        with contextlib.suppress(OSError):  # the queue is empty, or descriptors are short
            while True:
                sock = listener.accept()[0]
                sock.setblocking(False)
                yield sock


async def drain(gateway: Gateway, listener: Listener, stop: Stop) -> None:
    """Let what is in flight finish, as the settings say; what has not by then is cut off."""
    settings, server = gateway.settings, listener.server
    gateway.unready.add("draining")
    log.info("draining", in_flight=server.busy())
    await stop.wait(settings.drain_delay)
    server.pre_shutdown()
    listener.stop()
    loop = asyncio.get_running_loop()
    now = loop.time()
    end, streams_until, quiet_since, seen = now + settings.drain_timeout, now + settings.drain_timeout / 2, now, -1
    while now < end and not await stop.wait(LOOK):
        now = loop.time()
        if now >= streams_until:
            server.end_streams(Problem("draining"))
        if server.busy() or listener.taking or seen != server.requests_count:
            quiet_since, seen = now, server.requests_count
        elif (not server.connections and listener.tls is None) or now - quiet_since >= QUIET:
            break
    await listener.give_up()
    if cut := server.cut_off():
        log.warning("requests in flight were cut off", count=cut)
