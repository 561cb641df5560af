"""What the gateway takes with everything on, beside its throughput: memory, start-up, large tables, a second worker.

Memory is the proportional set size. CPU a request is compared between two gateways that take turns, so that a machine
that slows down matters less: the median of the ratios of all rounds.

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
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks import gateway, load, processes, traffic
from benchmarks.backend import Backends, backends
from benchmarks.contenders import Contender, Launch, Ports, started

STARTS: Final = 7
ROUNDS: Final = 5
SECONDS: Final = 4
WARM_SECONDS: Final = 2
FEW_ROUTES, MANY_ROUTES = 100, 10_000
BEFORE, IDLE = 500, 4000
REQUESTS: Final = 1000
STREAMS: Final = 500
# A client that reads slowly: so many bytes of each stream, so many times, with a pause between.
OK: Final = b"HTTP/1.1 200 "
PIECE, PIECES, PAUSE = 16 * 1024, 40, 0.05
DOWNLOAD = traffic.download(64 * 2**20)
EVENTS = replace(traffic.EVENTS_GET, path=f"{traffic.EVENTS}?gap=4")
# As many exchanges at once as there are streams.
WIDE: Final = {"GATEWAY_POOL_MAX_CONNECTIONS": "1000", "GATEWAY_POOL_MAX_STREAMS": "1000"}
CONNECTIONS: Final = 32
# Two workers may have more time than one, and no fewer requests: each connection rests so many milliseconds.
REST: Final = "function delay() return 15 end\n"
VARYING: Final = f"""
local asked = 0
function request()
  asked = asked + 1
  return wrk.format(nil, "{traffic.SMALL}" .. asked)
