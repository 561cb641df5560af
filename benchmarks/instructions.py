"""How many instructions in user space a request costs the gateway with everything on, counted by valgrind.

CPU time is another in every run, instructions differ by a percent or two. Each case is asked on one kept connection, in
several batches once it is warm, and the median counts: a collection of the garbage collector in one of them does not.
What the gateway does by the clock is taken off, for a busy machine has more of that to a request. What a case cost is
kept in `instructions.json` (see `references`).

Run as `python -m benchmarks.instructions`; with `--check` exit 1 when a case costs over a tenth more than its reference
or has none, with `--write` keep what it costs now.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks import processes, references, traffic
from benchmarks.backend import backends
from benchmarks.contenders import CONTENDERS, Contender, Launch, Ports, started

WARM_UP: Final = 200
BATCHES: Final = 6
IDLE_SECONDS: Final = 2.0
KEPT: Final = Path(__file__).with_name("instructions.json")
# Valgrind starts a program many times slower, and speaks through pipes that nobody removes when it is killed.
START_SECONDS: Final = 120.0
VALGRIND: Final = ("valgrind", "--tool=callgrind", "--vgdb-prefix={folder}/vgdb", "--callgrind-out-file={folder}/out")
# What stands for the interpreter: calls, attributes, numbers, text, a dictionary.
PIECE: Final = """
class Thing:
    __slots__ = ("count", "name")
    def __init__(self, name): self.name, self.count = name, 0
    def add(self, more): self.count += more; return self
def work(times):
    kept = {}
    for number in range(times):
        thing = Thing(str(number)).add(2)
        kept[number & 255] = b"%b: %d" % (thing.name.encode(), thing.count)
