"""What is measured: a table of scenarios, and one way to measure each kind.

A new scenario is a row; a new kind is a function from (scenario, turn) to named values. Values and their units:
`rps` requests/s, `share` that over the highest, `p50_ms` `p99_ms` `added_p50_ms` ms, `cpu_us` CPU µs of the proxy a
request, `cpu_s_gib` CPU seconds of it a GiB, `gib_s` GiB/s, `peak_mib` peak memory in MiB, `growth_mib` that less what
was held before, `first_event_ms` and `later_event_ms` ms.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import load, processes, traffic

MIB = 2**20
GIB = 2**30
CLIENT_SECONDS = 600.0


@dataclass(frozen=True)
class Pace:
    """How long and how much: seconds of load after seconds of warm-up, repetitions, bytes."""

    seconds: float
    warm_seconds: float
    requests: int
    streams: int
    bulk: int
    huge: int
    parallel: int


FULL = Pace(seconds=4, warm_seconds=2, requests=3000, streams=40, bulk=GIB, huge=10 * GIB, parallel=256 * MIB)
QUICK = Pace(seconds=1, warm_seconds=1, requests=500, streams=10, bulk=GIB // 4, huge=GIB, parallel=16 * MIB)


@dataclass(frozen=True)
class Turn:
    """One contender that is ready: its port and pid, its backend's port, the pace, a folder, the load's cores."""

    port: int
    pid: int
    backend: int
    pace: Pace
    folder: Path
    core: str


@dataclass(frozen=True)
class Scenario:
    """One thing to measure.

    `key` names it on the command line and `group` in `--scenarios`; `only` are the contenders that it is about, all
    when empty; `backend` is the attribute of `Backends` that answers it.
    """

    key: str
    group: str
    title: str
    measure: Callable[[Scenario, Turn], dict[str, float]]
    backend: str
    request: traffic.Request | None = None
    connections: int = 1
    only: tuple[str, ...] = ()


def measure_requests(scenario: Scenario, turn: Turn) -> dict[str, float]:
    """wrk at full speed: a warm-up, a pause until the proxy is idle, then the run that counts."""
    assert scenario.request is not None
    lua = turn.folder / f"{scenario.key}.lua"
    lua.write_text(load.script(scenario.request))
    load.run(turn.port, lua, scenario.connections, turn.pace.warm_seconds, turn.core)
    processes.settle(turn.pid)
    before = processes.cpu_seconds(turn.pid)
    seen = load.run(turn.port, lua, scenario.connections, turn.pace.seconds, turn.core)
    cpu = processes.cpu_seconds(turn.pid) - before
    return {
        "rps": seen.requests / seen.seconds,
        "p50_ms": seen.p50_ms,
        "p99_ms": seen.p99_ms,
        "cpu_us": cpu / seen.requests * 1e6,
    }


def measure_half(scenario: Scenario, turn: Turn) -> dict[str, float]:
    """wrk at about half of the rate that the same number of connections reach at full speed."""
    assert scenario.request is not None
    lua = turn.folder / f"{scenario.key}.lua"
    lua.write_text(load.script(scenario.request))
    load.run(turn.port, lua, scenario.connections, turn.pace.warm_seconds, turn.core)
    full = load.run(turn.port, lua, scenario.connections, turn.pace.warm_seconds, turn.core)
    pause = scenario.connections / (full.requests / full.seconds / 2) * 1000
    lua.write_text(load.script(scenario.request, round(pause)))
    processes.settle(turn.pid)
    seen = load.run(turn.port, lua, scenario.connections, turn.pace.seconds, turn.core)
    share = seen.requests / seen.seconds / (full.requests / full.seconds)
    return {"rps": seen.requests / seen.seconds, "share": share, "p50_ms": seen.p50_ms, "p99_ms": seen.p99_ms}


def _client(turn: Turn, command: str, *numbers: int) -> dict[str, float]:
    argv = [sys.executable, "-m", "benchmarks.client", command, *map(str, numbers)]
    values: dict[str, float] = json.loads(processes.call(argv, turn.core, CLIENT_SECONDS))
    return values


def measure_latency(scenario: Scenario, turn: Turn) -> dict[str, float]:
    """One connection through the proxy and one past it, in turns."""
    return _client(turn, "latency", turn.port, turn.backend, turn.pace.requests)


def measure_events(scenario: Scenario, turn: Turn) -> dict[str, float]:
    """Event streams one after the other: from the backend's write to the client."""
    return _client(turn, "events", turn.port, turn.pace.streams)


def _measure_bulk(turn: Turn, command: str, size: int, streams: int) -> dict[str, float]:
    _client(turn, command, turn.port, MIB, 1)  # what the first request loads is no growth
    resident = processes.resident_mib(turn.pid)
    memory = processes.MemoryGrowth(turn.pid)
    before = processes.cpu_seconds(turn.pid)
    values = _client(turn, command, turn.port, size, streams)
    cpu = processes.cpu_seconds(turn.pid) - before
    gibibytes = size * streams / GIB
    growth = memory.peak_mib()
    costs = {"cpu_s_gib": cpu / gibibytes, "growth_mib": growth, "peak_mib": resident + growth}
    return {**values, "gib": gibibytes, **costs}


def measure_upload(scenario: Scenario, turn: Turn) -> dict[str, float]:
    """One upload."""
    return _measure_bulk(turn, "upload", turn.pace.bulk, 1)


def measure_download(scenario: Scenario, turn: Turn) -> dict[str, float]:
    """One download."""
    return _measure_bulk(turn, "download", turn.pace.bulk, 1)


def measure_huge(scenario: Scenario, turn: Turn) -> dict[str, float]:
    """One huge upload."""
    return _measure_bulk(turn, "upload", turn.pace.huge, 1)


def measure_parallel(scenario: Scenario, turn: Turn) -> dict[str, float]:
    """Many uploads at once."""
    return _measure_bulk(turn, "upload", turn.pace.parallel, scenario.connections)


LOADED = (
    Scenario("get", "get", "small GET", measure_requests, "answers", traffic.SMALL_GET),
    Scenario("form", "form", "form POST", measure_requests, "answers", traffic.FORM_POST),
    Scenario("large", "large", "300 KB answer", measure_requests, "answers", traffic.LARGE_GET),
    Scenario("plain", "plain", "300 KB answer, taken plain", measure_requests, "answers", traffic.PLAIN_GET),
)
HALF = Scenario(
    "half", "half", "small GET, half the highest rate, 32 connections", measure_half, "answers", traffic.SMALL_GET, 32
)
OTHERS = (
    HALF,
    Scenario("latency", "latency", "small GET, one connection", measure_latency, "answers"),
    Scenario("upload", "upload", "upload", measure_upload, "stream"),
    Scenario("download", "download", "download", measure_download, "stream"),
    Scenario("events", "events", "first event of a stream", measure_events, "stream"),
    Scenario("huge", "memory", "huge upload", measure_huge, "stream", only=("guarded",)),
    Scenario("parallel", "memory", "64 uploads at once", measure_parallel, "stream", connections=64, only=("guarded",)),
)
GROUPS = tuple(dict.fromkeys(row.group for row in (*LOADED, *OTHERS)))


def chosen(groups: Sequence[str], connections: Sequence[int]) -> list[Scenario]:
    """The scenarios of `groups`, those under load once for each number of connections."""
    loaded = [
        replace(row, key=f"{row.key}-{count}", title=f"{row.title}, {count} connections", connections=count)
        for row in LOADED
        for count in connections
    ]
    return [row for row in (*loaded, *OTHERS) if row.group in groups]
