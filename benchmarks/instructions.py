"""How many instructions a request costs the gateway with everything on, counted by valgrind: the same on every machine.

CPU time is another in every run, instructions differ by a percent. Each case is asked on one kept connection, after
as many requests that don't count; the kernel's instructions are in none. What they were is kept in `instructions.json`,
together with those of a fixed piece of Python: another interpreter runs that with more or fewer instructions too, and
the comparison takes that into account.

Run as `python -m benchmarks.instructions`; with `--check` exit 1 when a case costs over a tenth more than it did, with
`--write` keep what it costs now.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks import processes, traffic
from benchmarks.backend import backends
from benchmarks.contenders import CONTENDERS, Contender, Launch, Ports, started

REQUESTS: Final = 200
# How much more a case may cost than it did.
TOLERANCE: Final = 0.10
KEPT: Final = Path(__file__).with_name("instructions.json")
VALGRIND: Final = ("valgrind", "--tool=callgrind", "--instr-atstart=no")
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
HEAD_END: Final = b"\r\n\r\n"
_TOTALS: Final = re.compile(r"^([\d,]+) .*PROGRAM TOTALS", re.MULTILINE)


@dataclass(frozen=True)
class Case:
    """:ivar key: as it is kept.
    :ivar make: the bytes of the next request.
    """

    key: str
    title: str
    make: Callable[[int], bytes]


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
    Case("refused", "small GET without a token", _bytes(replace(traffic.SMALL_GET, without="Authorization"))),
    Case("large", "300 KB answer", _bytes(traffic.LARGE_GET)),
)


def program_totals(annotated: str) -> int:
    """The sum of what `callgrind_annotate` shows; raises BenchError when it shows none."""
    found = _TOTALS.search(annotated)
    if found is None:
        raise processes.BenchError(f"callgrind_annotate printed no totals: {annotated.strip()[-300:]}")
    return int(found[1].replace(",", ""))


def change(now: float, kept: float, piece: float, kept_piece: float) -> float:
    """How much more a case costs than it did, as a share, on an interpreter as cheap as the one of then."""
    return now / kept / (piece / kept_piece) - 1


def _control(pid: int, *options: str) -> None:
    subprocess.run(["callgrind_control", *options, str(pid)], check=True, capture_output=True)


def _annotated(out: Path) -> int:
    argv = ["callgrind_annotate", "--threshold=10", str(out)]
    return program_totals(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


def piece_of_python(folder: Path) -> float:
    """Instructions of one round of `PIECE`: the difference of many and few, so that the start counts for nothing."""
    counts = []
    for times in PIECES:
        out = folder / f"piece-{times}"
        argv = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", sys.executable, "-I", "-S", "-c"]
        environ = {**os.environ, "PYTHONHASHSEED": "0"}
        subprocess.run([*argv, PIECE.replace("TIMES", str(times))], check=True, capture_output=True, env=environ)
        counts.append(_annotated(out))
    return (counts[1] - counts[0]) / (PIECES[1] - PIECES[0])


@contextmanager
def watched(folder: Path, backend: int) -> Iterator[tuple[int, int]]:
    """The gateway under valgrind; gives its port and pid."""

    def launch(at: Path, ports: Ports) -> Launch:
        plain = CONTENDERS["guarded"].launch(at, ports)
        argv = [*VALGRIND, f"--callgrind-out-file={folder}/out", *plain.argv]
        return replace(plain, argv=argv, environ={**plain.environ, "PYTHONHASHSEED": "0"})

    core, _ = processes.cores()
    with started(Contender("guarded", "", "valgrind", launch), folder / "gateway", backend, core) as found:
        yield found


def _answered(client: socket.socket) -> None:
    seen = b""
    while HEAD_END not in seen:
        seen += client.recv(1 << 20)
    head, _, body = seen.partition(HEAD_END)
    if (length := re.search(rb"(?i)\r\ncontent-length: (\d+)", head)) is not None:
        left = int(length[1]) - len(body)
        while left > 0:
            left -= len(client.recv(1 << 20))
    else:
        while not body.endswith(b"0\r\n\r\n"):
            body += client.recv(1 << 20)


def count(folder: Path) -> Iterator[tuple[Case, float]]:
    """Each case and its instructions a request."""
    numbers = itertools.count()
    _, others = processes.cores()
    with backends(folder / "backends", others) as ports, watched(folder, ports.answers) as (port, pid):
        _control(pid, "--instr=on")
        for dump, case in enumerate(CASES, 1):
            with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
                for number in itertools.islice(numbers, 2 * REQUESTS):
                    if number % (2 * REQUESTS) == REQUESTS:
                        _control(pid, "--zero")
                    client.sendall(case.make(number))
                    _answered(client)
                _control(pid, "--dump")
            yield case, _annotated(folder / f"out.{dump}") / REQUESTS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 when a case costs over a tenth more than it did")
    parser.add_argument("--write", action="store_true", help="keep what it costs now")
    wanted = parser.parse_args()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    worse = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        now = {"piece": piece_of_python(folder)}
        print(f"{'instructions a request':42} {'kept':>10} {'now':>10}")
        for case, cost in count(folder):
            now[case.key] = cost
            told = ""
            if case.key in kept:
                more = change(cost, kept[case.key], now["piece"], kept["piece"])
                worse |= more > TOLERANCE
                told = f"{more:+.1%}" + (" TOO MUCH" if more > TOLERANCE else "")
            print(f"{case.title:42} {kept.get(case.key, 0):10,.0f} {cost:10,.0f}  {told}", flush=True)
    if wanted.write:
        KEPT.write_text(json.dumps({key: round(value) for key, value in now.items()}, indent=1) + "\n")
    return int(wanted.check and worse)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except processes.BenchError as fault:
        sys.exit(f"bench: {fault}")
