"""Locks that processes share: robust mutexes of the C library, in memory made before the processes fork.

When a process dies, the kernel hands what it held to the next that asks (pthread_mutexattr_setrobust(3),
set_robust_list(2)). Record locks (fcntl(2)) do the same, but take two system calls each time, which is more than a
microsecond; a mutex that nobody holds takes none. A process uses the locks from one thread.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from mmap import mmap
from typing import Final

# What pthread.h calls PTHREAD_PROCESS_SHARED, _MUTEX_ROBUST and _MUTEX_ERRORCHECK, in glibc and in musl.
_PROCESS_SHARED: Final = 1
_ROBUST: Final = 1
_ERROR_CHECK: Final = 2
# More than a mutex or its attributes need anywhere, and a line of the cache, so that no two locks share one.
_BYTES: Final = 64

# Nanoseconds a lock is waited for. Nobody holds one for more than some microseconds, unless it is not being run.
PATIENCE: Final = 50_000_000

_C: Final = ctypes.CDLL(None)
_try: Final = _C.pthread_mutex_trylock
_wait: Final = _C.pthread_mutex_timedlock
_unlock: Final = _C.pthread_mutex_unlock


class Stuck(Exception):
    """A process holds a lock and doesn't go on: it was stopped (SIGSTOP, a debugger) in the microseconds of a check."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class Locks:
    """Locks by number.

    :raises OSError: the C library can't make such locks.
    """

    __slots__ = ("_held", "_memory", "_mutexes")

    def __init__(self, count: int) -> None:
        self._memory = mmap(-1, count * _BYTES)
        self._mutexes = [ctypes.byref(ctypes.c_char.from_buffer(self._memory, n * _BYTES)) for n in range(count)]
        self._held: list[object] = []
        attributes = ctypes.create_string_buffer(_BYTES)
        _check(_C.pthread_mutexattr_init(attributes))
        _check(_C.pthread_mutexattr_setpshared(attributes, _PROCESS_SHARED))
        _check(_C.pthread_mutexattr_setrobust(attributes, _ROBUST))
        _check(_C.pthread_mutexattr_settype(attributes, _ERROR_CHECK))
        for mutex in self._mutexes:
            _check(_C.pthread_mutex_init(mutex, attributes))

    def close(self) -> None:
        """Give up this process's hold of the memory; a second time is harmless."""
        self._mutexes.clear()
        self._memory.close()

    def hold(self, number: int) -> None:
        """Wait for a lock and hold it; one that is held already stays so.

        :raises Stuck: another process holds it for longer than `PATIENCE`.
        :raises OSError: the lock is broken.
        """
        mutex = self._mutexes[number]
        failed = _try(mutex)
        if failed == errno.EBUSY:
            end = time.clock_gettime_ns(time.CLOCK_REALTIME) + PATIENCE
            failed = _wait(mutex, ctypes.byref(_Timespec(*divmod(end, 10**9))))
        if failed:
            if failed == errno.ETIMEDOUT:
                raise Stuck
            if failed == errno.EOWNERDEAD:
                failed = _C.pthread_mutex_consistent(mutex)
            if failed != errno.EDEADLK:  # it is held already; to let go of it twice does no harm
                _check(failed)
        self._held.append(mutex)

    def let_go(self) -> None:
        """Let go of all that are held."""
        held = self._held
        while held:
            _unlock(held.pop())


class NoLocks:
    """For counters of one process alone: nobody else is kept out, and nothing is paid for it."""

    def hold(self, number: int) -> None:
        pass

    def let_go(self) -> None:
        pass

    def close(self) -> None:
        pass


def _check(failed: int) -> None:
    if failed:
        raise OSError(failed, os.strerror(failed))
