"""How much memory a worker's store takes, and how well it chooses: a million requests for random objects.

Each request looks for one of many keys, some far more popular than others, and stores an object of random size where
there is none. What counts is how much the process grew, with all that Python and the C library add. Then the share of
requests that found what they looked for, beside that of a store which gives up what was used longest ago.

Run as `python -m benchmarks.cache_memory`; with `--check` exit 1 when the figure is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import os
import random
import secrets
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aiogateway import linux
from aiogateway.caching.entry import Entry, Freshness, Key
from aiogateway.caching.memory_store import MemoryStore
from aiogateway.caching.notices import Notices

REQUESTS: Final = 1_000_000
KEYS: Final = 200_000
MAX_BYTES: Final = 64 << 20
MAX_OBJECT: Final = 1 << 20
MOST_OVER: Final = 0.10
# Sizes are spread over magnitudes: most objects are small, a few are as large as may be.
LEAST, MOST = 100, MAX_OBJECT
SKEW: Final = 0.9
BATCH: Final = 1000


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def size_of(number: int) -> int:
    """The size of an object: always the same for a key."""
    share = random.Random(number).random()
    return int(LEAST * (MOST / LEAST) ** (share**3))


def entry_for(number: int, size: int, now: float) -> Entry:
    return Entry(
        id=secrets.token_hex(16),
        status=200,
        lines=b'Content-Type: application/json\r\nDate: Fri, 27 Nov 2026 09:00:00 GMT\r\nETag: "%d"' % number,
        vary=(),
        source=f"plans /v2/plans/{number}",
        freshness=Freshness(600.0, 0.0, False, False, 0.0, 0.0),
        etag=f'"{number}"',
        modified="",
        encodable=True,
        received=now,
        until=now + 1e6,
        size=size,
        tags=(),
    )


class Oldest:
    """What a store would find that gives up what was used longest ago."""

    def __init__(self) -> None:
        self._sizes: OrderedDict[int, int] = OrderedDict()
        self._held = 0

    def asked(self, number: int, size: int) -> bool:
        if number in self._sizes:
            self._sizes.move_to_end(number)
            return True
        self._sizes[number] = size
        self._held += size
        while self._held > MAX_BYTES:
            self._held -= self._sizes.popitem(last=False)[1]
        return False


def asked(count: int) -> Iterator[int]:
    """The keys that are asked for: the same each time."""
    chance, keys = random.Random(1), range(KEYS)
    weights = list(itertools.accumulate((number + 1) ** -SKEW for number in keys))
    for _ in range(count // BATCH):
        yield from chance.choices(keys, cum_weights=weights, k=BATCH)


async def run(count: int) -> tuple[float, float]:
    """How much more than the store may hold was taken, as a share, and what share of requests found theirs."""
    store = MemoryStore(MAX_BYTES, MAX_OBJECT, time.time, Notices(alone=True))
    found = most = 0
    numbers = asked(count)
    next(numbers)
    gc.collect()
    before = resident()
    for done, number in enumerate(numbers):
        key, size = Key("https://gateway.test", f"/v2/plans/{number}", ""), size_of(number)
        entries = await store.find(key)
        if entries and await store.body(key, entries[0]) is not None:
            store.used(key, entries[0])
            found += 1
        else:
            await store.keep(key, entry_for(number, size, time.time()), os.urandom(size), store.mark())
        if done % BATCH == 0:
            most = max(most, resident())
    await store.close()
    return (most - before) / MAX_BYTES - 1, found / count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 when the figure is missed")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    wanted = parser.parse_args()
    linux.tune_allocator()
    over, found = asyncio.run(run(wanted.requests))
    oldest = Oldest()
    other = sum(oldest.asked(number, size_of(number)) for number in asked(wanted.requests)) / wanted.requests
    print(f"{wanted.requests:,} requests, {MAX_BYTES >> 20} MiB: it took {over:+.1%} of that (bound: +{MOST_OVER:.0%})")
    print(f"found: {found:.1%}; giving up what was used longest ago would have found {other:.1%}")
    return int(wanted.check and over > MOST_OVER)


if __name__ == "__main__":
    sys.exit(main())
