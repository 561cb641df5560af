"""What is asked for: the load, and the machines that are to carry it. Checked when made."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

from aiogateway.settings.variables import Variables
from benchmarks.capacity.measured import PUBLISHED


def default(name: str) -> Any:
    """What a variable of the gateway is when nobody sets it."""
    return Variables.model_fields[name].default


@dataclass(frozen=True)
class Demand:
    """The load. What is no form, upload, stored answer or large one is a small GET."""

    requests: float = 1000  # a second, all kinds together
    form: float = 0.2  # share of requests: form POST
    cached: float = 0.1  # share: answered by what is stored
    encoded: float = 0.02  # share: a large answer that the gateway encodes (300 KB, as in the benchmark)
    upload: float = 0.001  # share: upload
    upload_mib: float = 5  # of one upload
    streams: float = 0.5  # open event streams for each request a second
    events: float = 0.5  # events a second on one of them
    sockets: float = 0.2  # open WebSockets for each request a second
    messages: float = 0.2  # messages a second on one of them, both directions
    request_kib: float = 2  # head and body of a small request
    answer_kib: float = 4  # head and body of a small answer
    large_kib: float = 293  # a large answer as the service gives it
    latency_ms: float = 50  # mean time of a service until its answer
    gap_s: float = 10  # between two requests of an open client connection
    asked: float = 20  # requests over one client connection in its life
    counters: float = 3  # rate limit counters that a client has at once
    checked: float = 1  # share of requests that a limit counts in Redis; 0: each machine counts for itself

    def __post_init__(self) -> None:
        _positive(self, may_be_zero=SHARES | {"streams", "events", "sockets", "messages", "upload_mib", "counters"})
        if self.requests > MOST:
            raise ValueError(f"requests: at most {MOST:,.0f} a second")
        longest = default("timeout_long") * 1000
        if self.latency_ms > longest:
            raise ValueError(f"latency_ms: no service has longer than {longest:,.0f}")
        over = [name for name in SHARES if getattr(self, name) > 1]
        if over or self.form + self.cached + self.encoded + self.upload > 1:
            raise ValueError(f"shares of requests, {', '.join(sorted(SHARES))} but for checked together: at most 1")


@dataclass(frozen=True)
class Site:
    """The machines, and how full they may be."""

    cores: int = 4  # of a replica; a worker on each
    utilisation: float = 0.6  # of a core, the largest there may be, with a place lost
    fill: float = 0.8  # of what has a hard limit: connections, network, ports
    regions: int = 1
    zones: int = 3  # a region has
    edge: bool = False  # a tier in front ends TLS and keeps few connections to us
    upstreams: int = 20
    hottest: float = 0.25  # share of requests that the busiest upstream gets
    destination_requests: float = 500  # a second that one instance of a service takes
    urls: int = 1  # that the gateway knows of each upstream; 1: a name that spreads connections by itself
    redis_utilisation: float = 0.5  # of a Redis's one core
    nic_gbit: float = 10  # of a replica
    descriptors: int = 65_536  # that a worker may have
    ports: int = int(PUBLISHED["ports"].value)  # for connections to one address
    tracked: int = int(PUBLISHED["conntrack"].value)  # connections that the kernel tracks
    max_connections: int = default("max_connections")  # GATEWAY_MAX_CONNECTIONS and so on
    pool_max_connections: int = default("pool_max_connections")
    pool_max_streams: int = default("pool_max_streams")
    pool_max_keepalive: int = default("pool_max_keepalive")
    pool_keepalive_timeout: float = default("pool_keepalive_timeout")
    pool_max_age: float = default("pool_max_age")
    cache_max_bytes: int = default("cache_max_bytes")

    def __post_init__(self) -> None:
        _positive(self, may_be_zero={"pool_max_keepalive", "edge"})
        over = [name for name in ("utilisation", "fill", "redis_utilisation", "hottest") if getattr(self, name) > 1]
        if over or self.utilisation == 1:
            raise ValueError("at most 1, utilisation below it: utilisation, fill, redis_utilisation, hottest")

    @property
    def places(self) -> int:
        """Zones of all regions."""
        return self.regions * self.zones

    @property
    def left(self) -> int:
        """Places that still serve when one is lost: a region where there are several, else a zone."""
        if self.regions > 1:
            return (self.regions - 1) * self.zones
        return max(self.zones - 1, 1)


# More than all people at once.
MOST: Final = 1e10
SHARES: Final = frozenset({"form", "cached", "encoded", "upload", "checked"})


def _positive(given: Demand | Site, may_be_zero: set[str] | frozenset[str]) -> None:
    for field in fields(given):
        value = getattr(given, field.name)
        if not (0 <= value < float("inf")) or (value == 0 and field.name not in may_be_zero):
            raise ValueError(
                f"{field.name} must be a number {'of 0 or more' if field.name in may_be_zero else 'above 0'}"
            )
