"""Holds the model against gateways that run: four of them, with a Redis that all share, and without.

What a limit admits must be what the formulas say, to the request. Of time the ratio of measured to said is printed, and
nothing is judged: the machine has other things to do, and the model has a worker alone on its core. Loads are small.

Run as `python -m benchmarks.capacity.comparison`: a minute. It needs redis-server.
"""

from __future__ import annotations

import argparse
import functools
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.capacity import limiting, timing
from tests.e2e.harness import Backend, Client, Gateway, eventually, request, running, write_table
from tests.redis_server import RedisServer

GATEWAYS: Final = 4
LIMIT: Final = 20
OFFERED: Final = 2 * LIMIT * GATEWAYS
SEED: Final = 9

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
            told |= {"GATEWAY_REDIS_URL": redis.url, "GATEWAY_REDIS_TIMEOUT": "10"}  # counts, whatever else runs
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


def show(counts: Iterator[Count]) -> bool:
    """Print them; whether one is off."""
    off = False
    for count in counts:
        kept = count.least <= count.admitted <= count.most
        off |= not kept
        word = "" if kept else "  OFF"
        print(f"{count.title:32} {count.most:10} {count.admitted:10} {count.admitted / count.most:6.2f}{word}")
    return off


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
        timing.show(gateways)
    return int(wanted.check and off)


if __name__ == "__main__":
    sys.exit(main())
