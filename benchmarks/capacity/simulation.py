"""Checks the model's formulas against events, one after the other: seeded, without a wall clock.

Workers that queue (also 100 of them that share a load), pools that keep connections, and limits over 100 machines. What
decides about a limit is the gateway's own code (`SharedCounters`), given a clock that the simulation moves.

Run as `python -m benchmarks.capacity.simulation`; with `--check` exit 1 when one is further off than its bound.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Final

from aiogateway.stores import LOGGED_UP_TO, Policy, SharedCounters
from benchmarks.capacity import limiting, pools, queueing
from benchmarks.capacity.queueing import Work

SEED: Final = 9
MACHINES: Final = 100
SECOND: Final = 10**9

Draw = Callable[[random.Random], float]
# Which machine gets a request, by its number.
Spread = Callable[[random.Random, int], int]


@dataclass(frozen=True)
class Row:
    """What a formula says and what was simulated; they may differ by `bound`, a share of the formula's."""

    title: str
    formula: float
    simulated: float
    bound: float
    at_most: bool = False

    @property
    def kept(self) -> bool:
        """Whether they agree; a formula that is an upper bound may be far above."""
        over = self.simulated - self.formula
        return (over if self.at_most else abs(over)) <= self.bound * self.formula + 1e-12


def waits(
    chance: random.Random, rate: float, draw: Draw, count: int, pieces: int = 1, away: float = 0.0
) -> list[float]:
    """How long each request waited for its worker, all pieces together.

    :param rate: requests a second, at random times.
    :param draw: the CPU seconds of one.
    :param pieces: in so many pieces of equal length it is worked on.
    :param away: mean seconds between two pieces, in which the service works.
    """
    arrivals, at = [], 0.0
    for number in range(count):
        at += chance.expovariate(rate)
        arrivals.append((at, number, pieces))
    ready, free, waited = arrivals, 0.0, [0.0] * count
    lengths = [draw(chance) / pieces for _ in range(count)]
    while ready:
        now, number, left = heapq.heappop(ready)
        waited[number] += max(free - now, 0.0)
        free = max(free, now) + lengths[number]
        if left > 1:
            heapq.heappush(ready, (free + (chance.expovariate(1 / away) if away else 0.0), number, left - 1))
    return waited


def held(
    chance: random.Random, rate: float, seconds: float, keepalive: float, count: int
) -> tuple[float, float, float]:
    """Of a pool that takes the connection used last: busy and open ones in the mean, new ones a second."""
    idle: list[float] = []  # since when, the last one used at the end
    under_way: list[float] = []
    now = busy_seconds = open_seconds = 0.0
    made = 0
    for _ in range(count):
        now += chance.expovariate(rate)
        while under_way and under_way[0] <= now:
            idle.append(heapq.heappop(under_way))
        gone = [since for since in idle if since + keepalive <= now]
        open_seconds += keepalive * len(gone)
        idle = idle[len(gone) :]
        if idle:
            open_seconds += now - idle.pop()
        else:
            made += 1
        taken = chance.expovariate(1 / seconds)
        busy_seconds += taken
        open_seconds += taken
        heapq.heappush(under_way, now + taken)
    return busy_seconds / now, open_seconds / now, made / now


class Machines:
    """So many gateways, each with counters of its own, and one Redis, which is one more set of the same counters."""

    def __init__(self, limit: int, period: int, machines: int) -> None:
        self.now = SECOND
        self.policy = Policy("simulated", limit, period, "simulated", logged=limit <= LOGGED_UP_TO)
        self._stack = ExitStack()
        self.redis = self._counters()
        self.local = [self._counters() for _ in range(machines)]

    def __enter__(self) -> Machines:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ask(self, machine: int, *, redis: bool) -> bool:
        """Whether a machine admits a request of the one client; as `Limiter.take` does it."""
        checks = [(self.policy, "client")]
        ((admitted, *_),) = (self.redis if redis else self.local[machine]).take(checks)
        if redis and admitted:
            self.local[machine].record(checks)
        return admitted

    def _counters(self) -> SharedCounters:
        return self._stack.enter_context(closing(SharedCounters(16, lambda: self.now, alone=True)))


def admitted(machines: Machines, spread: Callable[[int], int], offered: Sequence[tuple[float, bool]]) -> int:
    """How many requests pass, each with its time in seconds and whether Redis answers then."""
    passed = 0
    for number, (at, redis) in enumerate(offered):
        machines.now = SECOND + int(at * SECOND)
        passed += machines.ask(spread(number), redis=redis)
    return passed


def evenly(count: int, seconds: float, redis: Callable[[float], bool]) -> list[tuple[float, bool]]:
    """So many requests over so many seconds."""
    return [(at, redis(at)) for at in (seconds * number / count for number in range(count))]


