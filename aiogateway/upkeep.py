"""What a worker does at every tick of its own clock: it looks at deadlines, and at other things now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from aiogateway.deadlines import MOST, TICK, Deadlines

log: Final = structlog.get_logger(__name__)


@dataclass
class Job:
    """Something that is done now and then.

    :ivar every: seconds.
    :ivar work: given the time, in seconds, monotonic. What it raises is logged.
    :ivar due: when it is done next.
    """

    every: float
    work: Callable[[float], Awaitable[None]]
    due: float = 0.0


class Upkeep:
    """:param saw_lag: told at every tick by how many seconds it came late, and the time.
    :param each: called at every tick.
    :param jobs: done now and then. One's trouble ends neither deadlines nor the watch for overload.
    """

    def __init__(
        self,
        deadlines: Deadlines,
        saw_lag: Callable[[float, float], None],
        each: Sequence[Callable[[], None]],
        jobs: Sequence[Job],
    ) -> None:
        self._deadlines = deadlines
        self._saw_lag = saw_lag
        self._each = each
        self._jobs = jobs
        self._ticking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Inside a running event loop."""
        self._ticking = asyncio.create_task(self._tick())

    async def close(self) -> None:
        """Look no more. Without a start, and a second time, it is harmless."""
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)

    async def _tick(self) -> None:
        while True:
            due = time.monotonic() + TICK
            await asyncio.sleep(TICK)
            now = time.monotonic()
            late = max(now - due, 0.0)
            self._saw_lag(late, now)
            if late > TICK:
                await asyncio.sleep(0)  # what came while the process stood still came in time
                await asyncio.sleep(0)
            while self._deadlines.sweep() == MOST:  # noqa: ASYNC110  # others have their turn; nothing is waited for
                await asyncio.sleep(0)
            for call in self._each:
                call()
            for job in self._jobs:
                if now >= job.due:
                    job.due = now + job.every
                    await _done(job, now)


async def _done(job: Job, now: float) -> None:
    try:
        await job.work(now)
    except Exception:
        log.exception("looking after the worker failed")
