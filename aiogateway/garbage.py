"""When the garbage collector looks for cycles: often at what is new, and at everything when nobody waits for it.

Left to itself CPython looks at what is new once so many more objects were made than freed, and at everything when that
grew: with thousands of connections open each holds the loop for tens or hundreds of milliseconds. What a tick leaves
behind is little, unless thousands of streams had something to do in it; then it is passed over. A request leaves no
cycles behind, so nothing is lost by that, but a fault may leave some: they are found in a moment without requests, or
when they may be what the memory fills up with.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from typing import Final

# Objects that are looked at together, at most: each costs up to a microsecond.
MOST: Final = 6_000
# Seconds since the last tick in which so many may have been made that already counting them takes long.
LONG: Final = 0.1
# Blocks of memory, of about 100 bytes, by which the process grew since all was looked at: what is worth a quiet moment,
# and what is worth holding up everybody, but for what each connection may well need.
WORTH_A_MOMENT: Final = 100_000
WORTH_A_PAUSE: Final = 1_000_000
EACH: Final = 500


def new() -> int:
    """How many objects are new.

    Listed and counted within one instruction of the interpreter: were another thread to run in between, a tuple that it
    is just making would be in the list, and can't be finished while somebody else holds it.
    """
    return next(map(len, map(gc.get_objects, (0,))))


class Collector:
    """This process's. Between `start` and `close` nothing else sets it going.

    :param clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ticked = 0.0
        self._least = 0
        self._recent = 0
        self._passed_over = False

    def start(self) -> None:
        gc.disable()
        self._ticked, self._least = self._clock(), sys.getallocatedblocks()

    def close(self) -> None:
        gc.enable()

    def tick(self) -> None:
        """Look at what is new, or pass over it where it is much; to be called every tick."""
        before, self._ticked = self._ticked, self._clock()
        count = new() if self._ticked - before < LONG else MOST + 1
        if self._recent + count <= MOST:
            self._recent += count
            gc.collect(0)
            return
        self._recent = 0
        if count <= MOST:
            gc.collect(1)  # with what was new in the ticks before: of those requests most are over by now
        else:
            self._passed_over = True
            gc.freeze()

    def look(self, connections: int, *, quiet: bool) -> bool:
        """Look at everything, if there is reason to; whether there was. To be called every second or so.

        :param connections: how many clients are connected.
        :param quiet: whether no request is being answered.
        """
        blocks = sys.getallocatedblocks()
        self._least = min(self._least, blocks)
        if blocks - self._least < (WORTH_A_MOMENT if quiet else WORTH_A_PAUSE + EACH * connections):
            return False
        if self._passed_over:  # with it comes what was there before the workers were forked, and they share
            self._passed_over = False
            gc.unfreeze()
        gc.collect()
        self._least = sys.getallocatedblocks()
        return True
