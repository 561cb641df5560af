"""URIs whose last answer was for one client only: for a while, nobody waits for another's answer there.

A client can make an answer its own, with a cookie or a token that is none. So being remembered here costs a URI
nothing but that: what can be stored still is, and those who send tokens are remembered apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiogateway.caching.entry import Key
from aiogateway.caching.notices import name_of

# Seconds, and how many are remembered.
PASS: Final = 10.0
MOST: Final = 4096


class Passing:
    """:param clock: seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[tuple[bytes, bool], float] = {}

    def note(self, key: Key, *, authorized: bool) -> None:
        """:param authorized: whether the request had `Authorization`."""
        name = name_of(key), authorized
        self._until.pop(name, None)
        if len(self._until) >= MOST:
            del self._until[next(iter(self._until))]
        self._until[name] = self._clock() + PASS

    def has(self, key: Key, *, authorized: bool) -> bool:
        """Whether it was noted a short while ago."""
        if not self._until:
            return False
        until = self._until.get((name_of(key), authorized))
        return until is not None and self._clock() < until
