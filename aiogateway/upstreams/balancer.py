"""Which of several destinations is asked next.

Pure choices over candidates that are all equally good; who is a candidate is decided by their health.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, TypeVar


class Loaded(Protocol):
    """What a choice looks at: requests that are on their way to it, or wait for that."""

    @property
    def load(self) -> int: ...


D = TypeVar("D", bound=Loaded)


class Balancer(Protocol):
    """Chooses; remembers what it has to."""

    def choose(self, candidates: Sequence[D]) -> D: ...


class LeastRequests:
    """The less busy of two that chance picks: nearly as even as looking at all, and never a herd towards one.

    :param random: numbers in [0, 1).
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random

    def choose(self, candidates: Sequence[D]) -> D:
        count = len(candidates)
        first = int(self._random() * count)
        if count == 1:
            return candidates[first]
        second = int(self._random() * (count - 1))
        one, other = candidates[first], candidates[second + (second >= first)]
        return other if other.load < one.load else one


class RoundRobin:
    """One after the other."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._turn = 0

    def choose(self, candidates: Sequence[D]) -> D:
        self._turn += 1
        return candidates[(self._turn - 1) % len(candidates)]


# By the name that `balance` has in upstreams.toml.
BALANCERS: Final[Mapping[str, Callable[[Callable[[], float]], Balancer]]] = {
    "least_requests": LeastRequests,
    "round_robin": RoundRobin,
}
