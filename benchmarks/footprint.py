"""What the gateway takes with everything on, beside its throughput: memory, start-up, large tables, a second worker.

Memory is the proportional set size. CPU a request is that of two gateways which take turns, so that a machine that
slows down matters less: the median of the ratios of all rounds.

Run as `python -m benchmarks.footprint`; with `--check` exit 1 when a figure is missed.
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks import gateway, load, processes, traffic
from benchmarks.backend import Backends, backends
from benchmarks.contenders import Contender, Launch, Ports, started
from tests.ports import free_port

STARTS: Final = 7
# Turns are short: what others do to the machine meets both.
ROUNDS: Final = 21
SECONDS: Final = 1
CONNECTIONS: Final = 32
FEW_ROUTES, MANY_ROUTES = 100, 10_000
REQUESTS: Final = 1000
RESTED: Final = 20
BEFORE, IDLE = 500, 4000
STREAMS: Final = 500
OK: Final = b"HTTP/1.1 200 "
# A client that reads slowly: bytes of each stream, how often, and the pause between.
PIECE, PIECES, PAUSE = 16 * 1024, 40, 0.05
DOWNLOAD = traffic.download(64 * 2**20)
EVENTS = replace(traffic.EVENTS_GET, path=f"{traffic.EVENTS}?gap=4")
NONE: Final[Mapping[str, str]] = {}
# As many exchanges at once as there are streams.
WIDE: Final = {"GATEWAY_POOL_MAX_CONNECTIONS": "1000", "GATEWAY_POOL_MAX_STREAMS": "1000"}
# Two workers must get as many requests as one, and less than they can take: each connection rests for milliseconds.
REST: Final = "function delay() return 8 end\n"
VARYING: Final = f"""
local asked = 0
function request()
  asked = asked + 1
  return wrk.format(nil, "{traffic.SMALL}" .. asked)
