"""One process that serves: its listeners, its signals, its drain.

A stop goes: not ready; go on accepting for `GATEWAY_DRAIN_DELAY`, until balancers noticed; stop accepting; let what
is in flight finish for `GATEWAY_DRAIN_TIMEOUT`, event streams for half of it; close. Kept-alive connections are good
for one more request each, until none came for a moment. A second signal skips what is left. A worker is told so by
its parent with SIGQUIT: a SIGTERM to the whole process group reaches it twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog
from aiohttp import web

from aiogateway.admin.app import admin_app
from aiogateway.app import Gateway
from aiogateway.board import Board
from aiogateway.caching.notices import Notices
from aiogateway.errors import Problem
from aiogateway.output import Output
from aiogateway.proxy.listener import Server
from aiogateway.reloading import Reader, Reading, Reloader
from aiogateway.routes import Table
from aiogateway.service_manager import Overseer
from aiogateway.settings import Settings
from aiogateway.stores import SharedCounters
from aiogateway.warmup import warm_up
from aiogateway.watching import Look, watch

log = structlog.get_logger(__name__)

BACKLOG: Final = 4096
# Seconds aiohttp may still take for connections once the drain is over.
CLOSING: Final = 1.0
# Seconds between looks at what a drain still waits for, and seconds without a request after which it waits no more.
LOOK: Final = 0.05
QUIET: Final = 1.0
# Seconds a client gets for its TLS handshake.
HANDSHAKE: Final = 10.0
# By which a parent tells its workers of what it read again.
RELOAD: Final = signal.SIGUSR1
# Signals that a serving process takes.
TAKEN: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, RELOAD})


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


async def serve(
    settings: Settings,
    table: Table,
    counters: SharedCounters,
    notices: Notices,
    board: Board,
    output: Output,
    public: socket.socket,
    admin: socket.socket,
    *,
    read: Reader,
    overseer: Overseer,
    before: Reading | None = None,
    tls: ssl.SSLContext | None = None,
    has_parent: bool = False,
    looked: Look | None = None,
    alongside: Alongside | None = None,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Serve on two listening sockets until a signal says stop.

    :param counters: what limits count; shared with the other workers, as are `notices`.
    :param notices: of what is to be forgotten of stored answers.
    :param output: where log lines go.
    :param board: where workers tell each other about themselves.
    :param read: reads the configuration again (`reloading.Reloader`).
    :param overseer: told how this process fares.
    :param before: how it was read last, if it was before this process began.
    :param tls: what the public listener speaks.
    :param has_parent: whether a parent process passes signals on.
    :param looked: how the configuration's files were when they were read; who is given it watches them.
    :param alongside: started before the gateway and closed after it.
    :param on_ready: called once when both listeners answer.
    """
    loop = asyncio.get_running_loop()
    stop = Stop()
    gateway = Gateway(settings, table, counters, notices, board, output)
    if before is not None:
        gateway.reporter.reload_ended(before.at, before.faults)
    reloader = Reloader(gateway, read, overseer)
    told = _take_signals(stop, reloader, has_parent=has_parent)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(signal.signal, told, signal.SIG_IGN)
        stack.push_async_callback(_end, asyncio.create_task(_show_life(overseer)))
        if alongside is not None:
            await alongside.start()
            stack.push_async_callback(alongside.close)
        stack.push_async_callback(gateway.close)
        await warm_up(settings)
        server = await gateway.start()
        runner = web.ServerRunner(server, shutdown_timeout=CLOSING)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        listening = await loop.create_server(
            server, sock=public, ssl=tls, backlog=BACKLOG, ssl_handshake_timeout=None if tls is None else HANDSHAKE
        )
        stack.callback(listening.close)
        await _serve_admin(stack, gateway, admin)
        reloading = asyncio.create_task(reloader.run())
        stack.push_async_callback(_end, reloading)
        if looked is not None:
            # The one whose word all go by: a parent reads for its workers.
            tell = functools.partial(os.kill, os.getppid(), signal.SIGHUP) if has_parent else reloader.ask
            watching = asyncio.create_task(
                watch(settings, lambda: gateway.table, looked, lambda: gateway.reporter.refused, tell)
            )
            stack.push_async_callback(_end, watching)
        gateway.unready.discard("starting")
        overseer.ready()
        if on_ready is not None:
            on_ready()

        def stop_listening() -> asyncio.Future[list[object]]:
            queue = public.dup()
            listening.close()
            handshake = None if tls is None else HANDSHAKE
            return _take_queued(
                queue,
                lambda sock: loop.connect_accepted_socket(server, sock, ssl=tls, ssl_handshake_timeout=handshake),
            )

        await stop.asked.wait()
        overseer.stopping()
        await _drain(gateway, server, stop_listening, stop, handshakes=tls is not None)


