"""One process that serves: its listeners, its signals, its drain.

A stop goes: not ready; go on accepting for `GATEWAY_DRAIN_DELAY`, until balancers noticed; stop accepting; let what
is in flight finish for `GATEWAY_DRAIN_TIMEOUT`; close. A second signal skips what is left. A worker is told so by its
parent with SIGQUIT: a SIGTERM to the whole process group reaches it twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import Callable
from typing import Final, Protocol

import structlog
from aiohttp import web

from aiogateway.admin.app import admin_app
from aiogateway.app import Gateway
from aiogateway.board import Board
from aiogateway.output import Output
from aiogateway.proxy.listener import Server
from aiogateway.routes import Table
from aiogateway.settings import Settings
from aiogateway.stores import SharedCounters

log = structlog.get_logger(__name__)

BACKLOG: Final = 4096
# Seconds aiohttp may still take for connections once the drain is over.
CLOSING: Final = 1.0
# Signals that a serving process takes.
TAKEN: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP})


class Alongside(Protocol):
    """Something that lives exactly as long as the gateway, such as the demo's upstreams."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...


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


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The public listener's TLS, when a certificate is set: TLS 1.2 and up."""
    if settings.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.tls_cert, settings.tls_key)
    context.set_alpn_protocols(["http/1.1"])
    return context


async def serve(
    settings: Settings,
    table: Table,
    counters: SharedCounters,
    board: Board,
    output: Output,
    public: socket.socket,
    admin: socket.socket,
    *,
    has_parent: bool = False,
    alongside: Alongside | None = None,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Serve on two listening sockets until a signal says stop.

    :param counters: what limits count; shared with the other workers.
    :param output: where log lines go.
    :param board: where workers tell each other about themselves.
    :param has_parent: whether a parent process passes signals on.
    :param alongside: started before the gateway and closed after it.
    :param on_ready: called once when both listeners answer.
    """
    loop = asyncio.get_running_loop()
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.ask if has_parent else stop.ask_or_insist)
    loop.add_signal_handler(signal.SIGQUIT, stop.insist)
    loop.add_signal_handler(signal.SIGHUP, log.warning, "SIGHUP: this version reads its files only at start")
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TAKEN)  # a parent blocks them until they can be taken
    async with contextlib.AsyncExitStack() as stack:
        if alongside is not None:
            await alongside.start()
            stack.push_async_callback(alongside.close)
        gateway = Gateway(settings, table, counters, board, output)
        stack.push_async_callback(gateway.close)
        server = await gateway.start()
        runner = web.ServerRunner(server, shutdown_timeout=CLOSING)
        public_site = await _listen(stack, runner, public, tls_context(settings))
        admin_runner = web.AppRunner(
            admin_app(gateway), access_log=None, keepalive_timeout=settings.keepalive_timeout, shutdown_timeout=CLOSING
        )
        await _listen(stack, admin_runner, admin, None)
        gateway.unready.discard("starting")
        if on_ready is not None:
            on_ready()
        await stop.asked.wait()
        await _drain(gateway, server, public_site, stop)


async def _listen(
    stack: contextlib.AsyncExitStack,
    runner: web.ServerRunner | web.AppRunner,
    sock: socket.socket,
    tls: ssl.SSLContext | None,
) -> web.SockSite:
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.SockSite(runner, sock, ssl_context=tls, backlog=BACKLOG)
    await site.start()
    return site


async def _drain(gateway: Gateway, server: Server, site: web.SockSite, stop: Stop) -> None:
    settings = gateway.settings
    gateway.unready.add("draining")
    log.info("draining", in_flight=server.busy())
    await stop.wait(settings.drain_delay)
    await site.stop()
    server.pre_shutdown()
    loop = asyncio.get_running_loop()
    end = loop.time() + settings.drain_timeout
    while server.busy() and loop.time() < end:
        if await stop.wait(0.05):
            break
    if cut := server.cut_off():
        log.warning("requests in flight were cut off", count=cut)
