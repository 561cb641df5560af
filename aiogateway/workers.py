"""Processes: one that serves, or a parent that holds the listening sockets and keeps several that do.

The parent binds before it forks, so no connection is lost while a worker is replaced: it waits in the socket's queue.
Workers share the sockets, what rate limits count, and their figures. The configuration is read again once for all of
them, by a process of its own, and every worker gets what that one found.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
import uvloop

from aiogateway import linux, logs, service_manager, watching
from aiogateway.board import Board, shared_folder, tell_of_crashes
from aiogateway.caching.notices import Notices
from aiogateway.draining import BACKLOG
from aiogateway.oversight import Oversight
from aiogateway.parent import Parent
from aiogateway.reloading import (
    Certificate,
    Reader,
    Shared,
    read_alone,
    read_as_worker,
    read_for_workers,
    reading_ended,
)
from aiogateway.routes import Table
from aiogateway.service_manager import Overseer, ServiceManager
from aiogateway.serving import CLOSING, RELOAD, Alongside, Inherited, serve
from aiogateway.settings import Settings
from aiogateway.settings.checks import notes
from aiogateway.stores import SharedCounters

log = structlog.get_logger(__name__)


# Seconds that a program which must end may take beyond what its settings say, to clean up.
LEEWAY: Final = 5.0


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


def run(
    read: Callable[[], tuple[Settings, Table]],
    alongside: Alongside | None = None,
    on_ready: Callable[[], None] | None = None,
) -> int:
    """Serve until told to stop; answers the exit code.

    :param read: gives the configuration, now and whenever it is to be read again.
    :param alongside: something that lives in the same process; there is but one then.
    :param on_ready: called once when the listeners answer.
    :raises ConfigError: it has faults now.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, RELOAD})  # taken once there is something to read again
    settings, table = read()
    looked = None
    if settings.config_watch:
        looked = watching.look(settings, table)
        settings, table = read()  # again: what changed before the look would never be seen
    if alongside is not None:
        settings = settings.model_copy(update={"workers": 1})
    stops_within = settings.drain_delay + settings.drain_timeout + CLOSING + LEEWAY
    manager = service_manager.from_environment(os.environ, stops_within)
    output = logs.configure(settings.log_level, settings.log_format)
    try:
        public = listen(settings.host, settings.port)
        admin = listen(settings.admin_host, settings.admin_port)
    except CannotListen as exc:
        print(f"aiogateway: {exc}", file=sys.stderr)
        return 1
    for note in notes(settings):
        log.warning(note)
    _tune(settings)
    certificate = Certificate(settings)
    alone = settings.workers == 1
    with (
        contextlib.closing(manager),
        contextlib.closing(SharedCounters(alone=alone)) as counters,
        contextlib.closing(Notices(alone=alone)) as notices,
    ):
        tls = certificate.context
        given = Inherited(settings, counters, notices, output, public, admin, tls, alongside, on_ready)
        work = Work(given, table, looked, lambda: read()[1], certificate)
        return work(None, manager, 0) if alone else _run_several(work, manager)


def _run_several(work: Work, manager: ServiceManager) -> int:
    """Have as many processes serve as the settings say; answers the exit code."""
    workers = work.given.settings.workers
    oversight = Oversight(manager, workers)

    def tell(crashing: bool) -> None:
        tell_of_crashes(folder, crashing)
        manager.crashing(crashing)

    with shared_folder() as folder:
        return Parent(
            workers,
            lambda slot: work(folder, oversight.worker(slot), slot),
            work.release,
            read=functools.partial(read_for_workers, work.read_table, Shared(folder)),
            read_ended=functools.partial(reading_ended, Shared(folder), work.certificate),
            tell=tell,
            oversight=oversight,
        ).run()


def _tune(settings: Settings) -> None:
    """Have the system and the interpreter treat this process as one that serves for long."""
    descriptors = linux.raise_descriptor_limit()
    if descriptors < 2 * settings.max_connections:
        log.warning(
            "few descriptors for GATEWAY_MAX_CONNECTIONS", descriptors=descriptors, wanted=settings.max_connections * 2
        )
    linux.tune_allocator()
    # What is loaded by now lives as long as the process: it need not be looked at again, nor copied after a fork.
    gc.collect()
    gc.freeze()
    gc.enable()  # the command line put it off; a gateway has a collector of its own


@dataclass(frozen=True, slots=True)
class Work:
    """What a serving process does, the only one or one of several.

    :ivar table: the configuration's, as it was when the program began.
    :ivar looked: how its files were then; None if they are not watched.
    :ivar read_table: reads it again.
    """

    given: Inherited
    table: Table
    looked: watching.Look | None
    read_table: Callable[[], Table]
    certificate: Certificate

    def __call__(self, folder: str | None, overseer: Overseer, slot: int) -> int:
        """Serve; answers the exit code.

        :param folder: what the workers share; None for a process that is alone.
        :param overseer: told how this process fares.
        :param slot: the process's number among them.
        """
        shared = None if folder is None else Shared(folder)
        before = None if shared is None else shared.read()
        looked = self.looked if slot == 0 else None
        if looked is not None and before is not None:
            looked = {}  # the files may be by now as they were at first, and not as they were read last
        read: Reader
        if shared is None:
            read = functools.partial(read_alone, self.read_table, self.certificate)
        else:
            read = functools.partial(read_as_worker, shared, self.certificate)
        self.given.output.start(shared=shared is not None)
        with contextlib.closing(self.given.output):
            uvloop.run(
                serve(
                    self.given,
                    self.table if before is None else before.table or self.table,
                    Board(folder, slot),
                    read=read,
                    overseer=overseer,
                    before=before,
                    looked=looked,
                    has_parent=shared is not None,
                )
            )
        return 0

    def release(self) -> None:
        """Give up the listening sockets: there will be no more workers."""
        self.given.public.close()
        self.given.admin.close()
