"""What a parent knows of how its workers fare, and tells the service manager.

A worker leaves word in memory that all of them share: when its loop last turned, and which reading of the configuration
it serves by. The parent looks there; it says "ready" once all are, and that the program lives only while every worker's
loop turns. One that hangs, or was stopped, ends the watchdog's pings, and so the program. One that died doesn't: the
parent replaces it, and a crash loop has ways of its own to show.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from mmap import mmap
from typing import Final

from aiogateway.service_manager import ServiceManager

# Seconds between looks at workers that are waited for.
LOOK: Final = 0.05
# Signs of life that a worker gives in the time after which it counts as stuck.
SIGNS: Final = 4
_WORD: Final = 8


class Oversight:
    """The parent's side.

    :param manager: who is told.
    :param count: how many workers there are.
    """

    def __init__(self, manager: ServiceManager, count: int) -> None:
        self._manager = manager
        self._count = count
        # The number of the newest reading; then, for each worker, its last sign of life (nanoseconds, monotonic) and
        # the reading that it serves by, 0 before it serves.
        self._words = memoryview(mmap(-1, (1 + 2 * count) * _WORD)).cast("q")
        self._words[0] = 1
        self._started = False
        self._waiting = manager.listens
        self._reading = False
        self._refused = False
        self._ping_at = 0.0 if manager.pace is not None else float("inf")

    def worker(self, slot: int) -> Worker:
        """One worker's side, for the process that has just become it."""
        return Worker(self._words, slot, None if self._manager.pace is None else self._manager.pace / SIGNS)

    def born(self, slot: int) -> None:
        """A worker is about to begin: that counts as its first sign of life."""
        self._words[1 + 2 * slot] = time.monotonic_ns()
        self._words[2 + 2 * slot] = 0

    def reloading(self) -> None:
        """A reading begins."""
        self._reading = True
        self._manager.reloading()

    def read(self, *, refused: bool) -> None:
        """It ended; workers are about to be told."""
        self._words[0] += 1
        self._reading, self._refused = False, refused
        self._waiting = self._manager.listens

    def stopping(self) -> None:
        """The workers are about to be told to stop."""
        self._waiting = False
        self._manager.stopping()

    def look(self, living: Collection[int]) -> None:
        """Tell the manager what there is to tell by now.

        :param living: the numbers of the workers that there are.
        """
        if self._waiting and not self._reading:
            self._look_for_ready(living)
        pace, now = self._manager.pace, time.monotonic()
        if pace is not None and now >= self._ping_at:
            lives = bool(living) and all(self._words[1 + 2 * slot] / 1e9 >= now - pace for slot in living)
            # Where all stood still, as a machine that slept does, a worker may need a moment before it gives a sign.
            self._ping_at = now + (pace if lives else pace / SIGNS)
            if lives:
                self._manager.alive()

    def _look_for_ready(self, living: Collection[int]) -> None:
        if not living or any(self._words[2 + 2 * slot] < self._words[0] for slot in living):
            return
        if self._started:  # a worker that is replaced just now begins with what was read
            self._waiting = False
            self._manager.reloaded(refused=self._refused)
        elif len(living) == self._count:
            self._waiting, self._started = False, True
            self._manager.ready()

    def due(self) -> float:
        """When to look again, in seconds on the monotonic clock."""
        return min(time.monotonic() + LOOK if self._waiting and not self._reading else float("inf"), self._ping_at)


class Worker:
    """A worker's side: an `Overseer`, who is left word and reads it in its own time.

    :param words: what workers share.
    :param slot: the worker's number.
    :param pace: seconds between signs of life.
    """

    def __init__(self, words: memoryview, slot: int, pace: float | None) -> None:
        self._words = words
        self._at = 1 + 2 * slot
        self._newest = words[0]
        self.pace = pace

    def alive(self) -> None:
        self._words[self._at] = time.monotonic_ns()

    def ready(self) -> None:
        self._words[self._at + 1] = self._newest

    def reloading(self) -> None:
        self._newest = self._words[0]

    def reloaded(self, *, refused: bool) -> None:
        self._words[self._at + 1] = self._newest

    def stopping(self) -> None:
        """The parent knows."""
