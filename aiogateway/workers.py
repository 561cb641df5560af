"""Processes: one that serves, or a parent that holds the listening sockets and keeps several that do.

The parent binds before it forks, so no connection is lost while a worker is replaced: it waits in the socket's queue.
The parent runs no event loop. It sleeps until a signal, then reaps, replaces or passes on; nothing else. Workers
share the sockets, what rate limits count, and their figures.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Final

import structlog
import uvloop

from aiogateway import linux, logs
from aiogateway.board import Board, shared_folder
from aiogateway.routes import Table
from aiogateway.serving import BACKLOG, TAKEN, Alongside, serve
from aiogateway.settings import Settings
from aiogateway.settings.checks import notes
from aiogateway.stores import SharedCounters

log = structlog.get_logger(__name__)

# Seconds before a worker that died soon after its start is replaced; doubled each time, up to the second figure.
BACKOFF: Final = (0.1, 5.0)
SETTLED: Final = 10.0
# A request leaves no cycles behind, so looking for them every 700 allocations finds nothing and costs time.
COLLECT_AFTER: Final = (20_000, 20, 20)
_SIGNALS: Final = TAKEN | {signal.SIGCHLD}


class CannotListen(Exception):
    """A listening socket could not be opened; the text says which and why, in one line."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    :raises CannotListen: the address is taken, or not ours.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        both = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except (OSError, UnicodeError) as exc:
        number = exc.errno if isinstance(exc, OSError) else None
        # asyncio and getaddrinfo put the address into the text once more; their numbers below 0 are no errno.
        why = os.strerror(number) if number is not None and number > 0 else str(exc)
        raise CannotListen(f"can't listen on {host} port {port}: {why}") from exc


def run(settings: Settings, table: Table) -> int:
    """Serve until told to stop; answers the exit code."""
    return _run(settings, table, None, None)


def serve_in_process(settings: Settings, table: Table, alongside: Alongside, on_ready: Callable[[], None]) -> int:
    """Serve in this one process, with something beside the gateway; answers the exit code."""
    return _run(settings.model_copy(update={"workers": 1}), table, alongside, on_ready)


def _run(settings: Settings, table: Table, alongside: Alongside | None, on_ready: Callable[[], None] | None) -> int:
    output = logs.configure(settings.log_level, settings.log_format)
    try:
        public = listen(settings.host, settings.port)
        admin = listen(settings.admin_host, settings.admin_port)
    except CannotListen as exc:
        print(f"aiogateway: {exc}", file=sys.stderr)
        return 1
    for note in notes(settings):
        log.warning(note)
    descriptors = linux.raise_descriptor_limit()
    if descriptors < 2 * settings.max_connections:
        log.warning(
            "few descriptors for GATEWAY_MAX_CONNECTIONS", descriptors=descriptors, wanted=settings.max_connections * 2
        )
    linux.tune_allocator()
    # What is loaded by now lives as long as the process: it need not be looked at again, nor copied after a fork.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)

    several = settings.workers > 1
    counters = SharedCounters(alone=not several)

    def work(folder: str | None, slot: int) -> int:
        output.start(shared=several)
        with contextlib.closing(output):
            uvloop.run(
                serve(
                    settings,
                    table,
                    counters,
                    Board(folder, slot),
                    output,
                    public,
                    admin,
                    has_parent=several,
                    alongside=alongside,
                    on_ready=on_ready,
                )
            )
        return 0

    def release() -> None:
        public.close()
        admin.close()

    with contextlib.closing(counters):
        if not several:
            return work(None, 0)
        with shared_folder() as folder:
            return Parent(settings.workers, functools.partial(work, folder), release).run()


class Parent:
    """Keeps `count` processes that each run `work`, and ends when they have.

    :param work: is given its number among them, which who replaces it gets too, and answers the exit code.
    :param release: gives up what the parent holds for workers to come, once there are to be none.
    """

    def __init__(self, count: int, work: Callable[[int], int], release: Callable[[], None]) -> None:
        self._work = work
        self._release = release
        self._born: dict[int, tuple[int, float]] = {}  # by process: its number, and when
        self._stopping = False
        self._delay = 0.0
        self._due: dict[int, float] = dict.fromkeys(range(count), 0.0)

    def run(self) -> int:
        """Answers 0 when every worker ended as it should once a stop was asked for."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        clean = True
        while not self._stopping or self._born:
            self._start_due()
            wait = min((due - time.monotonic() for due in self._due.values()), default=3600.0)
            said = signal.sigtimedwait(_SIGNALS, max(wait, 0.0))
            if said is None:
                continue
            if said.si_signo == signal.SIGCHLD:
                clean = self._reap() and clean
            elif said.si_signo == signal.SIGHUP:
                self._pass_on(signal.SIGHUP)
            else:
                insisted = self._stopping or said.si_signo == signal.SIGQUIT
                self._stopping = True
                self._due.clear()
                self._release()
                self._pass_on(signal.SIGQUIT if insisted else signal.SIGTERM)
        return 0 if clean else 1

    def _start_due(self) -> None:
        now = time.monotonic()
        for slot in [slot for slot, due in self._due.items() if due <= now]:
            del self._due[slot]
            self._start(slot)

    def _start(self, slot: int) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._born[pid] = slot, time.monotonic()
            return
        code = 1
        try:
            linux.die_with_parent(parent)
            # The others stay blocked until the worker can take them.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            code = self._work(slot)
        except BaseException:
            log.exception("worker failed")
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> bool:
        """Take note of every worker that ended; False when one did so badly after a stop was asked for."""
        clean = True
        while self._born:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            slot, born = self._born.pop(pid)
            lived = time.monotonic() - born
            code = os.waitstatus_to_exitcode(status)
            if self._stopping:
                clean = clean and code == 0
                continue
            self._delay = 0.0 if lived >= SETTLED else min(max(self._delay * 2, BACKOFF[0]), BACKOFF[1])
            log.warning("worker ended, it is replaced", pid=pid, code=code, lived=round(lived, 1), delay=self._delay)
            self._due[slot] = time.monotonic() + self._delay
        return clean

    def _pass_on(self, number: int) -> None:
        for pid in self._born:
            os.kill(pid, number)
