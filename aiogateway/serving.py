"""One process that serves: what it is made of, its listeners and its signals.

A second signal skips what is left of a drain. A worker is told so by its parent with SIGQUIT: a SIGTERM to the whole
process group reaches it twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aiohttp import web

from aiogateway.admin.app import admin_app
from aiogateway.app import Gateway
from aiogateway.board import Board
from aiogateway.caching.notices import Notices
from aiogateway.draining import BACKLOG, Listener, Stop, drain
from aiogateway.output import Output
from aiogateway.reloading import Reader, Reading, Reloader
from aiogateway.routes import Table
from aiogateway.service_manager import Overseer
from aiogateway.settings import Settings
from aiogateway.stores import SharedCounters
from aiogateway.warmup import warm_up
from aiogateway.watching import Look, watch

# Seconds aiohttp may still take for connections once the drain is over.
CLOSING: Final = 1.0
# By which a parent tells its workers of what it read again.
RELOAD: Final = signal.SIGUSR1
# Signals that a serving process takes.
TAKEN: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, RELOAD})


class Alongside(Protocol):
    """Something that lives exactly as long as the gateway, such as the demo's upstreams."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a serving process has from the program, made before any fork.

    :ivar counters: what limits count; shared by all workers, as are `notices`.
    :ivar notices: of what is to be forgotten of stored answers.
    :ivar output: where log lines go.
    :ivar public: a listening socket, as `admin`.
    :ivar tls: what the public listener speaks.
    :ivar alongside: started before the gateway and closed after it.
    :ivar on_ready: called once when both listeners answer.
    """

    settings: Settings
    counters: SharedCounters
    notices: Notices
    output: Output
    public: socket.socket
    admin: socket.socket
    tls: ssl.SSLContext | None = None
    alongside: Alongside | None = None
    on_ready: Callable[[], None] | None = None


async def serve(
    given: Inherited,
    table: Table,
    board: Board,
    *,
    read: Reader,
    overseer: Overseer,
    before: Reading | None = None,
    looked: Look | None = None,
    has_parent: bool = False,
) -> None:
    """Serve on both listening sockets until a signal says stop.

    :param board: where workers tell each other about themselves.
    :param read: reads the configuration again (`reloading.Reloader`).
    :param overseer: told how this process fares.
    :param before: how it was read last, if it was before this process began.
    :param looked: how the configuration's files were when they were read; who is given it watches them.
    :param has_parent: whether a parent process passes signals on.
    """
    settings, stop = given.settings, Stop()
    gateway = Gateway(settings, table, given.counters, given.notices, board, given.output)
    if before is not None:
        gateway.reporter.reload_ended(before.at, before.faults)
    reloader = Reloader(gateway, read, overseer)
    told = _take_signals(stop, reloader, has_parent=has_parent)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(signal.signal, told, signal.SIG_IGN)
        _keep(stack, _show_life(overseer))
        if given.alongside is not None:
            await given.alongside.start()
            stack.push_async_callback(given.alongside.close)
        stack.push_async_callback(gateway.close)
        await warm_up(settings)
        server = await gateway.start()
        runner = web.ServerRunner(server, shutdown_timeout=CLOSING)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        listener = Listener(server, given.public, given.tls)
        await listener.start()
        stack.callback(listener.close)
        await _serve_admin(stack, gateway, given.admin)
        _keep(stack, reloader.run())
        if looked is not None:
            # The one whose word all go by: a parent reads for its workers.
            tell = functools.partial(os.kill, os.getppid(), signal.SIGHUP) if has_parent else reloader.ask
            _keep(stack, watch(settings, lambda: gateway.table, looked, lambda: gateway.reporter.refused, tell))
        gateway.unready.discard("starting")
        overseer.ready()
        if given.on_ready is not None:
            given.on_ready()
        await stop.asked.wait()
        overseer.stopping()
        await drain(gateway, listener, stop)


def _keep(stack: contextlib.AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
    """Have something done until the stack ends."""
    stack.push_async_callback(_end, asyncio.create_task(work))


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
