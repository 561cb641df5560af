"""What is asked for: the load, and the machines that are to carry it. Checked when made."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final

from aiogateway.settings.variables import Variables
from benchmarks.capacity import measured
from benchmarks.capacity.measured import PUBLISHED


def default(name: str) -> Any:
    """What a variable of the gateway is when nobody sets it."""
    return Variables.model_fields[name].default


def _of(value: Any, meaning: str) -> Any:
    return field(default=value, metadata={"meaning": meaning})


@dataclass(frozen=True)
class Demand:
    """The load. What is no form, upload, stored answer or large one is a small GET."""

    requests: float = _of(1000, "requests a second, all kinds together")
    form: float = _of(0.2, "share of requests: form POST")
    cached: float = _of(0.1, "share: answered by what the cache stored")
    encoded: float = _of(0.02, "share: a large answer that the gateway encodes (300 KB, as in the benchmark)")
    upload: float = _of(0.001, "share: upload")
    upload_mib: float = _of(5, "MiB of one upload")
    streams: float = _of(0.5, "open event streams for each request a second")
    events: float = _of(0.5, "events a second on one of them")
    sockets: float = _of(0.2, "open WebSockets for each request a second")
    messages: float = _of(0.2, "messages a second on one of them, both directions")
    request_kib: float = _of(2, "KiB of a small request, head and body")
    answer_kib: float = _of(4, "KiB of a small answer, head and body")
    large_kib: float = _of(293, "KiB of a large answer as the service gives it")
    latency_ms: float = _of(50, "ms until a service's answer, mean")
    gap_s: float = _of(10, "seconds between two requests of an open client connection")
    asked: float = _of(20, "requests over one client connection in its life")
    counters: float = _of(3, "rate limit counters that a client has at once")
    checked: float = _of(1, "share of requests that limits count in Redis; 0: each machine counts for itself")

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

    cores: int = _of(4, "cores of a replica; a worker on each")
    utilisation: float = _of(0.6, "share of a core that may be busy, with a zone or region lost")
    fill: float = _of(0.8, "share of what has a hard limit that may be used: connections, streams, network")
    regions: int = _of(1, "regions")
    zones: int = _of(3, "zones of a region")
    edge: bool = _of(False, "a tier in front ends TLS and keeps few connections to us")
    upstreams: int = _of(20, "upstreams")
    hottest: float = _of(0.25, "share of requests that the busiest upstream gets")
    destination_requests: float = _of(500, "requests a second that one instance of a service takes")
    urls: int = _of(1, "URLs of each upstream; one may be a name that spreads connections by itself")
    redis_utilisation: float = _of(0.5, "share of a Redis's one core that may be busy")
    nic_gbit: float = _of(10, "Gbit/s of a replica's network")
    descriptors: int = _of(65_536, "descriptors that a worker may have")
    ports: int = _of(int(PUBLISHED["ports"].value), "ports for connections to one address")
    tracked: int = _of(int(PUBLISHED["conntrack"].value), "connections that a replica's kernel tracks")
    max_connections: int = _of(default("max_connections"), "GATEWAY_MAX_CONNECTIONS")
    pool_max_connections: int = _of(default("pool_max_connections"), "GATEWAY_POOL_MAX_CONNECTIONS")
    pool_max_streams: int = _of(default("pool_max_streams"), "GATEWAY_POOL_MAX_STREAMS")
    pool_max_keepalive: int = _of(default("pool_max_keepalive"), "GATEWAY_POOL_MAX_KEEPALIVE")
    pool_keepalive_timeout: float = _of(default("pool_keepalive_timeout"), "GATEWAY_POOL_KEEPALIVE_TIMEOUT, s")
    pool_max_age: float = _of(default("pool_max_age"), "GATEWAY_POOL_MAX_AGE, s")
    cache_max_bytes: int = _of(default("cache_max_bytes"), "GATEWAY_CACHE_MAX_BYTES of each worker")

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
    for each in fields(given):
        value = getattr(given, each.name)
        least = 0 if each.name in may_be_zero else measured.LEAST
        if not least <= value <= measured.MOST:
            raise ValueError(f"{each.name} must be a number from {least:g} to {measured.MOST:g}")
