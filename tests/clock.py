"""Time in tests: a clock that stands still until it is moved, and waiting for what happens by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

STEP = 0.002


class Clock:
    """Seconds, as the event loop's `time`, that pass only when a test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


async def eventually(holds: Callable[[], object], what: str, within: float = 30.0) -> None:
    """Return once `holds()` is true.

    :param within: seconds.
    :raises AssertionError: it was not in time; names `what`.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while not holds():
        assert loop.time() < end, f"not within {within} s: {what}"
        await asyncio.sleep(STEP)