end
"""
LOADING: Final = """\
import os, time
from aiogateway.routes import configure
began = time.perf_counter()
configure(os.environ)
print(time.perf_counter() - began)
"""


@dataclass(frozen=True)
class Figure:
    """What `title` names is at most `at_most`, in `unit`; and what it was."""

    title: str
    at_most: float
    unit: str
    measured: float

    def met(self) -> bool:
        return self.measured <= self.at_most

    def line(self) -> str:
        verdict = "met" if self.met() else "MISSED"
        return f"{self.title:64} {self.at_most:7g} {self.measured:9.2f}  {self.unit:6}{verdict}"


@dataclass(frozen=True)
class Bench:
    """Where the files go, the backends that run, the core of the gateway, and all cores."""

    folder: Path
    ports: Backends
    core: str
    every: str

    @contextmanager
    def running(
        self, backend: int, routes: int = gateway.ROUTES, core: str = "", environ: Mapping[str, str] | None = None
    ) -> Iterator[tuple[int, int]]:
        """A gateway with everything on, of so many routes; gives its port and its pid once it is ready."""

        def launch(folder: Path, ports: Ports) -> Launch:
            return guarded(folder, ports, routes, environ or {})

        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            row = Contender("guarded", "", sys.executable, launch)
            with started(row, Path(folder) / "gateway", backend, core or self.core) as found:
                yield found


def guarded(folder: Path, ports: Ports, routes: int, environ: Mapping[str, str]) -> Launch:
    """The contender of that name, with another number of routes, and more variables."""
    gateway.write_table(folder / "config", ports.backend, guards=True, routes=routes)
    whole = {**gateway.environment(folder / "config", ports.public, ports.admin, guards=True), **environ}
    return Launch([sys.executable, "-m", "aiogateway", "serve"], whole, "/readyz")


def connected(port: int, request: traffic.Request) -> socket.socket:
    """A connection on which something was asked for."""
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    client.sendall(request.head())
    return client


def answered(client: socket.socket) -> socket.socket:
    """The same, once the small answer is there."""
    seen = b""
    while not seen.endswith(traffic.SMALL_ANSWER):
        piece = client.recv(65536)
        if not piece:
            raise processes.BenchError(f"no answer, but {seen[:200]!r}")
        seen += piece
    return client


def idle(bench: Bench) -> Iterator[Figure]:
    """A worker, and connections of clients that ask for nothing more."""
    with bench.running(bench.ports.answers) as (port, pid), ExitStack() as open_ones:
        yield Figure("memory of an idle worker after start-up", 60, "MiB", processes.resident_mib(pid))
        with answered(connected(port, traffic.SMALL_GET)) as client:
            for _ in range(REQUESTS - 1):
                client.sendall(traffic.SMALL_GET.head())
                answered(client)
        processes.settle(pid)
        yield Figure(f"memory of an idle worker after {REQUESTS} requests", 60, "MiB", processes.resident_mib(pid))

        def more(count: int) -> float:
            for _ in range(count):
                open_ones.enter_context(answered(connected(port, traffic.SMALL_GET)))
            processes.settle(pid)
            return processes.resident_mib(pid)

        before = more(BEFORE)
        each = (more(IDLE) - before) * 1024 / IDLE
        yield Figure("memory of an idle client connection after its request", 12, "KiB", each)


def streams(bench: Bench) -> Iterator[Figure]:
    """Answers on their way: large ones to clients that read slowly, and events."""
    for title, request in (("a download in flight, read slowly", DOWNLOAD), ("an open event stream", EVENTS)):
        with bench.running(bench.ports.stream, environ=WIDE) as (port, pid), ExitStack() as open_ones:
            with connected(port, request) as first:
                first.recv(PIECE)
            processes.settle(pid)
            before = processes.resident_mib(pid)
            clients = [open_ones.enter_context(connected(port, request)) for _ in range(STREAMS)]
            heads = [client.recv(PIECE) for client in clients]
            if not all(head.startswith(OK) for head in heads):
                raise processes.BenchError(f"{title}: {heads[-1][:200]!r}")
            pieces = PIECES if request is DOWNLOAD else 1
            for _ in range(pieces):
                if not all(client.recv(PIECE) for client in clients):
                    raise processes.BenchError(f"{title}: it ended early")
                time.sleep(PAUSE)
            each = (processes.resident_mib(pid) - before) * 1024 / STREAMS
            yield Figure(f"memory of {title}", 60, "KiB", each)


def cpu_us(bench: Bench, port: int, pid: int, script: str, core: str) -> float:
    """CPU in µs a request takes, as `scenarios.measure_requests` finds it."""
    lua = bench.folder / "load.lua"
    lua.write_text(script)
    load.run(port, lua, CONNECTIONS, WARM_SECONDS, core)
    processes.settle(pid)
    before = processes.cpu_seconds(pid)
    seen = load.run(port, lua, CONNECTIONS, SECONDS, core)
    return (processes.cpu_seconds(pid) - before) / seen.requests * 1e6


def compared(bench: Bench, ours: tuple[int, int], base: tuple[int, int], script: str, core: str) -> float:
    """The median ratio of the CPU a request of two gateways, which take turns."""
    found = []
    for turn in range(ROUNDS):
        both = {pair: cpu_us(bench, *pair, script, core) for pair in ((ours, base) if turn % 2 else (base, ours))}
        found.append(both[ours] / both[base])
    return statistics.median(found)


def tables(bench: Bench) -> Iterator[Figure]:
    """What a large table costs."""
    fixed = load.script(traffic.SMALL_GET)
    _, others = processes.cores()
    with (
        bench.running(bench.ports.answers, FEW_ROUTES) as few,
        bench.running(bench.ports.answers, MANY_ROUTES) as many,
    ):
        for title, script in (("one path", fixed), ("a path of its own each", fixed + VARYING)):
            ratio = compared(bench, many, few, script, others)
            yield Figure(f"CPU a request, {MANY_ROUTES} routes over {FEW_ROUTES}, {title}", 1.05, "times", ratio)
    config = bench.folder / "large"
    gateway.write_table(config, bench.ports.answers, guards=True, routes=MANY_ROUTES)
    variables = gateway.environment(config, 8000, 9000, guards=True)
    argv = ["env", *(f"{name}={value}" for name, value in variables.items()), sys.executable, "-c", LOADING]
    took = statistics.median(float(processes.call(argv, bench.core, 60)) for _ in range(STARTS))
    yield Figure(f"loading {MANY_ROUTES} routes", 1, "s", took)


def workers(bench: Bench) -> Iterator[Figure]:
    """What a second worker costs, at the same rate."""
    script = load.script(traffic.SMALL_GET) + REST
    two = {"GATEWAY_WORKERS": "2"}
    with (
        bench.running(bench.ports.answers, core=bench.every) as alone,
        bench.running(bench.ports.answers, core=bench.every, environ=two) as several,
    ):
        ratio = compared(bench, several, alone, script, bench.every)
        yield Figure("CPU a request, two workers over one", 1.1, "times", ratio)


def start(bench: Bench) -> Iterator[Figure]:
    """From exec to ready; the first start does not count, for it may compile."""
    took = statistics.median([ready_seconds(bench) for _ in range(STARTS + 1)][1:])
    yield Figure("start-up to ready", 0.7, "s", took)


def ready_seconds(bench: Bench) -> float:
    """Seconds from exec to a 200 of /readyz."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as name:
        folder = Path(name)
        ports = Ports(processes.free_port(), processes.free_port(), bench.ports.answers)
        launch = guarded(folder, ports, gateway.ROUTES, {})
        began = time.perf_counter()
        with processes.running(launch.argv, bench.core, folder / "stderr.log", launch.environ):
            while (took := time.perf_counter() - began) < processes.READY_SECONDS:
                with suppress(OSError), socket.create_connection(("127.0.0.1", ports.admin), 2) as asked:
                    asked.sendall(b"GET /readyz HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
                    if asked.recv(PIECE).startswith(OK):
                        return time.perf_counter() - began
                time.sleep(0.002)
    raise processes.BenchError(f"not ready after {took:.0f} s")


def first(bench: Bench) -> Iterator[Figure]:
    """A worker's first request, over the median of those that follow, each on a connection of its own."""

    def once(port: int) -> float:
        began = time.perf_counter()
        with answered(connected(port, traffic.SMALL_GET)):
            return time.perf_counter() - began

    ratios = []
    for _ in range(STARTS):
        with bench.running(bench.ports.answers) as (port, _):
            took = once(port)
            ratios.append(took / statistics.median(once(port) for _ in range(200)))
    yield Figure("first request of a worker over the median", 2, "times", statistics.median(ratios))


PARTS: Final[Mapping[str, Callable[[Bench], Iterator[Figure]]]] = {
    part.__name__: part for part in (idle, streams, tables, workers, start, first)
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 when a figure is missed")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS), help="parts to measure")
    wanted = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    ours, theirs = processes.cores()
    every = ",".join({ours, theirs})
    os.sched_setaffinity(0, {int(core) for core in theirs.split(",")})
    missed = 0
    print(f"{'figure':64} {'bound':>7} {'measured':>9}")
    with tempfile.TemporaryDirectory() as folder, backends(Path(folder) / "backend", theirs) as ports:
        for part in wanted.only:
            for figure in PARTS[part](Bench(Path(folder), ports, ours, every)):
                print(figure.line(), flush=True)
                missed += not figure.met()
    return int(wanted.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
