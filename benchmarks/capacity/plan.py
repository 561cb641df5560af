"""What a plan says, a record for each step of `model`. Counts are whole."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.capacity.pools import Pool


@dataclass(frozen=True)
class Fleet:
    """Workers and replicas: what each need asks for, and what there must be so that what is left suffices."""

    busy_cores: float
    workers_for_cpu: int
    workers_for_connections: int
    workers_for_streams: int
    replicas_for_network: int
    decided_by: str
    replicas: int
    replicas_left: int
    workers: int
    workers_left: int
    utilisation: float
    utilisation_left: float


@dataclass(frozen=True)
class Waiting:
    """CPU time of a request in the mean, and its wait for the worker, when a place is lost."""

    request_us: float
    mean_us: float
    p99_us: float


@dataclass(frozen=True)
class Upstream:
    """The busiest upstream: a worker's pool for one URL of it, and what its instances see.

    :ivar most_urls: how many URLs it may have before a worker's requests come to each more rarely than idle
        connections are kept, so that most requests would need a new one.
    """

    pool: Pool
    most_urls: int
    pools: int
    instances: int
    connections: int
    connections_an_instance: int
    all_connections: int


@dataclass(frozen=True)
class Replica:
    """What one holds, when a place is lost; `ports` towards the busiest upstream's address."""

    clients_a_worker: int
    descriptors_a_worker: int
    memory_mib: int
    ports: int
    tracked: int
    gbit: float


@dataclass(frozen=True)
class Redis:
    """For rate limits. A primary counts for one cell: a gateway's counters are in one slot, so they can't be split."""

    checks: float
    primaries: int
    utilisation: float
    connections: int
    memory_mib: int


@dataclass(frozen=True)
class Front:
    """The network and the tiers before the gateway; the edge's cores are 0 where there is no such tier."""

    gbit: float
    balancers: int
    edge_cores: int


@dataclass(frozen=True)
class Plan:
    """All of it, for so many requests a second."""

    requests: float
    fleet: Fleet
    waiting: Waiting
    upstream: Upstream
    replica: Replica
    redis: Redis
    front: Front
