"""Waiting for a client to read, and the end of that patience.

While the client reads slower than we write, nothing but its reading can end the wait; so it must read at a least rate
(contract, `GATEWAY_DOWNLOAD_MIN_RATE`), or, on an event stream, read at all.
"""

from __future__ import annotations

from typing import Final, Protocol

from aiogateway.deadlines import Credit, Deadline, Deadlines

# Seconds between looks at a client that keeps us waiting.
LOOK: Final = 5.0


class Reading(Protocol):
    """The client's connection, as far as it is written to."""

    def unsent(self) -> int: ...

    async def drained(self) -> None: ...

    def reset(self) -> None: ...


class Pace:
    """The reading of one answer by its client. A client that falls behind has its connection reset.

    :param min_rate: bytes a second to keep up, after a grace; 0 asks for none.
    :param idle: seconds in which at least something must be read; None asks for nothing.
    """

    __slots__ = ("_connection", "_credit", "_deadlines", "_idle", "_looking", "_moved", "_since", "_unsent")

    def __init__(self, connection: Reading, deadlines: Deadlines, *, min_rate: int, idle: float | None) -> None:
        self._connection = connection
        self._deadlines = deadlines
        self._credit = Credit(min_rate)
        self._idle = idle
        self._looking: Deadline | None = None

    async def drain(self) -> None:
        """Wait until more may be written.

        :raises ConnectionError: the client is gone, or was cut off.
        """
        self._since = self._moved = self._deadlines.clock()
        self._unsent = self._connection.unsent()
        self._look_later()
        try:
            await self._connection.drained()
        finally:
            if self._looking is not None:
                self._looking.cancel()
                self._looking = None  # it holds this
        self._judge()

    def _look_later(self) -> None:
        self._looking = self._deadlines.after(min(LOOK, self._idle or LOOK), self._look)

    def _look(self) -> None:
        if self._judge():
            self._look_later()

    def _judge(self) -> bool:
        """Book what was read since the last look; cut the client off when it was too little."""
        now, left = self._deadlines.clock(), self._connection.unsent()
        waited, read = now - self._since, self._unsent - left
        self._since, self._unsent = now, left
        if read > 0:
            self._moved = now
        good = self._credit.spend(waited, read) and (self._idle is None or now - self._moved < self._idle)
        if not good:
            self._connection.reset()
        return good
