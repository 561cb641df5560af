"""What an upstream did lately, in intervals of a few seconds: requests, errors, how long they took and waited.

Rules: an interval is numbered by wall time, so that those of several workers can be added up; idle ones are left out;
the oldest are forgotten.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final

# Seconds of an interval, and how many of them are remembered.
INTERVAL: Final = 5
INTERVALS: Final = 60
# Seconds; one more bucket is above the last. Each is about 1.6 times the one before.
BOUNDS: Final = (
    *(0.0005, 0.0008, 0.0013, 0.0021, 0.0034, 0.0055, 0.009, 0.015, 0.024, 0.038, 0.062, 0.1, 0.16, 0.26, 0.43),
    *(0.69, 1.1, 1.8, 3.0, 4.8, 7.7, 13.0, 20.0, 33.0, 53.0, 86.0, 140.0, 230.0, 370.0, 600.0),
)


def empty_counts() -> list[int]:
    return [0] * (len(BOUNDS) + 1)


@dataclass(slots=True)
class Interval:
    """One interval of one upstream.

    :ivar number: wall time divided by `INTERVAL`.
    :ivar latency: how many answers' heads came within each of `BOUNDS`.
    :ivar waits: the same for waits for a place in a pool; requests that didn't wait are in none.
    """

    number: int
    requests: int = 0
    errors: int = 0
    latency: list[int] = field(default_factory=empty_counts)
    waits: list[int] = field(default_factory=empty_counts)

    def add(self, failed: bool, latency: float, wait: float) -> None:
        """Count one request.

        :param latency: seconds to the answer's head; 0 when none came.
        :param wait: seconds waited for a place; 0 for none.
        """
        self.requests += 1
        if failed:
            self.errors += 1
        if latency:
            self.latency[bisect_left(BOUNDS, latency)] += 1
        if wait:
            self.waits[bisect_left(BOUNDS, wait)] += 1

    def merge(self, other: Interval) -> None:
        """Add what another worker counted in the same interval."""
        self.requests += other.requests
        self.errors += other.errors
        self.latency = [mine + theirs for mine, theirs in zip(self.latency, other.latency, strict=True)]
        self.waits = [mine + theirs for mine, theirs in zip(self.waits, other.waits, strict=True)]

    def row(self) -> list[Any]:
        """For a worker's report."""
        return [self.number, self.requests, self.errors, self.latency, self.waits]


class History:
    """The last intervals of one upstream in one worker."""

    __slots__ = ("_intervals", "now")

    def __init__(self, number: int) -> None:
        self.now = Interval(number)
        self._intervals: deque[Interval] = deque([self.now], maxlen=INTERVALS)

    def advance(self, number: int) -> None:
        """From now on it is this interval. A clock that went back changes nothing."""
        if number <= self.now.number:
            return
        if not self.now.requests:
            self._intervals.pop()
        self.now = Interval(number)
        self._intervals.append(self.now)

    def rows(self) -> list[list[Any]]:
        """For a worker's report: the intervals with requests in them, oldest first."""
        since = self.now.number - INTERVALS
        return [interval.row() for interval in self._intervals if interval.requests and interval.number > since]


def merge(several: Iterable[Iterable[Sequence[Any]]]) -> dict[int, Interval]:
    """The intervals of several workers' reports, added up, by their numbers."""
    found: dict[int, Interval] = {}
    for rows in several:
        for row in rows:
            interval = Interval(*row)
            if interval.number in found:
                found[interval.number].merge(interval)
            else:
                found[interval.number] = interval
    return found


def add_up(intervals: Iterable[Interval]) -> Interval:
    """Several intervals as one."""
    total = Interval(0)
    for interval in intervals:
        total.merge(interval)
    return total


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The time that this share of what was counted stayed within, in seconds, interpolated in its bucket.

    :param share: between 0 and 1.
    :returns: None when nothing was counted.
    """
    total = sum(counts)
    if not total:
        return None
    rank = share * total
    at = next(at for at, below in enumerate(accumulate(counts)) if below >= rank and below)
    if at == len(BOUNDS):
        return BOUNDS[-1]
    lower = BOUNDS[at - 1] if at else 0.0
    return lower + (BOUNDS[at] - lower) * (rank - sum(counts[:at])) / counts[at]
