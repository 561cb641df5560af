"""Which of several destinations is asked next."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

import pytest

from aiogateway.upstreams.balancer import LeastRequests, RoundRobin


@dataclass(eq=False)
class Place:
    name: str
    load: int = 0


def places(*loads: int) -> list[Place]:
    return [Place("abcdefghij"[number], load) for number, load in enumerate(loads)]


def test_round_robin_takes_turns_whatever_the_load() -> None:
    balancer, among = RoundRobin(Random(1).random), places(9, 0, 5)
    assert [balancer.choose(among).name for _ in range(7)] == list("abcabca")


def test_round_robin_goes_on_when_the_candidates_change() -> None:
    balancer, among = RoundRobin(Random(1).random), places(0, 0, 0)
    assert {balancer.choose(among[: 1 + number % 3]).name for number in range(30)} == set("abc")


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_equals_share_evenly(count: int) -> None:
    balancer, among = LeastRequests(Random(1).random), places(*[0] * count)
    chosen = Counter(balancer.choose(among).name for _ in range(1000 * count))
    assert len(chosen) == count and all(800 <= times <= 1200 for times in chosen.values())


def test_of_two_the_less_busy_is_always_chosen() -> None:
    balancer, among = LeastRequests(Random(1).random), places(3, 2)
    assert {balancer.choose(among).name for _ in range(100)} == {"b"}


def test_the_busiest_of_many_is_never_chosen() -> None:
    balancer, among = LeastRequests(Random(1).random), places(0, 0, 7, 0, 0)
    assert "c" not in {balancer.choose(among).name for _ in range(1000)}


def test_a_slow_destination_gets_less_and_none_is_starved() -> None:
    balancer, among = LeastRequests(Random(1).random), places(0, 0, 0)
    chosen: Counter[str] = Counter()
    for _ in range(3000):
        place = balancer.choose(among)
        chosen[place.name] += 1
        place.load += 1
        for other in among:  # what is finished in a turn: the first is slow
            other.load = max(
                other.load - (1 if other.name == "a" and chosen.total() % 4 else 0 if other.name == "a" else 1), 0
            )
    assert min(chosen.values()) > 300
