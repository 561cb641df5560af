"""What may be sent again, and how much of that there may be.

Rules: what was not sent at all may always be sent elsewhere. What may have been sent is sent again only if repeating it
does no harm (RFC 9110 section 9.2.2), if all of it is still at hand, and if not a byte of an answer came. After an
answer that says the service failed, or none in time, the route has to say so too, and a budget bounds how much:
retries must not be what keeps a failing service down. `retry = false` forbids all of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

# RFC 9110 section 9.2.2.
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})
# Why an attempt is to be repeated; the labels of `gateway_upstream_retries_total`.
CONNECT_FAILURE: Final = "connect_failure"
STALE_CONNECTION: Final = "stale_connection"
TIMEOUT: Final = "timeout"
NO_ANSWER: Final = "no_answer"
STATUSES: Final = {502: "502", 503: "503", 504: "504"}
# Reasons after which nothing is known to have gone wrong with the request itself: they are bounded by themselves.
FREE: Final = frozenset({CONNECT_FAILURE, STALE_CONNECTION})
# Times that a request is sent again for other reasons.
MOST: Final = 2

SHARE: Final = 0.2
FLOOR: Final = 3
# Seconds over which the share is taken.
WINDOW: Final = 10


def may_repeat(reason: str, *, policy: bool | None, idempotent: bool, at_hand: bool) -> bool:
    """Whether a request may be sent once more, as far as the request and its route are concerned.

    :param reason: one of those above.
    :param policy: the route's `retry`.
    :param idempotent: whether the method is.
    :param at_hand: whether all of the body is.
    """
    if policy is False:
        return False
    if reason == CONNECT_FAILURE:
        return True
    if not (idempotent and at_hand):
        return False
    return reason == STALE_CONNECTION or policy is True


class Budget:
    """Retries of one upstream, at most a share of its requests; a few a second are always allowed.

    :param clock: seconds, monotonic.
    :ivar requests: of the second that is going on; who sends one adds it.
    """

    __slots__ = ("_clock", "_past", "_retries", "_turns_at", "requests")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.requests = 0
        self._retries = 0
        self._past: deque[tuple[int, int]] = deque(maxlen=WINDOW - 1)
        self._clock = clock
        self._turns_at = clock() + 1.0

    def take(self) -> bool:
        """Use the budget for one retry, if there is any left."""
        self.sweep()
        if self._retries >= FLOOR:
            requests = self.requests + sum(second[0] for second in self._past)
            retries = self._retries + sum(second[1] for second in self._past)
            if retries >= SHARE * requests:
                return False
        self._retries += 1
        return True

    def sweep(self) -> None:
        """Take note that time has passed; call it a few times a second."""
        now = self._clock()
        if now < self._turns_at:
            return
        self._past.append((self.requests, self._retries))
        for _ in range(min(int(now - self._turns_at), WINDOW)):  # nobody looked for longer
            self._past.append((0, 0))
        self.requests = self._retries = 0
        self._turns_at = now + 1.0
