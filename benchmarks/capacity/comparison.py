"""Holds the model against gateways that run: four of them, with a Redis that all share, and without.

What a limit admits must be what the formulas say, to the request. Of time the ratio of measured to said is printed, and
nothing is judged: the machine has other things to do, and the model has a worker alone on its core. Loads are small.

Run as `python -m benchmarks.capacity.comparison`: a minute. It needs redis-server.
"""

from __future__ import annotations

import argparse
import functools
import random
import selectors
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import processes
from benchmarks.capacity import limiting, measured, queueing
from tests.e2e.harness import Backend, Client, Gateway, eventually, request, running, write_table
from tests.redis_server import RedisServer

GATEWAYS: Final = 4
LIMIT: Final = 20
OFFERED: Final = 2 * LIMIT * GATEWAYS
SEED: Final = 9
BURSTS: Final = 60
BURST_SIZES: Final = (1, 4, 16, 32)
# Requests a second to each gateway, and for how many seconds.
RATE, SECONDS = 25.0, 8.0

ROUTES: Final = f"""
auth = "public"
upstream = "main"
[[route]]
path = "/limited"
rate_limit = "{LIMIT}/minute"
[[route]]
path = "/free"
rate_limit = "1000000/minute"
[[route]]
path = "/stored"
rate_limit = "off"
cache = 3600
"""


@dataclass(frozen=True)
class Count:
    """What a client got through a limit, and what it gets by the formulas: at least and at most."""

    title: str
    admitted: int
    least: int
    most: int


@contextmanager
def fleet(folder: Path, redis: RedisServer | None) -> Iterator[list[Gateway]]:
    """Four gateways, as on four machines, before one backend."""
    with ExitStack() as stack:
        backend = stack.enter_context(Backend())
        config = write_table(folder / "config", f'main = {{ url = "{backend.url}" }}', ROUTES)
        told = {"GATEWAY_RATE_LIMIT": "600/minute", "GATEWAY_TRUSTED_PROXIES": "127.0.0.0/8"}
        if redis is not None:
            told["GATEWAY_REDIS_URL"] = redis.url
        yield [stack.enter_context(running(config, **told)) for _ in range(GATEWAYS)]


class Caller:
    """One client, with a connection to each gateway."""

    def __init__(self, gateways: Sequence[Gateway], address: str) -> None:
        self._stack = ExitStack()
        self._connections: list[Client] = [self._stack.enter_context(each.client(timeout=30)) for each in gateways]
        self._data = request("GET", "/limited", f"X-Forwarded-For: {address}")

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def passed(self, order: Sequence[int]) -> int:
        """How many requests pass, to the gateways in that order, one after the other."""
        return [self._connections[place].ask(self._data).status for place in order].count(200)


def in_turn(count: int) -> list[int]:
    """To each gateway as many."""
    return [number % GATEWAYS for number in range(count)]


def by_chance(count: int, seed: int = SEED) -> list[int]:
    """To any of them."""
    return random.Random(seed).choices(range(GATEWAYS), k=count)


def passing(order: Sequence[int]) -> int:
    """Of requests to gateways that count for themselves."""
    return sum(min(order.count(place), LIMIT) for place in range(GATEWAYS))


def asks_redis(gateway: Gateway) -> bool:
    """Whether Redis decides there: it may not be there yet when a gateway starts."""
    gateway.get("/free")
    lines = gateway.admin("/metrics").data.decode().splitlines()
    return any("gateway_ratelimit_decisions_total" in line and 'backend="redis"' in line for line in lines)


def counts_with_redis(gateways: Sequence[Gateway], redis: RedisServer) -> Iterator[Count]:
    """While it answers, and across its going away."""
    for title, order in (("in turn", in_turn(OFFERED)), ("by chance", by_chance(OFFERED))):
        with Caller(gateways, f"198.18.0.{len(title)}") as caller:
            yield Count(f"Redis, {title}", caller.passed(order), LIMIT, LIMIT)
    with Caller(gateways, "198.18.0.99") as caller:
        before = caller.passed(in_turn(OFFERED))
        redis.stop()
        after = caller.passed(in_turn(OFFERED))
        said = limiting.outage(LIMIT, GATEWAYS, OFFERED, OFFERED)
        # An event that Redis counted may be counted again here, when the answer was lost.
        yield Count("Redis goes away", before + after, said - GATEWAYS, said)


def counts_alone(gateways: Sequence[Gateway]) -> Iterator[Count]:
    """Without a Redis."""
    said = limiting.alone_at_most(LIMIT, GATEWAYS, OFFERED)
    some = by_chance(LIMIT * GATEWAYS)
    rows: dict[str, tuple[Sequence[int], int]] = {
        "in turn": (in_turn(OFFERED), said),
        "by chance": (some, passing(some)),
        "by client": ([2] * OFFERED, LIMIT),
    }
    for number, (title, (order, expected)) in enumerate(rows.items()):
        with Caller(gateways, f"198.18.1.{number}") as caller:
            yield Count(f"no Redis, {title}", caller.passed(order), expected, expected)


