"""What a cache in memory takes of the machine, and how often it has what is asked for.

A process of its own asks a store of 64 MiB for random keys, some popular, and stores what it doesn't find: bodies of
random sizes. What it grows by at most is told as a share of what the store may weigh; what the C library can't reuse
between bodies counts. Then the queues alone are asked for objects in Zipf's proportions, beside plain LRU.

Run as `python -m benchmarks.cache_memory`; with `--check` exit 1 when a figure is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import random
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Final, NamedTuple

from aiogateway import linux
from aiogateway.caching.entry import Entry, Freshness, Key
from aiogateway.caching.eviction import Item, Queues
from aiogateway.caching.memory_store import MemoryStore
from aiogateway.caching.notices import Notices
from benchmarks import machine

MAX_BYTES: Final = 64 << 20
MAX_OBJECT: Final = 1 << 20
REQUESTS: Final = 1_000_000
KEYS: Final = 200_000
FIGURE: Final = 1.10
PAGE: Final = 4096
# How many requests go by between two looks at the process.
LOOK: Final = 1000

Size = Callable[[random.Random], int]
# Sizes of bodies: every size as likely as any other; every order of magnitude; small ones only.
SIZES: Final[dict[str, Size]] = {
    "1 B to 1 MiB": lambda chance: chance.randint(1, MAX_OBJECT),
    "1 B to 1 MiB, mostly small": lambda chance: int(MAX_OBJECT ** chance.random()),
    "1 B to 1 KiB": lambda chance: chance.randint(1, 1024),
}


class Grown(NamedTuple):
    """:ivar bytes: by which the process grew, at most.
    :ivar weight: of the store at the end, in bytes.
    :ivar variants: in it at the end.
    """

    bytes: int
    weight: int
    variants: int


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * PAGE


def entry_of(number: int) -> Entry:
    """A head of a usual size, of whose parts none is shared with another."""
    lines = b"Content-Type: application/json\r\nCache-Control: max-age=600\r\nX-Number: %d" % number
    fresh = Freshness(600.0 + number, 0.5 + number, False, False, 0.0, 0.0)
    vary = (("accept-encoding", f"{number:032x}"),)
    etag, tags = f'"{number}-{number}"', (f"plans-{number}",)
    return Entry(
        f"{number:032x}", 200, lines, vary, f"main /a/{number}", fresh, etag, "", True, number + 0.5, 1e12, 0, tags
    )


def zipf(count: int, skew: float, chance: random.Random) -> Iterator[int]:
    """Numbers below `count`, each in proportion to its rank to the power of `-skew`."""
    bounds = list(accumulate((rank + 1) ** -skew for rank in range(count)))
    while True:
        yield from chance.choices(range(count), cum_weights=bounds, k=1000)


async def fill(size: Size, requests: int) -> Grown:
    """Ask a store for random objects."""
    chance = random.Random(1)
    numbers = zipf(KEYS, 0.8, chance)
    next(numbers)
    gc.collect()
    gc.freeze()
    before, most = resident(), 0
    store = MemoryStore(MAX_BYTES, MAX_OBJECT, time.time, Notices(alone=True))
    for request in range(requests):
        number = next(numbers)
        key = Key("https://api.example.org", f"/v2/plans/{number}", f"?of={number}")
        found = await store.find(key)
        if found:
            store.used(key, found[0])
        else:
            await store.keep(key, entry_of(request), b"x" * size(chance), store.mark())
        if request % LOOK == 0:
            most = max(most, resident() - before)
    return Grown(most, store.weight, len(store))


def filled(given: tuple[str, int]) -> Grown:
    """`fill` in a process that was tuned as a worker is."""
    linux.tune_allocator()
    gc.set_threshold(20_000, 20, 20)
    return asyncio.run(fill(SIZES[given[0]], given[1]))


class Lru:
    """The plain queue that all is compared with."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.weight = 0
        self.items: OrderedDict[int, int] = OrderedDict()

    def ask(self, number: int, weight: int) -> bool:
        """Whether it was there; it is now."""
        if number in self.items:
            self.items.move_to_end(number)
            return True
        self.items[number] = weight
        self.weight += weight
        while self.weight > self.room:
            self.weight -= self.items.popitem(last=False)[1]
        return False


class Fifo:
    """The store's queues."""

    def __init__(self, room: int) -> None:
        self.queues: Queues[Item] = Queues(room)
        self.items: dict[int, Item] = {}

    def ask(self, number: int, weight: int) -> bool:
        """Whether it was there; it is now."""
        item = self.items.get(number)
        if item is not None:
            self.queues.used(item)
            return True
        item = Item(number, weight, 1e12)
        for gone in self.queues.add(item, 0.0):
            del self.items[gone.mark]
        self.items[number] = item
        return False


def hits(cache: Lru | Fifo, skew: float, scanned: bool, requests: int) -> float:
    """The share of requests for something that was there.

    :param scanned: whether every other request is for something that is asked for only once.
    """
    chance = random.Random(2)
    sizes = [512 + int(2 ** (chance.random() * 16)) for _ in range(KEYS)]
    numbers, found = zipf(KEYS, skew, chance), 0
    for request in range(requests):
        number = next(numbers)
        found += cache.ask(number, sizes[number])
        if scanned:
            cache.ask(KEYS + request, sizes[request % KEYS])
    return found / requests


def main(argv: Sequence[str]) -> int:
    """Measure and print; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cache_memory", description="Measure the cache.")
    parser.add_argument("--check", action="store_true", help="exit 1 when a figure is missed")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    given = parser.parse_args(argv)
    here = machine.describe()
    print(f"{here['cpu']}, Linux {here['kernel']}, Python {here['versions']['python']}, load {here['load']}")
    print(f"\n{given.requests:,} requests, a store of {MAX_BYTES >> 20} MiB\n")
    worst = 0.0
    print(f"{'bodies':28} {'grew by MiB':>12} {'of the bound':>13} {'weight MiB':>11} {'variants':>9}")
    for name in SIZES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            grown = pool.apply(filled, ((name, given.requests),))
        worst = max(worst, grown.bytes / MAX_BYTES)
        print(
            f"{name:28} {grown.bytes / 2**20:12.1f} {grown.bytes / MAX_BYTES:13.3f} {grown.weight / 2**20:11.1f}"
            f" {grown.variants:9,}",
            flush=True,
        )
    print(f"\n{'share of hits':28} {'LRU':>12} {'S3-FIFO':>13}")
    for skew in (0.8, 1.0):
        for scanned in (False, True):
            name = f"Zipf {skew}" + (", scanned" if scanned else "")
            requests = given.requests // 2
            shares = [hits(cache(MAX_BYTES), skew, scanned, requests) for cache in (Lru, Fifo)]
            print(f"{name:28} {shares[0]:12.3f} {shares[1]:13.3f}", flush=True)
    print("\nmet   " if worst <= FIGURE else "\nMISSED", f"at most {FIGURE} of the bound: {worst:.3f}")
    return int(given.check and worst > FIGURE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
