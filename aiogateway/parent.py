"""The parent of several workers.

It runs no event loop. It sleeps until a signal, then reaps, replaces, has the configuration read, or passes on, and
looks how its workers fare; nothing else. What takes long or may fail runs in a process of its own.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Final

import structlog

from aiogateway import linux
from aiogateway.oversight import Oversight
from aiogateway.serving import RELOAD, TAKEN

log = structlog.get_logger(__name__)

# Seconds before a worker is replaced when those before it died soon, too; doubled each time, up to the second figure.
BACKOFF: Final = (0.1, 5.0)
# Seconds after which a worker's death is no sign that the next will die as well.
SETTLED: Final = 3.0
# Quick deaths in a row that make a crash loop.
LOOP: Final = 3
_SIGNALS: Final = TAKEN | {signal.SIGCHLD}


class Parent:
    """Keeps `count` processes that each run `work`, and ends when they have.

    :param work: is given its number among them, which who replaces it gets too, and answers the exit code.
    :param release: gives up what the parent holds for workers to come, once there are to be none.
    :param read: reads the configuration again, in a process of its own: it may take long, and may fail.
    :param read_ended: told that process's exit code, before the workers are told.
    :param tell: told when workers begin to die again and again, and when that is over.
    :param oversight: watches the workers, and tells the service manager of them.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[int], int],
        release: Callable[[], None],
        *,
        read: Callable[[], int],
        read_ended: Callable[[int], None],
        tell: Callable[[bool], None],
        oversight: Oversight,
    ) -> None:
        self._work = work
        self._release = release
        self._read = read
        self._read_ended = read_ended
        self._tell = tell
        self._oversight = oversight
        self._born: dict[int, tuple[int, float]] = {}  # by process: its number, and when
        self._stopping = False
        self._due: dict[int, float] = dict.fromkeys(range(count), 0.0)
        self._reader: int | None = None
        self._read_again = False
        self._quick_deaths: dict[int, int] = {}  # in a row, by number
        self._crashing = False

    def run(self) -> int:
        """Answers 0 when every worker ended as it should once a stop was asked for."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        clean = True
        while not self._stopping or self._born:
            self._start_due()
            self._settle()
            self._oversight.look({slot for slot, _ in self._born.values()})
            said = signal.sigtimedwait(_SIGNALS, max(self._next() - time.monotonic(), 0.0))
            if said is None:
                continue
            if said.si_signo == signal.SIGCHLD:
                clean = self._reap() and clean
            elif said.si_signo == signal.SIGHUP:
                self._start_reading()
            elif said.si_signo != RELOAD:  # that one is for workers only
                insisted = self._stopping or said.si_signo == signal.SIGQUIT
                if not self._stopping:
                    self._oversight.stopping()
                self._stopping = True
                self._due.clear()
                self._release()
                self._pass_on(signal.SIGQUIT if insisted else signal.SIGTERM)
                if self._reader is not None:
                    os.kill(self._reader, signal.SIGTERM)
        return 0 if clean else 1

    def _next(self) -> float:
        """When there is something to do even without a signal."""
        settling = (born + SETTLED for slot, born in self._born.values() if self._quick_deaths.get(slot))
        return min(*self._due.values(), *settling, self._oversight.due(), time.monotonic() + 3600.0)

    def _start_due(self) -> None:
        now = time.monotonic()
        for slot in [slot for slot, due in self._due.items() if due <= now]:
            self._oversight.born(slot)
            pid = self._fork(functools.partial(self._work, slot), {signal.SIGCHLD})
            if pid is None:
                self._due[slot] = now + BACKOFF[1]
            else:
                del self._due[slot]
                self._born[pid] = slot, time.monotonic()

    def _fork(self, work: Callable[[], int], taken: set[int]) -> int | None:
        """Have another process work; None when the system has none to give.

        :param taken: signals that it takes from the start; the others stay blocked until it can take them.
        """
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as exc:
            log.error("no process could be started", reason=exc.strerror)
            return None
        if pid:
            return pid
        code = 1
        try:
            linux.die_with_parent(parent)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, taken)
            code = work()
        except BaseException:
            log.exception("worker failed")
            raise
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:  # whatever became of what was said: this process must not go on as a second parent
                os._exit(code)

    def _start_reading(self) -> None:
        if self._stopping:
            return
        self._read_again = self._reader is not None
        if self._reader is None:
            self._oversight.reloading()
            self._reader = self._fork(self._read, {signal.SIGCHLD, signal.SIGTERM})
            if self._reader is None:
                self._reading_ended(1)

    def _reading_ended(self, code: int) -> None:
        self._reader = None
        if not self._stopping:
            self._read_ended(code)
            self._oversight.read(refused=code != 0)
            self._pass_on(RELOAD)
        if self._read_again:
            self._start_reading()

    def _reap(self) -> bool:
        """Take note of every process that ended; False when a worker did so badly after a stop was asked for."""
        clean = True
        while self._born or self._reader is not None:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            code = os.waitstatus_to_exitcode(status)
            if pid == self._reader:
                self._reading_ended(code)
                continue
            known = self._born.pop(pid, None)
            if known is None:  # an orphan of somebody else's, as the first process of a container gets them
                continue
            slot, born = known
            if self._stopping:
                clean = clean and code == 0
            else:
                self._replace(slot, pid, code, time.monotonic() - born)
        return clean

    def _replace(self, slot: int, pid: int, code: int, lived: float) -> None:
        """Have a worker's place taken: at once, unless several who had it died soon after they began."""
        deaths = self._quick_deaths[slot] = 0 if lived >= SETTLED else self._quick_deaths.get(slot, 0) + 1
        delay = 0.0 if deaths <= 1 else min(BACKOFF[0] * 2 ** min(deaths - 2, 10), BACKOFF[1])
        log.warning("worker ended, it is replaced", pid=pid, code=code, lived=round(lived, 1), delay=delay)
        self._due[slot] = time.monotonic() + delay
        self._judge()

    def _settle(self) -> None:
        """Forget the deaths before a worker that has lived long enough."""
        settled = time.monotonic() - SETTLED
        for slot, born in self._born.values():
            if born <= settled:
                self._quick_deaths.pop(slot, None)
        self._judge()

    def _judge(self) -> None:
        crashing = any(deaths >= LOOP for deaths in self._quick_deaths.values())
        if crashing is not self._crashing:
            self._crashing = crashing
            self._tell(crashing)

    def _pass_on(self, number: int) -> None:
        for pid in self._born:
            os.kill(pid, number)
