"""Event streams: how late a chunk is, what many open streams cost, and how soon a client's leaving is known.

The same is measured without a gateway between, because upstream and clients share a core (`hall`).

Run as `python -m benchmarks.streams`; with `--check` exit 1 when a figure is missed. Whatever else runs on the machine
makes events late by a time slice, about 4 ms; `--real-time` keeps it off the cores while these two want them.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import resource
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from benchmarks import gateway, processes
from benchmarks.hall import Hall, Late, listening
from tests.ports import free_port

SOME: Final = 1000
MANY: Final = 5000
# Seconds that are measured, and seconds before that in which everything comes to rest.
SECONDS: Final = 20.0
REST: Final = 3.0
LEAVING: Final = 100
LATE_MS: Final = 5.0
LATE_OF_MANY_MS: Final = 250.0
LEFT_MS: Final = 100.0
MEMORY_MIB: Final = 300.0
CORE: Final = 0.80

ROUTES: Final = """
[[route]]
path = "/live"
upstream = "bench"
auth = "public"
rate_limit = "off"
"""


@contextlib.contextmanager
def serving(folder: Path, upstream: int, core: str) -> Iterator[tuple[int, int]]:
    """A gateway in `folder` before 127.0.0.1:`upstream`; its process id and its port."""
    (folder / "table" / "routes").mkdir(parents=True)
    (folder / "table" / "upstreams.toml").write_text(f'[bench]\nurl = "http://127.0.0.1:{upstream}"\n')
    (folder / "table" / "routes" / "bench.toml").write_text(ROUTES)
    port, admin_port, log = free_port(), free_port(), folder / "gateway.log"
    environ = gateway.environment(folder / "table", port, admin_port, guards=False)
    environ |= {"GATEWAY_POOL_MAX_STREAMS": str(MANY)}
    with processes.running([sys.executable, "-m", "aiogateway", "serve"], core, log, environ) as pid:
        processes.wait_for_port(port, pid, log)
        yield pid, port


@dataclass
class Figures:
    """What one measurement gave.

    :ivar left: milliseconds until the upstream knew, of each client that left.
    :ivar memory: MiB.
    :ivar cpu: cores.
    :ivar waited: milliseconds that the gateway waited for its core, which others use too.
    """

    late: Late
    left: list[float]
    memory: float
    cpu: float
    waited: float


async def direct(count: int, seconds: float) -> Late:
    """How late events are on so many streams without a gateway."""
    hall = Hall()
    async with listening(hall) as port:
        await hall.open(port, count)
        await hall.send(seconds)
    return hall.late()


def go_first(pid: int) -> None:
    """Let a process, 0 for this one, run whenever it wants to (SCHED_FIFO, which needs privileges)."""
    os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))


async def through(count: int, folder: Path, core: str, *, real_time: bool) -> Figures:
    """So many streams through one."""
    hall = Hall()
    async with listening(hall) as upstream:
        with serving(folder, upstream, core) as (pid, port):
            if real_time:
                go_first(pid)
            await hall.open(port, count)
            await hall.send(REST)
            before, waited = processes.cpu_seconds(pid), processes.waited_seconds(pid)
            await hall.send(SECONDS)
            cpu = (processes.cpu_seconds(pid) - before) / SECONDS
            waited = processes.waited_seconds(pid) - waited
            memory = processes.resident_mib(pid)
            left = [await hall.leave() for _ in range(LEAVING)]
            return Figures(hall.late(), left, memory, cpu, waited * 1e3)


async def measure(folder: Path, core: str, *, real_time: bool) -> bool:
    """Print the figures; whether all bounds are kept."""
    kept = True
    for count, bound in ((SOME, LATE_MS), (MANY, LATE_OF_MANY_MS)):
        print(f"{f'{count} streams, direct':24} {await direct(count, SECONDS)}")
        found = await through(count, folder / str(count), core, real_time=real_time)
        print(f"{f'{count} streams, gateway':24} {found.late}")
        left = max(found.left)
        print(
            f"{'':24} {found.cpu:.0%} of a core, for which it waited {found.waited:.0f} ms, {found.memory:.0f} MiB;"
            f" {LEAVING} clients leave: the upstream knows after {statistics.median(found.left):.1f} ms at the median,"
            f" {left:.1f} at most"
        )
        kept = kept and found.late.most <= bound and left <= LEFT_MS
    return kept and found.memory <= MEMORY_MIB and found.cpu <= CORE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 when a figure is missed")
    parser.add_argument("--real-time", action="store_true", help="run before all others on the machine")
    wanted = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    ours, theirs = processes.cores()
    os.sched_setaffinity(0, {int(core) for core in theirs.split(",")})
    if wanted.real_time:
        go_first(0)
    gc.disable()  # its own pauses are not the gateway's
    with tempfile.TemporaryDirectory() as folder:
        kept = uvloop.run(measure(Path(folder), ours, real_time=wanted.real_time))
    print(
        f"bounds: {LATE_MS:.0f} ms at {SOME} streams, {LATE_OF_MANY_MS:.0f} at {MANY}; {LEFT_MS:.0f} ms for leaving;"
        f" {MEMORY_MIB:.0f} MiB and {CORE:.0%} of a core at {MANY}: {'kept' if kept else 'missed'}"
    )
    return int(wanted.check and not kept)


if __name__ == "__main__":
    sys.exit(main())
