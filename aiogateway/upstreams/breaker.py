"""The circuit breaker of one destination: whether it is asked at all.

Rules: closed, it lets everything pass. Open, it lets nothing pass until its rest is over. Then it is half-open: at most
`TRIALS` requests at once find out, and the first that ends decides. Trials that take long, as some answers do, keep
nobody out for longer than `REST`: then as many more may try. What was sent before it opened decides nothing any more,
however it ends. Rests grow while trials fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

CLOSED: Final = "closed"
HALF_OPEN: Final = "half-open"
OPEN: Final = "open"
STATES: Final = (CLOSED, HALF_OPEN, OPEN)
# Requests at once that may try a half-open destination.
TRIALS: Final = 3
# Seconds of the first rest; each that follows without a success between is twice as long, up to a bound.
REST: Final = 5.0


class Breaker:
    """:param clock: seconds, monotonic.
    :param longest: seconds a rest may take.
    :ivar state: as of the last time that somebody asked.
    :ivar period: how often it opened; trials belong to one.
    """

    __slots__ = ("_clock", "_openings", "_trials", "_until", "longest", "period", "state")

    def __init__(self, clock: Callable[[], float], longest: float) -> None:
        self.longest = longest
        self.state = CLOSED
        self._clock = clock
        self._until = 0.0
        self._openings = 0
        self._trials = 0
        self.period = 0

    def admits(self) -> bool:
        """Whether a request may be sent now."""
        if self.state == CLOSED:
            return True
        if self.now() == OPEN:
            return False
        if self._trials >= TRIALS and self._clock() >= self._until:
            self._trials = 0
        return self._trials < TRIALS

    def now(self) -> str:
        """The state, now that time has passed."""
        if self.state == OPEN and self._clock() >= self._until:
            self.state = HALF_OPEN
            self._trials = 0
        return self.state

    def enter(self) -> int:
        """A request is sent; answers the period whose trial it is, to be told to `leave`, or 0 for no trial."""
        if self.state == CLOSED:
            return 0
        self._trials += 1
        self._until = self._clock() + REST
        return self.period

    def leave(self, trial: int) -> bool:
        """A trial is over, however it ended; call it before `open` or `close`.

        :returns: whether it decides anything: it does while nothing else did since it began.
        """
        if trial != self.period or self.state == CLOSED:
            return False
        self._trials = max(self._trials - 1, 0)
        return True

    def open(self) -> None:
        """Let nothing pass until a rest is over."""
        self._openings += 1
        self.period += 1
        self._trials = 0
        self._until = self._clock() + min(REST * 2 ** min(self._openings - 1, 16), self.longest)
        self.state = OPEN

    def close(self) -> None:
        """Let everything pass."""
        self.state = CLOSED
        self._openings = self._trials = 0

    def wake(self) -> None:
        """End the rest early: something says that the destination is back."""
        self._until = 0.0

    def wait(self) -> float:
        """Seconds until a trial may be sent; 0 when one may be now."""
        return 0.0 if self.admits() else max(self._until - self._clock(), 0.0)