end
"""
LOADING: Final = """\
import gc, os, time
from aiogateway.routes import configure
gc.disable()  # as the command line does
began = time.process_time()
configure(os.environ)
print(time.process_time() - began)
"""


@dataclass(frozen=True)
class Figure:
    """What `title` names is at most `at_most`, in `unit`; and what it was."""

    title: str
    at_most: float
    unit: str
    measured: float

    def __str__(self) -> str:
        met = "met" if self.measured <= self.at_most else "MISSED"
        return f"{self.title:64} {self.at_most:7g} {self.measured:9.2f}  {self.unit:6}{met}"


def guarded(folder: Path, ports: Ports, routes: int = gateway.ROUTES, more: Mapping[str, str] = NONE) -> Launch:
    """The contender of that name, with another number of routes, and more variables."""
    gateway.write_table(folder / "config", ports.backend, guards=True, routes=routes)
    environ = gateway.environment(folder / "config", ports.public, ports.admin, guards=True)
    return Launch([sys.executable, "-m", "aiogateway", "serve"], {**environ, **more}, "/readyz")


@dataclass(frozen=True)
class Bench:
    """A folder, the backends that run, and the cores of the gateway, of the load, and all."""

    root: Path
    ports: Backends
    core: str
    others: str
    every: str

    @contextmanager
    def running(
        self, backend: int, routes: int = gateway.ROUTES, core: str = "", more: Mapping[str, str] = NONE
    ) -> Iterator[tuple[int, int]]:
        """A gateway with everything on; gives its port and its pid once it is ready."""
        row = Contender("guarded", "", sys.executable, lambda at, ports: guarded(at, ports, routes, more))
        with started(row, self.folder() / "gateway", backend, core or self.core) as found:
            yield found

    def folder(self) -> Path:
        """A new one."""
        return Path(tempfile.mkdtemp(dir=self.root))

    def compared(self, ours: tuple[int, int], base: tuple[int, int], script: str, core: str, more: int = 1) -> float:
        """The ratio of the CPU a request of two gateways, under the load of `scenarios.measure_requests`.

        :param more: how many times the connections of `base` ours gets.
        """
        lua = self.folder() / "load.lua"
        lua.write_text(script)

        def cpu(target: tuple[int, int]) -> float:
            port, pid = target
            before = processes.cpu_seconds(pid)
            requests = load.run(port, lua, CONNECTIONS // (1 if target is ours else more), SECONDS, core).requests
            processes.settle(pid)
            return (processes.cpu_seconds(pid) - before) / requests

        cpu(ours), cpu(base)  # both warm
        ratios = [cpu(ours) / cpu(base) if turn % 2 else 1 / (cpu(base) / cpu(ours)) for turn in range(ROUNDS)]
        return statistics.median(ratios)


def connected(port: int, request: traffic.Request) -> socket.socket:
    """A connection on which something was asked for."""
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    client.sendall(request.head())
    return client


def answered(client: socket.socket) -> socket.socket:
    """The same, once the small answer is there."""
    seen = b""
    while not seen.endswith(traffic.SMALL_ANSWER):
        if not (piece := client.recv(PIECE)):
            raise processes.BenchError(f"no answer, but {seen[:200]!r}")
        seen += piece
    return client


def idle(bench: Bench) -> Iterator[Figure]:
    """A worker, and connections of clients that ask for nothing more."""
    with bench.running(bench.ports.answers) as (port, pid), ExitStack() as kept:
        yield Figure("memory of an idle worker after start-up", 60, "MiB", processes.resident_mib(pid))
        with connected(port, traffic.SMALL_GET) as client:
            for _ in range(REQUESTS - 1):
                answered(client).sendall(traffic.SMALL_GET.head())
            answered(client)
        processes.settle(pid)
        yield Figure(f"memory of an idle worker after {REQUESTS} requests", 60, "MiB", processes.resident_mib(pid))

        def more(count: int) -> float:
            for _ in range(count):
                kept.enter_context(answered(connected(port, traffic.SMALL_GET)))
            processes.settle(pid)
            return processes.resident_mib(pid)

        before = more(BEFORE)
        each = (more(IDLE) - before) * 1024 / IDLE
        yield Figure("memory of an idle client connection after its request", 12, "KiB", each)


def streams(bench: Bench) -> Iterator[Figure]:
    """Answers on their way: large ones to clients that read slowly, and events."""
    for title, request, pieces in (
        ("a download in flight, read slowly", DOWNLOAD, PIECES),
        ("an open event stream", EVENTS, 1),
    ):
        with bench.running(bench.ports.stream, more=WIDE) as (port, pid), ExitStack() as kept:
            with connected(port, request) as first:
                first.recv(PIECE)
            processes.settle(pid)
            before = processes.resident_mib(pid)
            clients = [kept.enter_context(connected(port, request)) for _ in range(STREAMS)]
            if not all([client.recv(PIECE).startswith(OK) for client in clients]):
                raise processes.BenchError(f"{title}: not all were answered")
            for _ in range(pieces):
                if not all([client.recv(PIECE) for client in clients]):
                    raise processes.BenchError(f"{title}: it ended early")
                time.sleep(PAUSE)
            each = (processes.resident_mib(pid) - before) * 1024 / STREAMS
            yield Figure(f"memory of {title}", 60, "KiB", each)


def tables(bench: Bench) -> Iterator[Figure]:
    """What a large table costs a request, and how long it takes to load."""
    answers, script = bench.ports.answers, load.script(traffic.SMALL_GET)
    with bench.running(answers, FEW_ROUTES) as few, bench.running(answers, MANY_ROUTES) as many:
        for title, more in (("one path", ""), ("a path of its own each", VARYING)):
            ratio = bench.compared(many, few, script + more, bench.others)
            yield Figure(f"CPU a request, {MANY_ROUTES} routes over {FEW_ROUTES}, {title}", 1.05, "times", ratio)
    variables = guarded(bench.folder(), Ports(8000, 9000, answers), MANY_ROUTES).environ
    argv = ["env", *(f"{name}={value}" for name, value in variables.items()), sys.executable, "-c", LOADING]
    took = statistics.median(float(processes.call(argv, bench.core, 60)) for _ in range(STARTS))
    yield Figure(f"CPU to load {MANY_ROUTES} routes", 1, "s", took)


def workers(bench: Bench) -> Iterator[Figure]:
    """What a second worker costs: with the same load for both together, and with the same for each.

    With half of the load a worker finds fewer requests in each turn of its loop, which costs a single one as much.
    """
    answers, script = bench.ports.answers, load.script(traffic.SMALL_GET) + REST
    with (
        bench.running(answers, core=bench.every) as one,
        bench.running(answers, core=bench.every, more={"GATEWAY_WORKERS": "2"}) as two,
    ):
        yield Figure("CPU a request, two workers over one", 1.1, "times", bench.compared(two, one, script, bench.every))
        ratio = bench.compared(two, one, script, bench.every, more=2)
        yield Figure("CPU a request, two workers over one with half of the load", 1.1, "times", ratio)


def start(bench: Bench) -> Iterator[Figure]:
    """From exec to ready, and the CPU of that, which others on the machine change less.

    The first start does not count, for it may compile.
    """

    def once() -> tuple[float, float]:
        folder, ports = bench.folder(), Ports(free_port(), free_port(), bench.ports.answers)
        launch, began = guarded(folder, ports), time.perf_counter()
        with processes.running(launch.argv, bench.core, folder / "stderr.log", launch.environ) as pid:
            while (took := time.perf_counter() - began) < processes.READY_SECONDS:
                with suppress(OSError), socket.create_connection(("127.0.0.1", ports.admin), 2) as client:
                    client.sendall(b"GET /readyz HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
                    if client.recv(PIECE).startswith(OK):
                        return time.perf_counter() - began, processes.cpu_seconds(pid)
                time.sleep(0.002)
        raise processes.BenchError(f"not ready after {took:.0f} s")

    took, cpu = zip(*[once() for _ in range(STARTS + 1)][1:], strict=True)
    yield Figure("start-up to ready", 0.7, "s", statistics.median(took))
    yield Figure("start-up to ready, CPU", 0.7, "s", statistics.median(cpu))


def first(bench: Bench) -> Iterator[Figure]:
    """A worker's first request, over the median of those that follow, each after a rest on a connection of its own.

    Without that rest it would be the processor's caches that make the difference, and the first client's, too.
    """

    def once(port: int) -> float:
        time.sleep(processes.IDLE_SECONDS)
        began = time.perf_counter()
        with answered(connected(port, traffic.SMALL_GET)):
            return time.perf_counter() - began

    ratios = []
    for _ in range(STARTS):
        with bench.running(bench.ports.answers) as (port, pid):
            processes.settle(pid)
            took = once(port)
            ratios.append(took / statistics.median(once(port) for _ in range(RESTED)))
    yield Figure("first request of a worker over the median", 2, "times", statistics.median(ratios))


PARTS: Final[Mapping[str, Callable[[Bench], Iterator[Figure]]]] = {
    part.__name__: part for part in (idle, streams, tables, workers, start, first)
}


def take(parts: Sequence[str] = tuple(PARTS)) -> Iterator[Figure]:
    """The figures of some parts, one after the other."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    ours, theirs = processes.cores()
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(core) for core in theirs.split(",")})
    try:
        with tempfile.TemporaryDirectory() as folder, backends(Path(folder) / "backend", theirs) as ports:
            for part in parts:
                yield from PARTS[part](Bench(Path(folder), ports, ours, theirs, f"{ours},{theirs}"))
    finally:
        os.sched_setaffinity(0, allowed)


def show(parts: Sequence[str] = tuple(PARTS)) -> bool:
    """Measure and print; whether a figure was missed."""
    missed = False
    print(f"{'figure':64} {'bound':>7} {'measured':>9}")
    for figure in take(parts):
        print(figure, flush=True)
        missed |= figure.measured > figure.at_most
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 when a figure is missed")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS), help="parts to measure")
    wanted = parser.parse_args()
    return int(show(wanted.only) and wanted.check)


if __name__ == "__main__":
    sys.exit(main())
