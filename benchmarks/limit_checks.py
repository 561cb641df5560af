"""What a limit check in shared memory costs: CPU of one process, by how many counters are live, and their memory.

The one measurement that imports the gateway: a request's other costs are many times this one. Known clients are asked
for in random order, so that what the processor's caches hold is what they would hold; new ones follow once all are
live. A check that is refused costs no more than one that is admitted.

Run as `python -m benchmarks.limit_checks`; with `--check` exit 1 when a figure is missed.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from aiogateway.stores import Policy, SharedCounters
from benchmarks import machine

CLIENTS = (1, 1_000, 100_000, 1_000_000)
RUNS = 7
CHECKS = 10_000
FIGURE_US = 5.0
FIGURE_MIB = 128.0
# Periods that none of the events passes meanwhile.
LOG = Policy("10/hour", 10, 3600, "log", logged=True)
COUNTS = Policy("many/hour", 10**9, 3600, "counts", logged=False)


def address(number: int) -> str:
    """A client."""
    return f"address 10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def cost(check: Callable[[str], object], clients: Sequence[str]) -> float:
    """Microseconds of CPU that a check takes, in the mean over some clients."""
    start = time.process_time_ns()
    for client in clients:
        check(client)
    return (time.process_time_ns() - start) / len(clients) / 1000


def median(check: Callable[[str], object], choose: Callable[[int], Sequence[str]]) -> float:
    """The median of several runs, each over clients of its own."""
    return statistics.median(cost(check, choose(run)) for run in range(RUNS))


def resident_mib() -> float:
    """Shared memory that this process has touched."""
    (kib,) = re.findall(r"^RssShmem:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(kib) / 1024


def measure(count: int, policy: Policy) -> dict[str, float]:
    """Costs with `count` live counters of one policy."""
    chance, counters, before = random.Random(count), SharedCounters(), resident_mib()
    new = range(CLIENTS[-1], CLIENTS[-1] + RUNS * CHECKS)

    def known(_: int) -> list[str]:
        return [address(number) for number in chance.choices(range(count), k=CHECKS)]

    def next_new(run: int) -> list[str]:
        return [address(number) for number in new[run * CHECKS : (run + 1) * CHECKS]]

    def take(client: str) -> object:
        return counters.take([(policy, client)])

    for number in range(count):
        take(address(number))
    found = {"MiB": resident_mib() - before, "known": median(take, known)}
    found["peek"] = median(lambda client: counters.peek(policy, client), known)
    found["absent"] = median(lambda client: counters.peek(policy, client), next_new)
    found["new"] = median(take, next_new)
    counters.close()
    return found


def main(argv: Sequence[str]) -> int:
    """Measure and print; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limit_checks", description="Measure limit checks.")
    parser.add_argument("--check", action="store_true", help="exit 1 when a figure is missed")
    given = parser.parse_args(argv)
    here = machine.describe()
    print(f"{here['cpu']}, Linux {here['kernel']}, Python {here['versions']['python']}, load {here['load']}")
    print(f"µs of CPU a check, median of {RUNS} runs of {CHECKS} checks each\n")
    print(
        f"{'':12} {'live counters':>13} {'known client':>13} {'only looked at':>15} {'absent':>8} {'new':>8} {'MiB':>8}"
    )
    most_us = most_mib = 0.0
    for kind, policy in (("log", LOG), ("sub-windows", COUNTS)):
        for count in CLIENTS:
            found = measure(count, policy)
            most_us, most_mib = max(most_us, found["known"]), max(most_mib, found["MiB"])
            print(
                f"{kind:12} {count:13,} {found['known']:13.2f} {found['peek']:15.2f} {found['absent']:8.2f}"
                f" {found['new']:8.2f} {found['MiB']:8.1f}",
                flush=True,
            )
    figures = (
        (most_us <= FIGURE_US, f"a check takes at most {FIGURE_US} µs: {most_us:.2f}"),
        (most_mib <= FIGURE_MIB, f"{CLIENTS[-1]:,} live counters take at most {FIGURE_MIB:.0f} MiB: {most_mib:.1f}"),
    )
    print()
    for met, figure in figures:
        print("met   " if met else "MISSED", figure)
    return int(given.check and not all(met for met, _ in figures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
