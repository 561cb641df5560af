"""Waiting with a deadline: the only place where a test sleeps without a reason of the protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

STEP = 0.005


def eventually(holds: Callable[[], object], what: str, within: float = 30.0) -> None:
    """Return once `holds()` is true.

    `within` is seconds. Raises AssertionError that names `what` when the deadline passes.
    """
    deadline = time.monotonic() + within
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what}")
        time.sleep(STEP)


@dataclass
class Elapsed:
    """Seconds that a block took; 0 until it ended."""

    seconds: float = 0.0


@contextmanager
def elapsed() -> Iterator[Elapsed]:
    """Measure a block with the monotonic clock."""
    measured, start = Elapsed(), time.monotonic()
    try:
        yield measured
    finally:
        measured.seconds = time.monotonic() - start
