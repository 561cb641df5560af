"""What requests add to: plain numbers, because Prometheus's own metrics cost ten times as much to add to.

Owns what one worker counted. Another worker sees it as a snapshot, and who takes a dead worker's place goes on from
its last one, so that no counter goes back.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aiogateway.metrics.families import COUNTER, FAMILIES

Labels = tuple[str, ...]
Gauge = Callable[[], Iterable[tuple[Labels, float]]]


class Count:
    """How often one thing happened; whoever sees it happen adds one to `events`."""

    __slots__ = ("events",)

    def __init__(self, events: int = 0) -> None:
        self.events = events


class Tally:
    """A histogram's series: how many values fell in each bucket, and at the end their sum."""

    __slots__ = ("_bounds", "cells")

    def __init__(self, bounds: Sequence[float], cells: list[float] | None = None) -> None:
        self._bounds = bounds
        self.cells: list[float] = [0] * (len(bounds) + 2) if cells is None else cells

    def observe(self, value: float) -> None:
        cells = self.cells
        cells[bisect_left(self._bounds, value)] += 1
        cells[-1] += value


class Metrics:
    """What one worker counts.

    :param before: the last snapshot of the worker whose place this one takes.
    """

    def __init__(self, before: Mapping[str, Any] | None = None) -> None:
        self._counts: dict[tuple[str, Labels], Count] = {}
        self._tallies: dict[tuple[str, Labels], Tally] = {}
        # Holds the tallies' own cells, so that a snapshot costs no look at each.
        self._rows: list[list[Any]] = []
        self._gauges: dict[str, Gauge] = {}
        for family, row in FAMILIES.items():
            if row.kind == COUNTER and not row.labels:
                self.count(family)
        if before is not None:
            for family, labels, events in before["counts"]:
                self.count(family, *labels).events = events
            for family, labels, cells in before["tallies"]:
                self.tally(family, *labels).cells[:] = cells

    def count(self, family: str, *labels: str) -> Count:
        """What counts one thing, the same for the same labels.

        :param family: a counter of `FAMILIES`.
        :param labels: the values of its labels, in their order.
        """
        key = family, labels
        found = self._counts.get(key)
        if found is None:
            found = self._counts[key] = Count()
        return found

    def tally(self, family: str, *labels: str) -> Tally:
        """A histogram's series, the same for the same labels."""
        key = family, labels
        found = self._tallies.get(key)
        if found is None:
            found = self._tallies[key] = Tally(FAMILIES[family].bounds)
            self._rows.append([family, labels, found.cells])
        return found

    def gauge(self, family: str, read: Gauge) -> None:
        """Have a gauge read when it is asked for."""
        self._gauges[family] = read

    def snapshot(self) -> dict[str, Any]:
        """All of it, to be shown and to be written as JSON; the lists in it go on changing."""
        return {
            "counts": [[family, labels, count.events] for (family, labels), count in self._counts.items()],
            "tallies": self._rows,
            "gauges": [[family, labels, value] for family, read in self._gauges.items() for labels, value in read()],
        }
