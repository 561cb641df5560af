"""The loads for which docs/scaling.md is worked: a table of what differs from the defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.capacity.demand import Demand, Site


@dataclass(frozen=True)
class Scenario:
    """A column of the document's tables."""

    title: str
    demand: Demand
    site: Site


_MANY: Final = Site(
    cores=8,
    regions=2,
    urls=4,
    tracked=1 << 20,
    descriptors=1 << 17,
    max_connections=40_000,
    pool_max_streams=5_000,
)
_MOST: Final = Site(cores=8, regions=5, edge=True, urls=8, pool_max_streams=10_000)

SCENARIOS: Final = (
    Scenario("1,000", Demand(requests=1e3), Site(cores=2)),
    Scenario("100,000", Demand(requests=1e5), _MANY),
    Scenario("10 million, Redis in cells", Demand(requests=1e7), _MOST),
    Scenario("10 million, limits a machine", Demand(requests=1e7, checked=0), _MOST),
)
