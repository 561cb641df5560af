"""The figures that the model stands on, each with where it comes from.

Read from docs/benchmarks: what `scripts/bench` wrote (medians over its rounds), and what `measure` did. The newest run
that has a figure decides. What others published is here too, marked as theirs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from benchmarks import limit_checks
from benchmarks.figures import OURS
from benchmarks.results import Ref

RUNS: Final = Path(__file__).resolve().parents[2] / "docs" / "benchmarks"
# What a number that somebody gives may be: more than is real, and what is reckoned with it stays a number.
LEAST: Final = 1e-9
MOST: Final = 1e18


@dataclass(frozen=True)
class Figure:
    """A number with its unit, how it came to be known, and where that can be read."""

    value: float
    unit: str
    kind: Literal["measured", "bound", "published", "given"]
    source: str


Figures = Mapping[str, Figure]

# Under 256 connections: a gateway behind a load balancer has many clients, and costs more with them.
BENCH: Final[Mapping[str, tuple[Ref, str]]] = {
    "get_us": (Ref("get-256", OURS, "cpu_us"), "µs"),
    "form_us": (Ref("form-256", OURS, "cpu_us"), "µs"),
    "encoded_us": (Ref("large-256", OURS, "cpu_us"), "µs"),
    "upload_s_gib": (Ref("upload", OURS, "cpu_s_gib"), "s a GiB"),
    "half_p99_ms": (Ref("half", OURS, "p99_ms"), "ms"),
    "added_ms": (Ref("latency", OURS, "added_p50_ms"), "ms"),
    "edge_us": (Ref("get-256", "nginx", "cpu_us"), "µs"),
}
MEASURED: Final = (
    "handshake_us",
    "redis_check_us",
    "worker_check_us",
    "redis_counter_bytes",
    "worker_mib",
    "client_kib",
    "download_kib",
    "stream_kib",
    "socket_kib",
    "event_us",
    "message_us",
    "hit_of_proxied",
)
PUBLISHED: Final[Figures] = {
    "balancer_gbit": Figure(
        10, "Gbit/s", "published", "one Maglev machine, small packets: Eisenbud et al., Maglev, NSDI 2016, abstract"
    ),
    "cluster_nodes": Figure(5000, "nodes", "published", "kubernetes.io, Considerations for large clusters"),
    "redis_clients": Figure(10_000, "clients", "published", "redis.conf, default of maxclients"),
    "ports": Figure(28_232, "ports", "published", "Linux, ip_local_port_range 32768-60999 (ip-sysctl)"),
    "time_wait_s": Figure(60, "s", "published", "Linux, TCP_TIMEWAIT_LEN"),
    "conntrack": Figure(262_144, "entries", "published", "Linux, nf_conntrack_max from 4 GiB of memory on"),
    "conntrack_wait_s": Figure(120, "s", "published", "Linux, nf_conntrack_tcp_timeout_time_wait"),
}
BOUNDS: Final[Figures] = {
    "counter_bytes": Figure(
        limit_checks.FIGURE_MIB * 2**20 / limit_checks.CLIENTS[-1],
        "bytes",
        "bound",
        "what python -m benchmarks.limit_checks --check allows for a live counter in shared memory",
    ),
}


def load(folder: Path = RUNS) -> dict[str, Figure]:
    """All figures, from the runs in a folder.

    :raises LookupError: no run has one of them.
    """
    found = dict(_of_runs(sorted(_runs(folder), key=lambda run: run[1]["machine"]["date"])))
    missing = [name for name in (*BENCH, *MEASURED) if name not in found]
    if missing:
        raise LookupError(f"no run in {folder} has {', '.join(missing)}")
    return {**found, **BOUNDS, **PUBLISHED}


def given(figures: Figures, values: Mapping[str, float]) -> dict[str, Figure]:
    """The same with some values of the user's own.

    :raises LookupError: there is no such figure.
    :raises ValueError: it is not from `LEAST` to `MOST`.
    """
    for name, value in values.items():
        if name not in figures:
            raise LookupError(f"no figure is called {name}; there are {', '.join(figures)}")
        if not LEAST <= value <= MOST:
            raise ValueError(f"{name} must be a number from {LEAST:g} to {MOST:g}")
    own = {name: Figure(value, figures[name].unit, "given", "the command line") for name, value in values.items()}
    return {**figures, **own}


def _runs(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in folder.glob("*.json"):
        yield f"docs/benchmarks/{path.name}", json.loads(path.read_text())


def _of_runs(runs: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, Figure]]:
    """What each run has, the oldest first."""
    for where, run in runs:
        medians = {
            Ref(row["scenario"], row["contender"], row["measure"]): row["median"] for row in run.get("summary", ())
        }
        for name, (ref, unit) in BENCH.items():
            if ref in medians:
                at = f"{where}: {ref.scenario}, {ref.contender}, {ref.measure}"
                yield name, Figure(medians[ref], unit, "measured", at)
        for name, row in run.get("measured", {}).items():
            if name in MEASURED:
                yield name, Figure(row["value"], row["unit"], "measured", f"{where}: {row['how']}")