def _take_signals(stop: Stop, reloader: Reloader, *, has_parent: bool) -> signal.Signals:
    """Have signals do what they mean; answers the one that asks for a reload.

    A hangup, or a signal to the whole group, reaches workers too: they go by their parent's word.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.ask if has_parent else stop.ask_or_insist)
    loop.add_signal_handler(signal.SIGQUIT, stop.insist)
    told, ignored = (RELOAD, signal.SIGHUP) if has_parent else (signal.SIGHUP, RELOAD)
    signal.signal(ignored, signal.SIG_IGN)
    # Not the loop's: its end would give the signal its first meaning back, which is to end the process there and then.
    signal.signal(told, lambda *_: loop.call_soon_threadsafe(reloader.ask))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TAKEN)  # a parent blocks them until they can be taken
    return told


async def _serve_admin(stack: contextlib.AsyncExitStack, gateway: Gateway, sock: socket.socket) -> None:
    runner = web.AppRunner(
        admin_app(gateway),
        access_log=None,
        keepalive_timeout=gateway.settings.keepalive_timeout,
        shutdown_timeout=CLOSING,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, sock, backlog=BACKLOG).start()


async def _show_life(overseer: Overseer) -> None:
    """Tell that the loop turns, for as long as it does."""
    while overseer.pace is not None:
        overseer.alive()
        await asyncio.sleep(overseer.pace)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _take_queued(
    listener: socket.socket, take: Callable[[socket.socket], Awaitable[object]]
) -> asyncio.Future[list[object]]:
    """Serve those that connected before the socket closes: the kernel would reset them."""
    with contextlib.closing(listener):
        listener.setblocking(False)
        taken = []
        with contextlib.suppress(OSError):  # the queue is empty, or descriptors are short
            while True:
                sock = listener.accept()[0]
                sock.setblocking(False)
                taken.append(asyncio.ensure_future(take(sock)))
    return asyncio.gather(*taken, return_exceptions=True)  # a client that leaves again is nobody's fault


async def _drain(
    gateway: Gateway,
    server: Server,
    stop_listening: Callable[[], asyncio.Future[list[object]]],
    stop: Stop,
    *,
    handshakes: bool,
) -> None:
    """:param handshakes: whether clients may be connecting that nobody sees yet."""
    settings = gateway.settings
    gateway.unready.add("draining")
    log.info("draining", in_flight=server.busy())
    await stop.wait(settings.drain_delay)
    server.pre_shutdown()
    queued = stop_listening()
    loop = asyncio.get_running_loop()
    now = loop.time()
    end, streams_until, quiet_since, seen = now + settings.drain_timeout, now + settings.drain_timeout / 2, now, -1
    while now < end and not await stop.wait(LOOK):
        now = loop.time()
        if now >= streams_until:
            server.end_streams(Problem("draining"))
        if server.busy() or not queued.done() or seen != server.requests_count:
            quiet_since, seen = now, server.requests_count
        elif (not server.connections and not handshakes) or now - quiet_since >= QUIET:
            break
    queued.cancel()
    await asyncio.wait((queued,))
    if cut := server.cut_off():
        log.warning("requests in flight were cut off", count=cut)
