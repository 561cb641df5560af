"""How one destination is, judged by what becomes of its requests and of probes.

Rules: only what the destination did counts: never a client that left, a 4xx, a full pool of ours or a kept connection
that proved closed. Two things follow from failures. The destination is *ejected*: others are preferred for a time that
grows each time; the last that is left never is. Its circuit *breaker* opens: nobody asks it, alone or not. Who answers
with an error, or breaks off, is alive, and may be well for other requests: that takes a rate over many requests to open
the breaker, where a destination that can't be reached or says nothing at all needs a few in a row (contract,
`eject_after`, `eject_rate`; a rate of 1 is never exceeded).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from aiogateway.upstreams.breaker import CLOSED, OPEN, Breaker

# What became of a request: an answer; one that tells of an error of the service's own, or a broken one; silence.
GOOD: Final = 0
ERROR: Final = 1
FAILURE: Final = 2
# Of the server errors, what says that the request asked for too much.
ASKED_TOO_MUCH: Final = frozenset({501, 505, 508})
# Seconds of the longest ejection.
LONGEST_EJECTION: Final = 300.0
# Requests that a window must hold for its rate to eject a destination, and to open its circuit.
ENOUGH_TO_EJECT: Final = 20
ENOUGH_TO_OPEN: Final = 40
BUCKETS: Final = 10


def outcome_of(status: int) -> int:
    """What an answer's status says of the destination's health."""
    return GOOD if status < 500 or status in ASKED_TOO_MUCH else ERROR


class Policy(Protocol):
    """What an upstream says about health; times in seconds, `eject_rate` a share (contract, "Route files")."""

    @property
    def health_failures(self) -> int: ...
    @property
    def health_successes(self) -> int: ...
    @property
    def eject_after(self) -> int: ...
    @property
    def eject_rate(self) -> float: ...
    @property
    def eject_window(self) -> float: ...
    @property
    def eject_time(self) -> float: ...


class Health:
    """:param clock: seconds, monotonic.
    :param may_eject: whether there is another destination to turn to.
    :param tell: is given a sentence whenever something changes, and the seconds it is to last if that is known.
    :ivar breaker: of this destination.
    :ivar ejected: whether others are preferred.
    :ivar probed: False once probes failed, until they succeed.
    """

    __slots__ = (
        "_answers_opened",
        "_bad",
        "_bad_in_a_row",
        "_buckets",
        "_clock",
        "_ejected_until",
        "_ejections",
        "_ended",
        "_failures_in_a_row",
        "_may_eject",
        "_policy",
        "_probes_in_a_row",
        "_rotate_at",
        "_tell",
        "_well_since",
        "breaker",
        "ejected",
        "probed",
    )

    def __init__(
        self,
        policy: Policy,
        clock: Callable[[], float],
        may_eject: Callable[[], bool],
        tell: Callable[[str, float | None], None],
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._may_eject = may_eject
        self._tell = tell
        self.breaker = Breaker(clock, policy.eject_time)
        self.probed = True
        self.ejected = False
        self._answers_opened = False
        self._ejected_until = 0.0
        self._ejections = 0
        self._well_since = clock()
        self._probes_in_a_row = 0
        self._bad_in_a_row = self._failures_in_a_row = 0
        self._ended = self._bad = 0
        self._buckets: deque[tuple[int, int]] = deque(maxlen=BUCKETS - 1)
        self._rotate_at = clock() + policy.eject_window / BUCKETS

    def follow(self, policy: Policy) -> None:
        """Judge by another policy from now on; what is known stays known."""
        self._policy = policy
        self.breaker.longest = policy.eject_time
        longest = max(LONGEST_EJECTION, policy.eject_time)
        shortest = min(policy.eject_time * max(self._ejections, 1), longest)
        self._ejected_until = min(self._ejected_until, self._clock() + shortest)

    @property
    def available(self) -> bool:
        """Whether this destination may be chosen before one that is not available."""
        return self.probed and not self.ejected and self.breaker.admits()

    @property
    def reason(self) -> str | None:
        """Why it is not well, in a word or two; None when it is."""
        if self.breaker.now() != CLOSED:
            return f"circuit {self.breaker.state}"
        return "ejected" if self.ejected else None if self.probed else "health check"

    def ended(self, outcome: int, *, trial: int = 0) -> None:
        """A request to the destination ended.

        :param outcome: `GOOD`, `ERROR` or `FAILURE`.
        :param trial: as `Breaker.enter` said when it was sent.
        """
        self._ended += 1
        if trial:
            self._judge_trial(outcome, trial)
        elif outcome == GOOD:
            if self._bad_in_a_row:
                self._bad_in_a_row = self._failures_in_a_row = 0
        else:
            self._count(outcome)

    def broke_off(self) -> None:
        """An answer whose head came, and was counted, was never completed."""
        self._count(ERROR)

    def _judge_trial(self, outcome: int, trial: int) -> None:
        if not self.breaker.leave(trial):  # another trial was first
            return
        if outcome == FAILURE or (outcome == ERROR and self._answers_opened):
            self._open(answers=self._answers_opened)
        else:
            self._forget()
            self.breaker.close()
            self._tell("circuit closed", None)

    def _count(self, outcome: int) -> None:
        self._bad += 1
        self._bad_in_a_row += 1
        self._failures_in_a_row = self._failures_in_a_row + 1 if outcome == FAILURE else 0
        policy = self._policy
        ended = self._ended + sum(bucket[0] for bucket in self._buckets)
        bad = self._bad + sum(bucket[1] for bucket in self._buckets)
        high = bad > ended * policy.eject_rate
        eject = self._bad_in_a_row >= policy.eject_after or (high and ended >= ENOUGH_TO_EJECT)
        if eject and not self.ejected and self._may_eject():
            self._eject()
        if self.breaker.state != CLOSED:
            return
        if self._failures_in_a_row >= policy.eject_after:
            self._open(answers=False)
        elif high and ended >= ENOUGH_TO_OPEN:
            self._open(answers=True)

    def _open(self, *, answers: bool) -> None:
        """:param answers: whether its answers led to this, or that there were none."""
        self._forget()
        self._answers_opened = answers
        self.breaker.open()
        self._tell("circuit opened", self.breaker.wait())

    def _eject(self) -> None:
        self._ejections += 1
        seconds = min(self._policy.eject_time * self._ejections, max(LONGEST_EJECTION, self._policy.eject_time))
        self._ejected_until = self._clock() + seconds
        self.ejected = True
        self._tell("ejected", seconds)

    def _take_back(self) -> None:
        self.ejected = False
        self._well_since = self._clock()
        self._forget()
        self._tell("taken back", None)

    def _forget(self) -> None:
        """What led to a decision must not lead to the next."""
        self._bad_in_a_row = self._failures_in_a_row = 0
        self._ended = self._bad = 0
        self._buckets.clear()

    def probe_ended(self, *, well: bool) -> None:
        """A probe of the destination ended."""
        if well is self.probed:
            self._probes_in_a_row = 0
            return
        self._probes_in_a_row += 1
        if self._probes_in_a_row < (self._policy.health_successes if well else self._policy.health_failures):
            return
        self._probes_in_a_row = 0
        self.probed = well
        self._tell("health check passes" if well else "health check fails", None)
        if well:
            if self.ejected:
                self._take_back()
            if self.breaker.state == OPEN:
                self.breaker.wake()

    def sweep(self) -> None:
        """Take note that time has passed; call it a few times a second."""
        now = self._clock()
        if self.ejected and now >= self._ejected_until:
            self._take_back()
        elif self._ejections and not self.ejected and now - self._well_since >= self._policy.eject_time:
            self._ejections -= 1
            self._well_since = now
        if now >= self._rotate_at:
            self._buckets.append((self._ended, self._bad))
            self._ended = self._bad = 0
            self._rotate_at = now + self._policy.eject_window / BUCKETS
