"""What it costs to encode 300 KB of JSON on its way, by coding: CPU in all, and how long the loop is kept at a time.

The body comes in pieces as from a service, and is encoded as the gateway does it, threads included. Two bodies: a 3D
answer as the benchmarks' backend gives it, and text that is hard to encode. Then the whole gateway, plain and gzip.

Run as `python -m benchmarks.compression`; with `--check` exit 1 when a figure of gzip is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import orjson

from aiogateway.compression import Compression
from aiogateway.compression.negotiation import CODINGS
from aiogateway.metrics import Metrics
from aiogateway.settings import read
from benchmarks import caching, load, processes
from benchmarks.backend import backends, large_answer
from benchmarks.traffic import LARGE, Request

SIZE: Final = 300_000
# Bytes that a read from a service brings, and whether nothing more is at hand then, so that it is flushed; SIZE stands
# for a body that was there at once. zstd would hold all of 120 KiB until it is flushed.
READS: Final = ((64 * 1024, False), (120 * 1024, True), (256 * 1024, False), (SIZE, False))
RUNS: Final = 30
CPU_MS: Final = 1.2
LOOP_MS: Final = 0.5
SECONDS: Final = 4
CONNECTIONS: Final = 8


def hard_answer() -> bytes:
    """JSON of random words and numbers."""
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 10))) for _ in range(3000)]
    rows: list[dict[str, object]] = []
    while len(rows) * 250 < SIZE * 1.2:
        text = " ".join(chance.choices(words, k=34))
        rows.append({"id": chance.randrange(10**6), "text": text, "score": chance.random()})
    return orjson.dumps(rows)[:SIZE]


class Steps:
    """Runs a coroutine step by step, and times each."""

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self.longest = 0.0

    def __await__(self) -> Any:
        value = None
        while True:
            began = time.thread_time()
            try:
                waited = self._coroutine.send(value)
            except StopIteration:
                return
            finally:
                self.longest = max(self.longest, time.thread_time() - began)
            value = yield waited


async def one(compression: Compression, coding: str, body: bytes, piece: int, late: bool) -> tuple[float, float]:
    """CPU in ms that a body costs, and ms that the loop is kept at a time."""

    async def relay() -> None:
        encoder = compression.piecewise(coding)
        assert encoder is not None
        for at in range(0, len(body), piece):
            await encoder.feed(body[at : at + piece], late=late)
            await asyncio.sleep(0)  # what comes next has to be waited for
        encoder.finish()
        encoder.close()

    steps, began = Steps(relay()), time.process_time()
    await steps
    return (time.process_time() - began) * 1e3, steps.longest * 1e3


async def in_process() -> bool:
    """Print what each coding costs; whether gzip keeps its bounds."""
    compression = Compression(read({"JWT_SECRET": "k" * 40}), Metrics())
    kept = True
    for name, body in (("3D answer", large_answer()), ("random words", hard_answer())):
        for coding in CODINGS:
            for piece, late in READS:
                runs = [await one(compression, coding, body, piece, late) for _ in range(RUNS)]
                cpu, longest = (statistics.median(run[at] for run in runs) for at in (0, 1))
                print(
                    f"{name:14} {coding:5} {piece // 1024:4} KiB a read: {cpu:5.2f} ms of CPU, {longest:5.2f} at a time"
                )
                if coding == "gzip":
                    kept = kept and cpu <= CPU_MS and longest <= LOOP_MS
    compression.close()
    return kept


class Plain(Request):
    """A browser's request, but for what it says of codings."""

    def headers(self) -> dict[str, str]:
        return {name: value for name, value in super().headers().items() if name != "Accept-Encoding"}


class Gzip(Plain):
    """One that takes gzip."""

    def headers(self) -> dict[str, str]:
        return super().headers() | {"Accept-Encoding": "gzip"}


def whole(folder: Path) -> None:
    """Print what an answer costs the gateway, plain and with gzip."""
    ours, theirs = processes.cores()
    with backends(folder / "backends", theirs) as ports, caching.serving(folder, ports.answers, ours) as (pid, port):
        for name, request in (("plain", Plain("GET", LARGE)), ("gzip", Gzip("GET", LARGE))):
            lua = folder / "load.lua"
            lua.write_text(load.script(request))
            load.run(port, lua, CONNECTIONS, 1, theirs)
            processes.settle(pid)
            before = processes.cpu_seconds(pid)
            answered = load.run(port, lua, CONNECTIONS, SECONDS, theirs).requests
            print(
                f"the whole gateway, {name:5}: {(processes.cpu_seconds(pid) - before) / answered * 1e3:5.2f} ms of CPU"
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 when a figure of gzip is missed")
    wanted = parser.parse_args()
    kept = asyncio.run(in_process())
    print(f"gzip: at most {CPU_MS} ms of CPU and {LOOP_MS} at a time: {'met' if kept else 'missed'}")
    with tempfile.TemporaryDirectory() as folder:
        whole(Path(folder))
    return int(wanted.check and not kept)


if __name__ == "__main__":
    sys.exit(main())
