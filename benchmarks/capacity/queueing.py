"""Waiting, in formulas: one worker is one server with one queue (M/G/1, first come first served).

Why this one: a worker is one thread that runs what is ready in the order in which it became ready, and interrupts
nothing; a connection belongs to one worker for its life, so workers share no queue (m times M/G/1, not M/G/m). The
work of a request comes in pieces (request, answer). Cut into k equal pieces it waits k times for a k-th of the time:
the mean is that of the whole, so the model needn't know how the work is cut.

Times are in seconds, rates in events a second.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class Work:
    """A kind of work for one worker: how often it comes, and the CPU time of one."""

    rate: float
    seconds: float


def utilisation(works: Iterable[Work]) -> float:
    """The share of its time in which the worker is busy; 1 and more when it can't keep up."""
    return math.fsum(work.rate * work.seconds for work in works)


def mean_wait(works: Iterable[Work]) -> float:
    """The mean time until work begins (Pollaczek and Khinchine), each kind of constant length; infinite at 1."""
    kinds = tuple(works)
    busy = utilisation(kinds)
    if busy >= 1:
        return math.inf
    return math.fsum(work.rate * work.seconds**2 for work in kinds) / (2 * (1 - busy))


def wait_quantile(works: Iterable[Work], share: float) -> float:
    """The wait that so large a share of the work stays below, such as 0.99.

    Exact where lengths are exponential; else the usual approximation by two moments, an exponential tail for those
    that wait at all: above the truth where lengths are constant, some per cent below it where a few are far longer.
    """
    kinds = tuple(works)
    busy = utilisation(kinds)
    if busy >= 1:
        return math.inf
    if busy <= 1 - share:
        return 0.0
    return mean_wait(kinds) / busy * math.log(busy / (1 - share))


def markov_mean_wait(rate: float, seconds: float) -> float:
    """The mean wait where lengths are exponential with that mean (M/M/1)."""
    busy = rate * seconds
    return seconds * busy / (1 - busy) if busy < 1 else math.inf


def burst_mean_time(count: int, seconds: float) -> float:
    """The mean time until an answer when so many come at once to an idle worker, each that long."""
    return seconds * (count + 1) / 2


def poisson_quantile(mean: float, share: float) -> int:
    """The number that a Poisson variable stays at or below so often: how many are under way at once (M/G/infinity)."""
    if mean > 500:  # normal from here on, within a few
        return math.ceil(mean + NormalDist().inv_cdf(share) * math.sqrt(mean) + 1)
    count, term = 0, math.exp(-mean)
    total = term
    while total < share:
        count += 1
        term *= mean / count
        total += term
    return count
