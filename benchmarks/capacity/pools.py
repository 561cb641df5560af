"""Connections of one pool, that is of one worker to one URL: how many are under way, open, idle, made a second. Pure.

Little's law gives what is under way: rate times mean time. Requests that come at random keep a Poisson number under
way, so the pool must have room for what that is at nearly all times. The gateway takes the connection used last, so the
n-th is in use only while n or more are under way, and is closed when that was not so for `keepalive` seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from benchmarks.capacity.queueing import poisson_quantile

# How often the pool is large enough.
ENOUGH: Final = 0.999
# Beyond this nothing is left to add up.
CERTAIN: Final = 1 - 1e-9
FAR: Final = 6.0


@dataclass(frozen=True)
class Pool:
    """Of one worker to one URL.

    :ivar rate: requests a second.
    :ivar busy: connections under way, in the mean.
    :ivar size: under way in all but one of a thousand moments; what `GATEWAY_POOL_MAX_CONNECTIONS` must not be below.
    :ivar open: open ones, busy and idle, in the mean.
    :ivar idle: of these.
    :ivar made: new ones a second.
    """

    rate: float
    busy: float
    size: int
    open: float
    idle: float
    made: float


def pool(rate: float, seconds: float, keepalive: float, most_idle: int, max_age: float) -> Pool:
    """What a pool holds in the mean.

    The n-th connection is wanted whenever the number under way rises to n: as often as requests find n - 1. It is made
    anew when it was not wanted for the keep-alive time before, as if these moments were independent of each other.

    :param rate: requests a second.
    :param seconds: a connection is in use for one, in the mean.
    :param keepalive: seconds that an idle one is kept (`GATEWAY_POOL_KEEPALIVE_TIMEOUT`).
    :param most_idle: idle ones kept (`GATEWAY_POOL_MAX_KEEPALIVE`); what is over is made again as often.
    :param max_age: seconds until one is not used again (`GATEWAY_POOL_MAX_AGE`).
    """
    busy = rate * seconds
    if not busy:
        return Pool(0.0, 0.0, 0, 0.0, 0.0, 0.0)
    # Below the first there are as good as always as many under way, so those are in use.
    first, last = max(math.floor(busy - FAR * math.sqrt(busy)), 1), poisson_quantile(busy, CERTAIN) + 1
    opened, made = first - 1.0, 0.0
    below = 0.0  # how likely it is that fewer than `number` are under way
    for number in range(first, last + 1):
        found = math.exp((number - 1) * math.log(busy) - busy - math.lgamma(number))
        below = min(below + found, 1.0)
        wanted = rate * found
        unwanted = math.exp(-wanted * keepalive)
        opened += 1 - below * unwanted
        made += wanted * unwanted
    over = max(opened - busy - most_idle, 0.0)
    opened -= over
    made = min(made + over / keepalive + opened / max_age, rate)
    return Pool(rate, busy, max(poisson_quantile(busy, ENOUGH), 1), opened, max(opened - busy, 0.0), made)
