"""What Prometheus is shown: the snapshots of all workers, added up, in its text format.

Rules: it is made in slices, between which others have their turn, so that a scrape stalls nobody.
"""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from typing import Any, Final

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from aiogateway.metrics.families import COUNTER, FAMILIES, GAUGE, Family

# Series, each of up to twelve lines, that are looked at without a pause: a millisecond or so.
SLICE: Final = 20
_ADD: Final[dict[str, Callable[[float, float], float]]] = {"sum": operator.add, "min": min, "max": max}

Labels = tuple[str, ...]
Series = dict[Labels, Any]


class _Collected:
    """A registry of what is shown next."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


async def exposition(live: Sequence[Mapping[str, Any]], counted: Sequence[Mapping[str, Any]]) -> bytes:
    """Prometheus's text format.

    :param live: the snapshots of workers that run: their gauges count.
    :param counted: those of all workers there were: their counters and histograms count.
    """
    found: dict[str, Series] = {family: {} for family in FAMILIES}
    for snapshot in live:
        for family, labels, value in snapshot["gauges"]:
            series, key = found[family], tuple(labels)
            series[key] = _ADD[FAMILIES[family].of_workers](series[key], value) if key in series else value
        await asyncio.sleep(0)
    for snapshot in counted:
        for family, labels, events in snapshot["counts"]:
            key = tuple(labels)
            found[family][key] = found[family].get(key, 0) + events
        for at, (family, labels, cells) in enumerate(list(snapshot["tallies"])):
            if at % (SLICE * 10) == 0:
                await asyncio.sleep(0)
            series, key = found[family], tuple(labels)
            before = series.get(key)
            series[key] = list(cells) if before is None else [a + b for a, b in zip(before, cells, strict=True)]
    pieces: list[bytes] = []
    for family, series in found.items():
        rows, first = iter(series.items()), True
        while (some := list(islice(rows, SLICE))) or first:
            pieces.append(_shown(family, FAMILIES[family], some, headed=first))
            first = False
            await asyncio.sleep(0)
    return b"".join(pieces)


def _shown(family: str, row: Family, series: Iterable[tuple[Labels, Any]], *, headed: bool) -> bytes:
    """Some series of one family.

    :param headed: whether the lines that say what it is come first.
    """
    metric = Metric(family, row.text, row.kind)
    metric.samples = [sample for labels, value in series for sample in _samples(family, row, labels, value)]
    text = generate_latest(_Collected(metric))
    return text if headed else text.split(b"\n", 2)[2]


def _samples(family: str, row: Family, labels: Labels, value: Any) -> Iterator[Sample]:
    named = dict(zip(row.labels, labels, strict=True))
    if row.kind == GAUGE:
        yield Sample(family, named, value)
    elif row.kind == COUNTER:
        yield Sample(f"{family}_total", named, value)
    else:
        *cells, total = value
        within = list(accumulate(cells))
        bounds = [*map(floatToGoString, row.bounds), "+Inf"]
        yield from (Sample(f"{family}_bucket", {**named, "le": le}, n) for le, n in zip(bounds, within, strict=True))
        yield Sample(f"{family}_sum", named, total)
        yield Sample(f"{family}_count", named, within[-1])
