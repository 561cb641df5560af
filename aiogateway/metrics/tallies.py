"""What requests add to: plain numbers, because Prometheus's own metrics cost ten times as much to add to.

Owns what one worker counted. Another worker sees it as a snapshot, and who takes a dead worker's place goes on from
its last one, so that no counter goes back.
"""

from __future__ import annotations

from bisect import bisect_right
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
    """A histogram's series: how many values fell in each bucket, and at the end their sum.

    Values are kept as they come and counted together: a sort and a search for each bound cost a request less than a
    tenth of what its own searches would. `fold` has to be called now and then.

    :ivar observe: takes a value.
    """

    __slots__ = ("_bounds", "_cells", "_new", "observe")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._cells: list[float] = [0] * (len(bounds) + 2)
        self._new: list[float] = []
        self.observe: Callable[[float], None] = self._new.append

    @property
    def cells(self) -> list[float]:
        """The counts and the sum, always in the same list."""
        self.fold()
        return self._cells

    def fold(self) -> None:
        """Count what was observed since the last time."""
        new, cells = self._new, self._cells
        if not new:
            return
        cells[-1] += sum(new)
        new.sort()
        below = 0
        for place, bound in enumerate(self._bounds):
            if below == len(new):
                break
            reached = bisect_right(new, bound, below)
            cells[place] += reached - below
            below = reached
        cells[-2] += len(new) - below
        new.clear()


class Metrics:
    """What one worker counts.

    :param before: the last snapshot of the worker whose place this one takes.
    """

    def __init__(self, before: Mapping[str, Any] | None = None) -> None:
        self._counts: dict[tuple[str, Labels], Count] = {}
        self._tallies: dict[tuple[str, Labels], Tally] = {}
        # Holds the tallies' own cells, so that a snapshot copies nothing.
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
        """What counts one thing, the same for the same labels. Any thread may ask.

        :param family: a counter of `FAMILIES`.
        :param labels: the values of its labels, in their order.
        """
        key = family, labels
        return self._counts.get(key) or self._counts.setdefault(key, Count())

    def tally(self, family: str, *labels: str) -> Tally:
        """A histogram's series, the same for the same labels."""
        key = family, labels
        found = self._tallies.get(key)
        if found is None:
            found = self._tallies[key] = Tally(FAMILIES[family].bounds)
            self._rows.append([family, labels, found.cells])
        return found

    def fold(self) -> None:
        """Count what histograms were given; to be called now and then, so that little of it waits."""
        for tally in self._tallies.values():
            tally.fold()

    def gauge(self, family: str, read: Gauge) -> None:
        """Have a gauge read when it is asked for."""
        self._gauges[family] = read

    def snapshot(self) -> dict[str, Any]:
        """All of it, to be shown and to be written as JSON; the lists in it go on changing."""
        self.fold()
        return {
            "counts": [[family, labels, count.events] for (family, labels), count in list(self._counts.items())],
            "tallies": self._rows,
            "gauges": [[family, labels, value] for family, read in self._gauges.items() for labels, value in read()],
        }
