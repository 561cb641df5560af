"""What came out: samples, their medians and spreads over the rounds, ratios within a round. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """The values of one contender in one scenario of one round; `fault` says why there are none."""

    round: int
    scenario: str
    contender: str
    values: dict[str, float]
    fault: str = ""


@dataclass(frozen=True)
class Spread:
    """Median, lowest and highest over the rounds."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Ref:
    """One value: a measure of a contender in a scenario."""

    scenario: str
    contender: str
    measure: str


def _spread(values: Sequence[float]) -> Spread | None:
    return Spread(statistics.median(values), min(values), max(values)) if values else None


class Results:
    """All samples of a run, in the order in which they were taken."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = tuple(samples)
        self._by_ref: dict[Ref, dict[int, float]] = {}
        for sample in samples:
            for measure, value in sample.values.items():
                self._by_ref.setdefault(Ref(sample.scenario, sample.contender, measure), {})[sample.round] = value

    def spread(self, ref: Ref) -> Spread | None:
        """Over the rounds; None when it was not measured."""
        return _spread(list(self._by_ref.get(ref, {}).values()))

    def ratio(self, ref: Ref, base: Ref) -> Spread | None:
        """`ref` over `base`, taken in each round that has both, so that a machine that slows down matters less."""
        above, below = self._by_ref.get(ref, {}), self._by_ref.get(base, {})
        return _spread([above[turn] / below[turn] for turn in above.keys() & below.keys() if below[turn]])

    def measures(self) -> list[Ref]:
        """Everything measured, in order of first appearance."""
        return list(self._by_ref)
