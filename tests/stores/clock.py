"""Nanoseconds that pass only when a test says so."""

from __future__ import annotations

from aiogateway.stores.windows import SECOND


class Nanoseconds:
    """A clock for counters."""

    def __init__(self, now: int = 10**15) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)
