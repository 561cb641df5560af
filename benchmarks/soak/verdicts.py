"""What a figure is, and how a run of them is told. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

# What a healthy gateway's log does not hold.
FAULTS: Final = (
    "Traceback",
    "unhandled",
    "never retrieved",
    "never awaited",
    "Unclosed",
    "was destroyed",
    '"level":"error"',
    '"level":"critical"',
    "Warning:",
)


@dataclass(frozen=True)
class Figure:
    """:ivar value: as measured.
    :ivar most: what it may be.
    :ivar note: how it came about, in a few words.
    """

    name: str
    value: float
    most: float
    unit: str = ""
    note: str = ""

    @property
    def met(self) -> bool:
        return self.value <= self.most


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which a share of them lies; 0 of none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def halves_grew(samples: Sequence[float]) -> float:
    """By which share the median of the last half lies over that of the first."""
    middle = len(samples) // 2
    first, last = percentile(samples[:middle], 0.5), percentile(samples[middle:], 0.5)
    return last / first - 1.0 if first else 0.0


def faults_in(log: str) -> list[str]:
    """The lines of a gateway's output that tell of a fault of its own."""
    return [line for line in log.splitlines() if any(word in line for word in FAULTS)]


def table(figures: Sequence[Figure]) -> str:
    """All of them for people, one line each."""
    width = max((len(figure.name) for figure in figures), default=0)
    lines = []
    for figure in figures:
        verdict = "met" if figure.met else "MISSED"
        measured = f"{figure.value:.4g} {figure.unit}".strip()
        bound = f"at most {figure.most:g} {figure.unit}".strip()
        lines.append(f"{figure.name.ljust(width)}  {measured:>14}  {bound:<20}  {verdict:<6}  {figure.note}".rstrip())
    return "\n".join(lines)


def as_json(figures: Sequence[Figure]) -> str:
    """All of them for programs."""
    return json.dumps([{**asdict(figure), "met": figure.met} for figure in figures], indent=1)
