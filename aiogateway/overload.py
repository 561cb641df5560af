"""When a worker takes no more: too many connections, a loop that comes late, memory that runs out.

Pure decisions; whoever owns the clock and the readings brings them. Rules: what is in flight goes on, only what is new
is refused; a state lasts until its cause has been gone for a moment, so that it doesn't flutter; each begin and each
end is told once. One late wake-up is a pause that is over when it is noticed, as when the machine slept: only the
second in a row is load.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import structlog

log = structlog.get_logger(__name__)

LAG: Final = "lag"
MEMORY: Final = "memory"
CONNECTIONS: Final = "connections"
# Seconds for which the cause must have been gone.
CALM: Final = 1.0
# Late wake-ups in a row that are load.
IN_A_ROW: Final = 2
# Descriptors for what is neither a client nor an upstream: files, pipes, sockets of the system's own.
RESERVED: Final = 48
# Connections over the limit that are answered in good order: a share of it, and no fewer than that.
SURPLUS_SHARE: Final = 8
LEAST_SURPLUS: Final = 64

Place = Literal["regular", "surplus", "refused", "beyond"]


class Overload:
    """Whether new requests are refused.

    :param lag: seconds of loop lag past which they are.
    :param memory: share of the memory limit past which they are.
    :ivar reason: why they are, in one word; empty when they aren't.
    """

    def __init__(self, *, lag: float = math.inf, memory: float = math.inf) -> None:
        self.reason = ""
        self._marks = {LAG: lag, MEMORY: memory}
        self._late = 0
        self._calm_at: dict[str, float] = {}  # by reason that holds: when it ends if nothing is seen before

    def saw_lag(self, late: float, now: float) -> None:
        """:param late: seconds by which the last wake-up came late.
        :param now: seconds, monotonic.
        """
        self._late = self._late + 1 if late > self._marks[LAG] else 0
        if self._late >= IN_A_ROW or (self._late and LAG in self._calm_at):
            self._saw(LAG, late, now)
        elif self._calm_at:
            self._settle(now)

    def saw_memory(self, share: float, now: float) -> None:
        """:param share: of the memory limit that is in use.
        :param now: seconds, monotonic.
        """
        if share > self._marks[MEMORY]:
            self._saw(MEMORY, share, now)

    def _saw(self, reason: str, figure: float, now: float) -> None:
        if reason not in self._calm_at:
            log.warning("overloaded", reason=reason, figure=round(figure, 3), mark=self._marks[reason])
        self._calm_at[reason] = now + CALM * (2 if reason == MEMORY else 1)  # memory is looked at once a second
        self.reason = self.reason or reason

    def _settle(self, now: float) -> None:
        for reason in [reason for reason, at in self._calm_at.items() if at <= now]:
            del self._calm_at[reason]
            log.info("no longer overloaded", reason=reason)
        self.reason = next(iter(self._calm_at), "")


class Door:
    """Who of those that connect is let in.

    :param limit: connections that are served.
    :param surplus: connections over it that are told so in good order, and again as many that are told in a hurry.
    """

    def __init__(self, limit: int, surplus: int) -> None:
        self.limit = limit
        self.full = False
        self._most: dict[Place, int] = {"regular": limit, "surplus": surplus, "refused": surplus}
        self._inside: dict[Place, int] = dict.fromkeys(self._most, 0)

    def enter(self) -> Place:
        """`regular`: serve it; `surplus`: answer one request, mostly with 503; `refused`: say so and see it read it;
        `beyond`: say so and close."""
        for place, most in self._most.items():
            if self._inside[place] < most:
                self._inside[place] += 1
                self._tell(place != "regular")
                return place
        return "beyond"

    def leave(self, place: Place) -> None:
        if place != "beyond":
            self._inside[place] -= 1
            if self.full and self._inside["regular"] <= self.limit - max(self.limit // 16, 1):
                self._tell(False)

    def _tell(self, full: bool) -> None:
        """Tell when the limit is met, and when there is some room again."""
        if full and not self.full:
            self.full = True
            log.warning("overloaded", reason=CONNECTIONS, limit=self.limit)
        elif not full and self.full and self._inside["regular"] <= self.limit - max(self.limit // 16, 1):
            self.full = False
            log.info("no longer overloaded", reason=CONNECTIONS)


def door_for(wanted: int, descriptors: int) -> Door:
    """The door of a worker.

    Every client may need a connection to an upstream, so the descriptors must do for twice the clients, and for those
    that are only told that there is no room. Without one left, the kernel's queue would be closed unread.

    :param wanted: `GATEWAY_MAX_CONNECTIONS`.
    :param descriptors: how many may be open.
    """
    room = max(descriptors - RESERVED, 0)
    surplus = min(max(wanted // SURPLUS_SHARE, LEAST_SURPLUS), room // SURPLUS_SHARE)
    limit = max(min(wanted, (room - 2 * surplus) // 2), 1)
    if limit < wanted:
        log.warning("fewer connections than GATEWAY_MAX_CONNECTIONS: descriptors are short", connections=limit)
    return Door(limit, surplus)
