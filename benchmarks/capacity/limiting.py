"""What a limit admits over several machines, in formulas. Counts of one client in one period.

With Redis one count decides, so the error is none. While it is away, and without one, each machine counts for itself
(its workers together, in shared memory): a client that reaches all of them gets a limit from each.
"""

from __future__ import annotations

import math

from aiogateway.stores.windows import LOGGED_UP_TO, SUB_WINDOWS


def alone_at_most(limit: int, machines: int, offered: int) -> int:
    """The most that machines which count for themselves admit of what a client sends within one period."""
    return min(limit * machines, offered)


def alone_at_random(limit: int, machines: int, offered: int) -> float:
    """The mean of that, when each request goes to any of them by chance: each gets a binomial number of them."""
    share = 1 / machines
    return machines * math.fsum(min(count, limit) * _binomial(offered, count, share) for count in range(offered + 1))


def outage(limit: int, machines: int, offered_before: int, offered_after: int) -> int:
    """The most that one period admits in which Redis goes away, with the client spread evenly.

    What Redis admitted was counted by the machine that it went through, too, so an outage hands out no second limit
    to those who stay on one machine.
    """
    admitted = min(limit, offered_before)
    counted = [admitted // machines + (place < admitted % machines) for place in range(machines)]
    rooms = math.fsum(limit - count for count in counted)
    return admitted + min(int(rooms), offered_after)


def steady(limit: int, period: float) -> float:
    """Admitted a second of a client that never stops asking, by one counter that works.

    Small limits keep every time and give room when an event leaves. Larger ones count by tenths of the period, and
    give room when the oldest tenth has passed entirely: a period and a tenth later, never too early.
    """
    return limit / period if limit <= LOGGED_UP_TO else limit / (period * (1 + 1 / SUB_WINDOWS))


def _binomial(trials: int, hits: int, share: float) -> float:
    if share == 1:
        return float(trials == hits)
    log = math.lgamma(trials + 1) - math.lgamma(hits + 1) - math.lgamma(trials - hits + 1)
    return math.exp(log + hits * math.log(share) + (trials - hits) * math.log1p(-share))
