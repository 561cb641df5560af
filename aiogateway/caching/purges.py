"""Purges of a store in memory: in force at once, and worked off some of it at a time.

All of a full store at once would hold the loop up. So what is asked for is held against them first, and a sweep comes
to the rest, round by round: purges that are told during one wait for the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from aiogateway.caching.notices import Notice

# Variants that are held against a purge before others have their turn: about a millisecond, if all of them go.
LOOKS: Final = 500

Kept = TypeVar("Kept")


class Purges(Generic[Kept]):
    """Purges that not everything was held against.

    :param everything: that is kept.
    :param hold: holds something against what `since` answers; answers how many looks that took, at least one.
    :ivar heard: how many there ever were. What is kept from now on is to know of all of them.
    """

    def __init__(self, everything: Callable[[], Sequence[Kept]], hold: Callable[[Kept], int]) -> None:
        self.heard = 0
        self._everything = everything
        self._hold = hold
        self._left: list[Notice] = []
        # What is still to be held against the first of them, the next one last, and how many purges these are.
        self._round: list[Kept] = []
        self._in_round = 0
        self._sweeping = False

    def __bool__(self) -> bool:
        """Whether there may be something that is to be forgotten."""
        return bool(self._left)

    def since(self, heard: int) -> Sequence[Notice]:
        """Those that something doesn't know of.

        :param heard: how many it does.
        """
        return self._left[len(self._left) - (self.heard - heard) :]

    def hear(self, purges: Sequence[Notice]) -> None:
        """Inside a running event loop: the sweep goes on in it by itself."""
        self.heard += len(purges)
        self._left += purges
        if self._left and not self._sweeping:
            self._sweep()

    def forget(self) -> None:
        """There is nothing left that they could be about."""
        self._left.clear()
        self._round.clear()
        self._in_round = 0

    def _sweep(self) -> None:
        """What is kept after a round began needs no place in it: it knows of that round's purges."""
        looks = LOOKS
        while looks > 0:
            if self._round:
                looks -= self._hold(self._round.pop())
                continue
            del self._left[: self._in_round]
            self._in_round = len(self._left)
            self._sweeping = bool(self._left)
            if not self._sweeping:
                return
            self._round = list(reversed(self._everything()))
        self._sweeping = True
        asyncio.get_running_loop().call_soon(self._sweep)
