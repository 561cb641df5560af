"""The plan: from the load, the machines and the figures to replicas, memory, connections and shards. Pure.

`plan` goes step by step, each a function and a record: 1. CPU of a second's work, 2. workers and replicas, 3. waiting,
4. connections to upstreams, 5. what a replica holds, 6. Redis, 7. the network and the tiers in front. Whatever has a
limit is counted with a place lost, a zone or a region: that is when it must hold.
"""

from __future__ import annotations

import math

from benchmarks.capacity import queueing
from benchmarks.capacity.demand import Demand, Site
from benchmarks.capacity.measured import Figures
from benchmarks.capacity.plan import Fleet, Front, Plan, Redis, Replica, Upstream, Waiting
from benchmarks.capacity.pools import Pool, pool
from benchmarks.capacity.queueing import Work

MICRO = 1e-6
KIB, MIB, GIB = 2**10, 2**20, 2**30
# Bytes that a relay moves at a time: a bulk transfer is that many pieces of work.
PIECE = 64 * KIB


def plan(demand: Demand, site: Site, figures: Figures) -> Plan:
    """What it takes to carry a load."""
    cost = {name: figure.value for name, figure in figures.items()}
    work = works(demand, site, cost)
    fleet = fleet_for(demand, site, work)
    upstream = upstream_for(demand, site, fleet)
    return Plan(
        demand.requests,
        fleet,
        waiting_in(demand, fleet, work),
        upstream,
        replica_of(demand, site, fleet, cost),
        redis_for(demand, site, fleet, cost),
        front_for(demand, site, cost),
    )


def works(demand: Demand, site: Site, cost: dict[str, float]) -> list[Work]:
    """Step 1: what comes in a second to the whole fleet, and the CPU seconds of one; requests first, five kinds."""
    check = cost["worker_check_us"] * demand.checked
    kinds = (
        (1 - demand.form - demand.cached - demand.encoded - demand.upload, cost["get_us"]),
        (demand.form, cost["form_us"]),
        (demand.cached, cost["get_us"] * cost["hit_of_proxied"]),
        (demand.encoded, cost["encoded_us"]),
        (demand.upload, cost["form_us"]),
    )
    pieces = demand.requests * demand.upload * demand.upload_mib * MIB / PIECE
    handshakes = 0.0 if site.edge else demand.requests / demand.asked
    return [
        *(Work(demand.requests * max(share, 0.0), (us + check) * MICRO) for share, us in kinds),
        Work(pieces, cost["upload_s_gib"] * PIECE / GIB),
        Work(handshakes, cost["handshake_us"] * MICRO),
        Work(demand.requests * demand.streams * demand.events, cost["event_us"] * MICRO),
        Work(demand.requests * demand.sockets * demand.messages, cost["message_us"] * MICRO),
    ]


def clients(demand: Demand, site: Site) -> float:
    """Client connections open at once; a tier in front holds one for each request under way, and those that last."""
    waiting = demand.requests * (demand.latency_ms / 1000 if site.edge else demand.gap_s)
    return waiting + lasting(demand)


def lasting(demand: Demand) -> float:
    """Open event streams and WebSockets."""
    return demand.requests * (demand.streams + demand.sockets)


def gbits(demand: Demand) -> float:
    """Gbit/s between clients and us, the direction that has more."""
    uploads = demand.upload * demand.upload_mib * 1024
    small = demand.answer_kib  # an encoded answer is about as small (the benchmark's: 4 KB)
    return demand.requests * max(demand.request_kib + uploads, small) * KIB * 8 / 1e9


def inner_gbits(demand: Demand) -> float:
    """Gbit/s through the replicas' interfaces, the direction that has more: from both sides, or to both."""
    uploads = demand.upload * demand.upload_mib * 1024
    fetched = (1 - demand.cached) * demand.answer_kib + demand.encoded * demand.large_kib
    into = demand.request_kib + uploads + fetched
    out = demand.answer_kib + uploads + demand.request_kib
    return demand.requests * max(into, out) * KIB * 8 / 1e9


def fleet_for(demand: Demand, site: Site, work: list[Work]) -> Fleet:
    """Step 2: the need that asks for most decides, and what is left after a loss must still meet it."""
    busy = queueing.utilisation(work)
    for_cpu = math.ceil(busy / site.utilisation)
    for_connections = math.ceil(clients(demand, site) / (site.max_connections * site.fill))
    for_streams = math.ceil(lasting(demand) / (site.pool_max_streams * site.urls * site.fill))
    for_network = math.ceil(inner_gbits(demand) / (site.nic_gbit * site.fill))
    needs = {
        "CPU": math.ceil(for_cpu / site.cores),
        "client connections": math.ceil(for_connections / site.cores),
        "streams to one URL": math.ceil(for_streams / site.cores),
        "network": for_network,
    }
    need = max(needs.values())
    decides = next(name for name, replicas in needs.items() if replicas == need)
    a_place = math.ceil(need / site.left)
    total, left = a_place * site.places, a_place * site.left
    return Fleet(
        busy,
        for_cpu,
        for_connections,
        for_streams,
        for_network,
        decides if need > 1 else "redundancy",
        total,
        left,
        total * site.cores,
        left * site.cores,
        busy / (total * site.cores),
        busy / (left * site.cores),
    )


