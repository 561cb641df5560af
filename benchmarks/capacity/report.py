"""How plans are shown: rows for people, on a terminal and in docs/scaling.md, and for programs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from benchmarks.capacity import limiting, model, queueing
from benchmarks.capacity.demand import Demand, Site
from benchmarks.capacity.limits import Limit, limits
from benchmarks.capacity.measured import Figures
from benchmarks.capacity.plan import Plan
from benchmarks.capacity.queueing import Work
from benchmarks.capacity.scenarios import Scenario

Cells = Sequence[str]
# Beyond these a number is written with a power of ten.
TINY: Final = 1e-6
HUGE: Final = 1e15


@dataclass(frozen=True)
class Worked:
    """A scenario with its plan and its limits."""

    scenario: Scenario
    plan: Plan
    limits: Sequence[Limit]


def worked(scenario: Scenario, figures: Figures) -> Worked:
    """The plan of a scenario, and where its limits lie."""
    demand, site = scenario.demand, scenario.site
    planned = model.plan(demand, site, figures)
    return Worked(scenario, planned, limits(demand, site, figures, planned))


ROWS: Final[Mapping[str, Callable[[Worked], str]]] = {
    "CPU of a request, mean": lambda at: f"{at.plan.waiting.request_us:.0f} µs",
    "busy cores": lambda at: number(at.plan.fleet.busy_cores),
    "workers needed: CPU": lambda at: number(at.plan.fleet.workers_for_cpu),
    "workers needed: client connections": lambda at: number(at.plan.fleet.workers_for_connections),
    "workers needed: streams and sockets": lambda at: number(at.plan.fleet.workers_for_streams),
    "what decides": lambda at: at.plan.fleet.decided_by,
    "regions, zones in each": lambda at: f"{at.scenario.site.regions}, {at.scenario.site.zones}",
    "**replicas**": lambda at: f"**{number(at.plan.fleet.replicas)}**",
    "cores of a replica, a worker on each": lambda at: number(at.scenario.site.cores),
    "**cores**": lambda at: f"**{number(at.plan.fleet.workers)}**",
    "utilisation": lambda at: f"{at.plan.fleet.utilisation:.0%}",
    "utilisation, a zone or region lost": lambda at: f"{at.plan.fleet.utilisation_left:.0%}",
    "wait for the worker then: mean": lambda at: milliseconds(at.plan.waiting.mean_us),
    "wait for the worker then: p99": lambda at: milliseconds(at.plan.waiting.p99_us),
    "memory of a replica": lambda at: size(at.plan.replica.memory_mib),
    "client connections of a worker": lambda at: number(at.plan.replica.clients_a_worker),
    "descriptors of a worker": lambda at: number(at.plan.replica.descriptors_a_worker),
    "busiest upstream: instances": lambda at: number(at.plan.upstream.instances),
    "URLs of an upstream, as planned": lambda at: number(at.scenario.site.urls),
    "URLs before idle connections are rarely used again": lambda at: number(at.plan.upstream.most_urls),
    "pool of a worker to one URL: busy (Little)": lambda at: number(at.plan.upstream.pool.busy),
    "room needed 999 times of 1,000": lambda at: number(at.plan.upstream.pool.size),
    "idle": lambda at: number(at.plan.upstream.pool.idle),
    "made a second": lambda at: number(at.plan.upstream.pool.made),
    "connections to the busiest upstream": lambda at: number(at.plan.upstream.connections),
    "of these to one instance": lambda at: number(at.plan.upstream.connections_an_instance),
    "connections to all upstreams": lambda at: number(at.plan.upstream.all_connections),
    "ports of a replica to one address": lambda at: number(at.plan.replica.ports),
    "tracked connections of a replica": lambda at: number(at.plan.replica.tracked),
    "round trips to Redis a second": lambda at: number(at.plan.redis.checks),
    "**Redis primaries, one for each cell**": lambda at: f"**{number(at.plan.redis.primaries)}**",
    "utilisation of a Redis": lambda at: f"{at.plan.redis.utilisation:.0%}" if at.plan.redis.primaries else "-",
    "connections to a Redis": lambda at: number(at.plan.redis.connections) if at.plan.redis.primaries else "-",
    "memory of a Redis": lambda at: size(at.plan.redis.memory_mib) if at.plan.redis.primaries else "-",
    "client traffic": lambda at: f"{number(at.plan.front.gbit)} Gbit/s",
    "network of a replica": lambda at: f"{number(at.plan.replica.gbit)} Gbit/s",
    "balancers that see packets (L4)": lambda at: number(at.plan.front.balancers),
    "cores of a tier that ends TLS (L7)": lambda at: number(at.plan.front.edge_cores),
}


def number(value: float) -> str:
    """Whole with commas, or two digits that matter; with a power of ten where that would be a row of noughts."""
    if value and not TINY <= abs(value) < HUGE:
        return f"{value:.2g}"
    if value == round(value) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(1 - math.floor(math.log10(abs(value))), 0)}f}"


def milliseconds(microseconds: float) -> str:
    return f"{number(microseconds / 1000)} ms"


def size(mib: float) -> str:
    return f"{number(mib)} MiB" if mib < 1024 else f"{mib / 1024:.1f} GiB"


def plans(columns: Sequence[Worked]) -> list[Cells]:
    """A plan in each column."""
    head = ["requests a second", *(each.scenario.title for each in columns)]
    return [head, *([title, *map(show, columns)] for title, show in ROWS.items())]


def limit_rows(of: Worked) -> list[Cells]:
    """Where each limit of one plan lies."""
    head: Cells = ["limit", "used", "of", "reached at, requests a second", "what changes there"]
    return [head, *(_limit(limit) for limit in of.limits)]


def _limit(limit: Limit) -> Cells:
    at = "not by load" if limit.reached is None else rounded(limit.reached)
    over = ", OVER" if limit.used > limit.most else ""
    return [limit.name, number(limit.used) + over, f"{number(limit.most)} {limit.unit}", at, limit.change]


def rounded(value: float) -> str:
    """Two digits, for what is known no better."""
    if not TINY <= value < HUGE:
        return f"{value:.2g}"
    places = 10 ** max(math.floor(math.log10(value)) - 1, 0)
    return f"{round(value / places) * places:,.0f}"


def limit_summary(columns: Sequence[Worked]) -> list[Cells]:
    """The share of each limit that is used, by plan, and what changes where it is reached."""
    found = {limit.name: limit.change for each in columns for limit in each.limits}
    shares = [{limit.name: f"{limit.used / limit.most:.0%}" for limit in each.limits} for each in columns]
    head = ["share of the limit that is used", *(each.scenario.title for each in columns), "what changes there"]
    return [head, *([name, *(share.get(name, "-") for share in shares), change] for name, change in found.items())]


def inputs(columns: Sequence[Worked]) -> list[Cells]:
    """What is assumed, and where a scenario differs."""
    rows: list[Cells] = [["input", *(each.scenario.title for each in columns), "what it is"]]
    for kind in (Demand, Site):
        for field in fields(kind):
            values = [_value(getattr(each.scenario, kind.__name__.lower()), field.name) for each in columns]
            rows.append([f"`{field.name}`", *values, field.metadata["meaning"]])
    return rows


def _value(given: Demand | Site, name: str) -> str:
    value = getattr(given, name)
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:,g}" if value < 1e6 else f"{value:,.0f}"


def figures_table(figures: Figures) -> list[Cells]:
    """Every figure and where it comes from."""
    rows = (
        [f"`{name}`", f"{number(each.value)} {each.unit}", each.kind, each.source] for name, each in figures.items()
    )
    return [["figure", "value", "", "source"], *rows]


def waiting(figures: Figures) -> list[Cells]:
    """What a worker's queue adds at each utilisation: small GETs alone, and with some large answers."""
    small, large = (figures[name].value / 1e6 for name in ("get_us", "encoded_us"))
    rows: list[Cells] = [["utilisation", "small GETs: mean", "p99", "2 % large answers: mean", "p99"]]
    for percent in (30, 50, 60, 70, 80, 90):
        busy = percent / 100
        rate = busy / (0.98 * small + 0.02 * large)
        mixes = [Work(busy / small, small)], [Work(0.98 * rate, small), Work(0.02 * rate, large)]
        cells = [f(mix) for mix in mixes for f in (queueing.mean_wait, lambda mix: queueing.wait_quantile(mix, 0.99))]
        rows.append([f"{percent} %", *(milliseconds(each * 1e6) for each in cells)])
    return rows