work(TIMES)
"""
PIECES: Final = (2_000, 12_000)


@dataclass(frozen=True)
class Case:
    """A request; `make` gives the bytes of the nth one, `batch` says how many of them are counted together."""

    key: str
    title: str
    make: Callable[[int], bytes]
    status: int = 200
    batch: int = 50


def _bytes(request: traffic.Request) -> Callable[[int], bytes]:
    data = request.head() + request.body
    return lambda number: data


def _varied(number: int) -> bytes:
    """With a field that no request before had."""
    return traffic.SMALL_GET.head().replace(b"theme=dark", b"theme=%06d" % number)


CASES: Final = (
    Case("get", "small GET", _bytes(traffic.SMALL_GET)),
    Case("varied", "small GET with other fields each time", _varied),
    Case("form", "form POST", _bytes(traffic.FORM_POST)),
    Case("refused", "small GET without a token", _bytes(replace(traffic.SMALL_GET, without="Authorization")), 401),
    Case("large", "300 KB answer", _bytes(traffic.LARGE_GET), batch=15),
    Case("plain", "300 KB answer, taken plain", _bytes(traffic.PLAIN_GET), batch=15),
)


def total(dump: str) -> int:
    """The instructions in a dump of callgrind: its own totals are wrong once counting was off for a while.

    A line with a cost begins with its position (a number, `+3`, `-3` or `*`); the one after `calls=` has the callee's.
    Raises BenchError when there is none.
    """
    before = ["", *dump.splitlines()]
    costs = [
        int(line.split()[1])
        for previous, line in itertools.pairwise(before)
        if line[:1] in {*"0123456789+-*"} and not previous.startswith("calls=")
    ]
    if not costs:
        raise processes.BenchError(f"callgrind counted nothing: {dump.strip()[-300:]}")
    return sum(costs)


def _valgrind(folder: Path, *options: str) -> list[str]:
    return [*(part.format(folder=folder) for part in VALGRIND), *options]


def piece_of_python(folder: Path, core: str) -> float:
    """Instructions of one round of `PIECE`: the difference of many and few, so that the start counts for nothing."""
    counts = []
    for times in PIECES:
        argv = [*_valgrind(folder), sys.executable, "-I", "-S", "-c", PIECE.replace("TIMES", str(times))]
        processes.call(argv, core, START_SECONDS)
        counts.append(total((folder / "out").read_text()))
    return (counts[1] - counts[0]) / (PIECES[1] - PIECES[0])


class Counter:
    """Counts what the gateway at a port does, which valgrind runs as `pid`."""

    def __init__(self, folder: Path, port: int, pid: int, core: str) -> None:
        self._folder, self._port, self._pid, self._core = folder, port, pid, core
        self._numbers, self._dumps = itertools.count(), itertools.count(1)
        self._idle = 0.0

    def _control(self, command: str) -> None:
        argv = ["vgdb", f"--vgdb-prefix={self._folder}/vgdb", f"--pid={self._pid}", *command.split()]
        processes.call(argv, self._core, processes.READY_SECONDS)

    def _counted(self, work: Callable[[], None]) -> float:
        start = time.monotonic()
        work()
        seconds = time.monotonic() - start
        self._control("dump")
        return total((self._folder / f"out.{next(self._dumps)}").read_text()) - seconds * self._idle

    @contextmanager
    def _counting(self) -> Iterator[None]:
        self._control("instrumentation on")
        yield
        self._control("instrumentation off")

    def idle(self) -> None:
        """Measure what a second without requests costs, which is taken off all that comes."""
        with self._counting():
            self._idle = self._counted(lambda: time.sleep(IDLE_SECONDS)) / IDLE_SECONDS

    def cost(self, case: Case) -> float:
        """Instructions of one request."""
        with socket.create_connection(("127.0.0.1", self._port), START_SECONDS) as client:

            def ask(times: int) -> None:
                for number in itertools.islice(self._numbers, times):
                    client.sendall(case.make(number))
                    answer = http.client.HTTPResponse(client)
                    answer.begin()
                    answer.read()
                    if answer.status != case.status:
                        raise processes.BenchError(f"{case.title}: answered {answer.status}, not {case.status}")

            ask(WARM_UP)
            with self._counting():
                return statistics.median(self._counted(lambda: ask(case.batch)) for _ in range(BATCHES)) / case.batch


@contextmanager
def counter(folder: Path) -> Iterator[Counter]:
    """The gateway under valgrind, before a backend."""

    def launch(at: Path, ports: Ports) -> Launch:
        plain = CONTENDERS["guarded"].launch(at, ports)
        argv = [*_valgrind(folder, "--instr-atstart=no"), *plain.argv]
        return replace(plain, argv=argv, seconds=START_SECONDS)

    core, others = processes.cores()
    contender = Contender("guarded", "aiogateway under valgrind", "valgrind", launch)
    with (
        backends(folder / "backends", others) as ports,
        started(contender, folder / "gateway", ports.answers, core) as (port, pid),
    ):
        yield Counter(folder, port, pid, others)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 when a case costs over a tenth more than it did")
    parser.add_argument("--write", action="store_true", help="keep what it costs now as this interpreter's reference")
    wanted = parser.parse_args()
    os.environ["PYTHONHASHSEED"] = "0"  # the order of a set is no reason for another count
    kept, here = references.read(KEPT.read_text()), references.interpreter()
    nearest = references.nearest(kept, here)
    costs, worse = {}, False
    with tempfile.TemporaryDirectory(prefix="aiogateway-instructions-") as name:
        folder, core = Path(name), processes.cores()[0]
        known = nearest is not None and nearest.interpreter == here
        piece = 0.0 if known and not wanted.write else piece_of_python(folder, core)
        scale = 1.0 if known or nearest is None else piece / nearest.piece
        print(f"Instructions a request, {here}")
        if nearest and not known:
            print(f"compared with {nearest.interpreter}, whose Python costs {1 / scale:.2f} times as much")
        print(f"\n{'':38} {'reference':>10} {'now':>10}")
        with counter(folder) as gateway:
            gateway.idle()
            for case in CASES:
                cost = round(gateway.cost(case))
                change = references.compared(case.key, cost, nearest, scale)
                if change.too_much:  # a busy machine has the gateway do more in vain, by up to a tenth
                    cost = min(cost, round(gateway.cost(case)))
                    change = references.compared(case.key, cost, nearest, scale)
                costs[case.key] = cost
                worse |= change.too_much
                print(f"{case.title:38} {change}", flush=True)
    if wanted.write:
        KEPT.write_text(references.written(kept, references.Reference(here, round(piece), costs)))
    return int(wanted.check and worse)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except processes.BenchError as fault:
        sys.exit(f"bench: {fault}")
