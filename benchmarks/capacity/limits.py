"""Where each limit lies for the machines of a plan, at which load it is reached, and what changes there. Pure.

A limit is a row: what is used at a load by machines that stay as they are, how much there is, and what to do. The load
at which one meets the other is searched for, not extrapolated: not all grow in proportion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from benchmarks.capacity import model, queueing
from benchmarks.capacity.demand import MOST, Demand, Site
from benchmarks.capacity.measured import Figures
from benchmarks.capacity.plan import Plan, Replica

# Loads are searched for up to so many times the plan's.
FURTHEST = 1_000.0


@dataclass(frozen=True)
class Limit:
    """`used` of `most`, both in `unit`; reached at so many requests a second, by the same machines; what changes there.

    `reached` is None where the load doesn't bring it about.
    """

    name: str
    used: float
    most: float
    unit: str
    reached: float | None
    change: str


Use = Callable[[Demand], float]
Row = tuple[str, float, str, Use, str]


def limits(demand: Demand, site: Site, figures: Figures, planned: Plan) -> list[Limit]:
    """All of them; what is `used` is with a place lost."""
    cost = {name: figure.value for name, figure in figures.items()}
    rows = (*_workers(site, cost, planned), *_replicas(site, cost, planned), *_shared(site, cost, planned))
    return [
        Limit(name, use(demand), most, unit, reached(demand, use, most), change)
        for name, most, unit, use, change in rows
    ]


def reached(demand: Demand, use: Use, most: float) -> float | None:
    """The requests a second at which `use` comes to `most`; None when it doesn't within `FURTHEST` times the load."""

    def at(factor: float) -> float:
        return use(replace(demand, requests=demand.requests * factor))

    low, high = 0.0, min(FURTHEST, MOST / demand.requests * (1 - 1e-9))
    if at(high) < most or at(1 / FURTHEST) >= most:
        return None
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if at(middle) >= most else (middle, high)
    return demand.requests * high


def _workers(site: Site, cost: dict[str, float], planned: Plan) -> Iterator[Row]:
    workers = planned.fleet.workers_left

    def size(at: Demand) -> float:
        return float(model.pool_of(at, site, workers, site.hottest).size)

    def busy(at: Demand) -> float:
        return queueing.utilisation(model.works(at, site, cost)) / workers

    def replica(at: Demand) -> Replica:
        return model.replica_of(at, site, planned.fleet, cost)

    yield "CPU of a worker", site.utilisation, "of a core", busy, "more replicas; waits grow as 1 / (1 - utilisation)"
    yield (
        "client connections of a worker",
        site.max_connections,
        "connections",
        lambda at: model.clients(at, site) / workers,
        "raise GATEWAY_MAX_CONNECTIONS and memory, or put a tier in front that keeps few connections",
    )
    yield (
        "streams and sockets of a worker to one URL",
        site.pool_max_streams,
        "streams",
        lambda at: model.lasting(at) / workers / site.urls,
        "raise GATEWAY_POOL_MAX_STREAMS, or give the upstream more URLs",
    )
    yield (
        "requests at once of a worker to one URL",
        site.pool_max_connections,
        "connections",
        size,
        "raise GATEWAY_POOL_MAX_CONNECTIONS: a slower service fills the pool first",
    )
    yield (
        "descriptors of a worker",
        site.descriptors,
        "descriptors",
        lambda at: replica(at).descriptors_a_worker,
        "raise LimitNOFILE",
    )


def _replicas(site: Site, cost: dict[str, float], planned: Plan) -> Iterator[Row]:
    def replica(at: Demand) -> Replica:
        return model.replica_of(at, site, planned.fleet, cost)

    yield (
        "ports of a replica to one address",
        site.ports,
        "ports",
        lambda at: replica(at).ports,
        "more URLs for the upstream, a wider ip_local_port_range, more and smaller replicas",
    )
    yield (
        "tracked connections of a replica",
        site.tracked,
        "entries",
        lambda at: replica(at).tracked,
        "raise nf_conntrack_max, or don't track (host network, no NAT)",
    )
    yield (
        "network of a replica",
        site.nic_gbit,
        "Gbit/s",
        lambda at: model.inner_gbits(at) / planned.fleet.replicas_left,
        "more replicas; uploads past the gateway, straight to storage",
    )


def _shared(site: Site, cost: dict[str, float], planned: Plan) -> Iterator[Row]:
    carrying = max(site.regions - 1, 1)

    if planned.redis.primaries:
        yield (
            "CPU of a Redis",
            site.redis_utilisation,
            "of a core",
            lambda at: (
                at.requests
                * at.checked
                * cost["redis_check_us"]
                / 1e6
                * site.regions
                / planned.redis.primaries
                / carrying
            ),
            "one more cell: replicas with a Redis of their own, clients assigned by hash",
        )
        yield (
            "connections to a Redis",
            cost["redis_clients"],
            "clients",
            lambda at: planned.redis.connections,
            "raise maxclients, or more cells",
        )
    yield (
        "balancers that see packets",
        planned.front.balancers * cost["balancer_gbit"] * site.left / site.places,
        "Gbit/s",
        model.gbits,
        "more of them behind equal-cost routes; then more addresses, by DNS",
    )
    yield (
        "nodes of one Kubernetes cluster, a replica each",
        cost["cluster_nodes"],
        "nodes",
        lambda at: at.requests / planned.requests * planned.fleet.replicas / site.regions,
        "several replicas a node, or a cluster a cell",
    )