def queues(chance: random.Random, count: int) -> Iterator[Row]:
    """One worker, and many that share a load by chance."""
    for busy in (0.3, 0.6, 0.8):
        found = waits(chance, busy, lambda draw: draw.expovariate(1), count)
        yield Row(f"M/M/1, {busy:.0%} busy: mean wait", queueing.markov_mean_wait(busy, 1), statistics.mean(found), 0.1)
        exact = queueing.wait_quantile([Work(busy, 1)], 0.99) * 2  # twice the variance, twice the wait
        yield Row(f"M/M/1, {busy:.0%} busy: p99 wait", exact, statistics.quantiles(found, n=100)[98], 0.1)
        kinds = [Work(busy, 1)]
        for pieces in (1, 2):
            found = waits(chance, busy, lambda _: 1.0, count, pieces, 250)
            told = f"M/D/1, {busy:.0%} busy, {pieces} piece(s): "
            yield Row(told + "mean wait", queueing.mean_wait(kinds), statistics.mean(found), 0.1)
            p99 = statistics.quantiles(found, n=100)[98]
            yield Row(told + "p99 wait", queueing.wait_quantile(kinds, 0.99), p99, 0.1, at_most=True)
    mixed = [Work(0.6 * 0.98 / 1.08, 1), Work(0.6 * 0.02 / 1.08, 5)]  # some 2 % are five times as long

    def pick(draw: random.Random) -> float:
        return 5.0 if draw.random() < 0.02 else 1.0

    found = waits(chance, 0.6 / 1.08, pick, count)
    yield Row("mixed lengths, 60% busy: mean wait", queueing.mean_wait(mixed), statistics.mean(found), 0.1)
    p99 = statistics.quantiles(found, n=100)[98]
    yield Row("mixed lengths, 60% busy: p99 wait", queueing.wait_quantile(mixed, 0.99), p99, 0.15)
    shares = [
        waits(random.Random(chance.random()), 0.6, lambda _: 1.0, max(count // MACHINES, 2)) for _ in range(MACHINES)
    ]
    every = [each for share in shares for each in share]
    one = queueing.mean_wait([Work(0.6, 1)])
    yield Row(f"{MACHINES} workers, 60% busy, a connection each: mean wait", one, statistics.mean(every), 0.1)


def kept(chance: random.Random, count: int) -> Iterator[Row]:
    """Pools of several rates."""
    for rate in (0.05, 1, 20, 200):
        of = pools.pool(rate, 0.05, 4.0, 1000, math.inf)
        busy, opened, made = held(chance, rate, 0.05, 4.0, count)
        yield Row(f"pool, {rate:g} a second: busy", of.busy, busy, 0.05)
        yield Row(f"pool, {rate:g} a second: open", of.open, opened, 0.1)
        yield Row(f"pool, {rate:g} a second: made a second", of.made, made, 0.2)


def limits(chance: random.Random) -> Iterator[Row]:
    """One client at 100 machines, over a period of a minute."""

    def in_turn(number: int) -> int:
        return number % MACHINES

    for limit in (5, 60):
        offered = 2 * limit * MACHINES
        told = f"{limit}/minute, {MACHINES} machines"

        def count(spread: Callable[[int], int], times: list[tuple[float, bool]], limit: int = limit) -> float:
            with Machines(limit, 60, MACHINES) as machines:
                return float(admitted(machines, spread, times))

        yield Row(f"{told}, Redis", limit, count(in_turn, evenly(offered, 59, lambda _: True)), 0)
        most = limiting.alone_at_most(limit, MACHINES, offered)
        yield Row(f"{told}, each alone", most, count(in_turn, evenly(offered, 59, lambda _: False)), 0)
        some = evenly(offered // 2, 59, lambda _: False)
        by_chance = limiting.alone_at_random(limit, MACHINES, offered // 2)
        yield Row(f"{told}, each alone, by chance", by_chance, count(lambda _: chance.randrange(MACHINES), some), 0.05)
        broken = limiting.outage(limit, MACHINES, offered // 2, offered // 2)
        yield Row(f"{told}, Redis goes away", broken, count(in_turn, evenly(offered, 59, lambda at: at < 29)), 0)
        yield Row(f"{told}, each alone, by client", limit, count(lambda _: 7, evenly(offered, 59, lambda _: False)), 0)
        hour = evenly(max(3 * limit * 60, 12_000), 3600, lambda _: False)
        yield Row(
            f"{limit}/minute for an hour, one machine",
            limiting.steady(limit, 60) * 3600,
            count(lambda _: 0, hour),
            0.03,
        )


def rows(seed: int = SEED, count: int = 200_000) -> Iterator[Row]:
    """Everything that is checked."""
    chance = random.Random(seed)
    yield from queues(chance, count)
    yield from kept(chance, count // 4)
    yield from limits(chance)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 when one is further off than its bound")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--count", type=int, default=200_000, help="requests of a queue")
    wanted = parser.parse_args()
    off = 0
    print(f"{'':58} {'formula':>10} {'simulated':>10} {'ratio':>6}")
    for row in rows(wanted.seed, wanted.count):
        off += not row.kept
        word = "" if row.kept else "  OFF"
        print(f"{row.title:58} {row.formula:10.3f} {row.simulated:10.3f} {row.simulated / row.formula:6.3f}{word}")
    return int(wanted.check and off > 0)


if __name__ == "__main__":
    sys.exit(main())