def waiting_in(demand: Demand, fleet: Fleet, work: list[Work]) -> Waiting:
    """Step 3: in one of the workers that are left."""
    own = [Work(each.rate / fleet.workers_left, each.seconds) for each in work]
    request = math.fsum(each.rate * each.seconds for each in work[:5]) / demand.requests
    mean, most = queueing.mean_wait(own), queueing.wait_quantile(own, 0.99)
    return Waiting(request / MICRO, mean / MICRO, most / MICRO)


def pool_of(demand: Demand, site: Site, workers: int, share: float) -> Pool:
    """A worker's pool for one URL of an upstream that gets such a share of the requests."""
    rate = demand.requests * (1 - demand.cached) * share / (workers * site.urls)
    seconds = demand.latency_ms / 1000
    return pool(rate, seconds, site.pool_keepalive_timeout, site.pool_max_keepalive, site.pool_max_age)


def upstream_for(demand: Demand, site: Site, fleet: Fleet) -> Upstream:
    """Step 4: pools are largest when a place is lost; connections are most when all are there."""
    rate = demand.requests * (1 - demand.cached)
    instances = max(math.ceil(rate * site.hottest / site.destination_requests), 1)
    pools = fleet.workers * site.urls
    hottest = pool_of(demand, site, fleet.workers, site.hottest)
    others = pool_of(demand, site, fleet.workers, (1 - site.hottest) / max(site.upstreams - 1, 1))
    connections = math.ceil(hottest.open * pools)
    return Upstream(
        pool_of(demand, site, fleet.workers_left, site.hottest),
        max(math.floor(hottest.rate * site.urls * site.pool_keepalive_timeout), 1),
        pools,
        instances,
        connections,
        math.ceil(connections / instances),
        connections + math.ceil(others.open * pools * (site.upstreams - 1)),
    )


def replica_of(demand: Demand, site: Site, fleet: Fleet, cost: dict[str, float]) -> Replica:
    """Step 5."""
    hottest = pool_of(demand, site, fleet.workers_left, site.hottest)
    others = pool_of(demand, site, fleet.workers_left, (1 - site.hottest) / max(site.upstreams - 1, 1))
    upstream = (hottest.open + others.open * (site.upstreams - 1)) * site.urls
    made = (hottest.made + others.made * (site.upstreams - 1)) * site.urls
    streams, sockets = (demand.requests * each / fleet.workers_left for each in (demand.streams, demand.sockets))
    client = clients(demand, site) / fleet.workers_left
    kib = (
        (client - streams - sockets) * cost["client_kib"] + streams * cost["stream_kib"] + sockets * cost["socket_kib"]
    )
    kib += demand.encoded * demand.requests / fleet.workers_left * demand.latency_ms / 1000 * cost["download_kib"]
    a_worker = cost["worker_mib"] + site.cache_max_bytes / MIB + kib / 1024
    counters = demand.requests * demand.gap_s * demand.counters / fleet.replicas_left * cost["counter_bytes"] / MIB
    clients_made = 0.0 if site.edge else demand.requests / demand.asked / fleet.workers_left
    tracked = client + upstream + (made + clients_made) * cost["conntrack_wait_s"]
    ports = (hottest.open + streams + sockets) + hottest.made * cost["time_wait_s"]
    return Replica(
        math.ceil(client),
        math.ceil(client + upstream + streams + sockets + 2),
        math.ceil(a_worker * site.cores + counters),
        math.ceil(ports * site.cores),
        math.ceil(tracked * site.cores),
        inner_gbits(demand) / fleet.replicas_left,
    )


def redis_for(demand: Demand, site: Site, fleet: Fleet, cost: dict[str, float]) -> Redis:
    """Step 6: one script a request, whatever the number of its limits. Each region counts for itself."""
    checks = demand.requests * demand.checked
    if not checks:
        return Redis(0, 0, 0, 0, 0)
    carrying = max(site.regions - 1, 1)
    busy = checks * cost["redis_check_us"] * MICRO
    a_region = max(math.ceil(busy / carrying / site.redis_utilisation), 1)
    primaries = a_region * site.regions
    held = demand.requests * demand.gap_s * demand.counters * cost["redis_counter_bytes"] / (a_region * carrying) / MIB
    connections = math.ceil(fleet.workers / primaries)
    return Redis(checks, primaries, busy / (a_region * carrying), connections, math.ceil(held))


def front_for(demand: Demand, site: Site, cost: dict[str, float]) -> Front:
    """Step 7: balancers that see packets only, two at least, and a tier that ends TLS if there is one."""
    gbit = gbits(demand)
    balancers = max(math.ceil(gbit / (cost["balancer_gbit"] * site.fill) / site.left) * site.places, 2)
    if not site.edge:
        return Front(gbit, balancers, 0)
    busy = demand.requests * (cost["edge_us"] + cost["handshake_us"] / demand.asked) * MICRO
    cores = math.ceil(busy / site.utilisation * site.places / site.left)
    return Front(gbit, balancers, cores)