def limiter() -> list[Cells]:
    """What a client gets who asks without end, in one period, over the limit."""
    rows: list[Cells] = [
        [
            "replicas",
            "Redis",
            "Redis goes away",
            "no Redis",
            "no Redis, 2 limits' worth by chance",
            "no Redis, by client",
        ]
    ]
    for machines in (1, 4, 100, 1000):
        limit, offered = 600, 2 * 600 * machines
        by_chance = limiting.alone_at_random(limit, machines, 2 * limit)
        over = (limiting.outage(limit, machines, offered, offered), limiting.alone_at_most(limit, machines, offered))
        cells = (limit, *over, by_chance, limit)
        rows.append([number(machines), *(f"{number(round(cell / limit, 2))}" for cell in cells)])
    return rows


def markdown(rows: Sequence[Cells]) -> str:
    """A table for a document."""
    first, *others = rows
    lines = [first, ["---"] * len(first), *others]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def text(rows: Sequence[Cells]) -> str:
    """A table for a terminal; the last column ends where it ends."""
    plain = [[cell.replace("**", "").replace("`", "") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in plain)


def as_json(of: Worked, figures: Figures) -> dict[str, Any]:
    """A plan with all that it stands on."""
    return {
        "demand": asdict(of.scenario.demand),
        "site": asdict(of.scenario.site),
        "figures": {name: asdict(figure) for name, figure in figures.items()},
        "plan": asdict(of.plan),
        "limits": [asdict(limit) for limit in of.limits],
    }