def burst(connections: Sequence[socket.socket], data: bytes) -> list[float]:
    """Seconds from the first byte sent to each answer, when all ask at once."""
    with selectors.DefaultSelector() as ready:
        began = time.perf_counter()
        for connection in connections:
            connection.sendall(data)
            ready.register(connection, selectors.EVENT_READ)
        taken: list[float] = []
        while len(taken) < len(connections):
            for key, _ in ready.select(10):
                assert isinstance(key.fileobj, socket.socket)
                taken.append(time.perf_counter() - began)
                key.fileobj.recv(65536)
                ready.unregister(key.fileobj)
        return taken


def occupied(pid: int) -> float:
    """Seconds in which a worker worked or waited for the core that it shares: for its queue, both are work."""
    return processes.cpu_seconds(pid) + sum(map(processes.waited_seconds, processes.tree(pid)))


def bursts(gateway: Gateway) -> Iterator[tuple[int, float, float, float]]:
    """Of each size: mean time measured, the same by the formula, and the worker's seconds for a request."""
    pid, data = gateway.process.pid, request("GET", "/stored")
    gateway.ask(data)
    alone = 0.0
    for size in BURST_SIZES:
        with ExitStack() as stack:
            open_ = [stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port))) for _ in range(size)]
            burst(open_, data)
            before, taken = occupied(pid), []
            for _ in range(BURSTS):
                taken += burst(open_, data)
                time.sleep(0.02)
            cost = (occupied(pid) - before) / len(taken)
        mean = statistics.mean(taken)
        alone = alone or mean - cost  # what isn't the worker's: the network, the client
        yield size, mean, alone + queueing.burst_mean_time(size, cost), cost


def utilisations(gateways: Sequence[Gateway], seconds: float = SECONDS) -> Iterator[tuple[float, float]]:
    """Of each gateway, at a low rate and random times: cores that it used beyond those of rest, and its rate."""
    idle = [processes.cpu_seconds(each.process.pid) for each in gateways]
    time.sleep(seconds)
    rests = [processes.cpu_seconds(each.process.pid) - was for each, was in zip(gateways, idle, strict=True)]
    chance, data = random.Random(SEED), request("GET", "/free")
    with ExitStack() as stack:
        open_ = [stack.enter_context(each.client()) for each in gateways]
        before = [processes.cpu_seconds(each.process.pid) for each in gateways]
        sent, began = [0] * len(gateways), time.monotonic()
        at = 0.0
        while (at := at + chance.expovariate(RATE * len(gateways))) < seconds:
            time.sleep(max(began + at - time.monotonic(), 0))
            place = chance.randrange(len(gateways))
            open_[place].ask(data)
            sent[place] += 1
        took = time.monotonic() - began
        for gateway, used, rest, count in zip(gateways, before, rests, sent, strict=True):
            yield (processes.cpu_seconds(gateway.process.pid) - used) / took - rest / seconds, count / took


def show(counts: Iterator[Count]) -> bool:
    """Print them; whether one is off."""
    off = False
    for count in counts:
        kept = count.least <= count.admitted <= count.most
        off |= not kept
        word = "" if kept else "  OFF"
        print(f"{count.title:32} {count.most:10} {count.admitted:10} {count.admitted / count.most:6.2f}{word}")
    return off


def times(gateways: Sequence[Gateway]) -> None:
    """Print what is said of times, and what was measured."""
    figures = measured.load()
    get, hit = (figures[name].value for name in ("get_us", "hit_of_proxied"))
    print(f"\n{'bursts to one idle gateway':32} {'said, ms':>10} {'mean, ms':>10} {'ratio':>6}")
    for size, mean, said, cost in bursts(gateways[0]):
        told = f"{size} at once, {cost * 1e6:.0f} µs each"
        print(f"{told:32} {said * 1e3:10.2f} {mean * 1e3:10.2f} {mean / said:6.2f}")
    print(f"a stored answer of a busy worker is said to take {get * hit:.0f} µs of CPU")
    print(f"\n{'utilisation, low rate':32} {'said':>10} {'measured':>10} {'ratio':>6}")
    for number, (used, rate) in enumerate(utilisations(gateways)):
        said = rate * get / 1e6
        print(f"{f'gateway {number + 1}, {rate:.1f} a second':32} {said:10.4f} {used:10.4f} {used / said:6.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 when a count is off")
    wanted = parser.parse_args()
    print(f"{f'{LIMIT}/minute, {GATEWAYS} gateways':32} {'said':>10} {'admitted':>10} {'ratio':>6}")
    with tempfile.TemporaryDirectory() as folder, RedisServer() as redis, fleet(Path(folder), redis) as gateways:
        for gateway in gateways:
            eventually(functools.partial(asks_redis, gateway), "Redis decides")
        off = show(counts_with_redis(gateways, redis))
    with tempfile.TemporaryDirectory() as folder, fleet(Path(folder), None) as gateways:
        off |= show(counts_alone(gateways))
        times(gateways)
    return int(wanted.check and off)


if __name__ == "__main__":
    sys.exit(main())
