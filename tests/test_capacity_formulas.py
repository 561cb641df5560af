"""The formulas of the capacity model: queues, pools and limits, beside a simulation and what can be counted."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.capacity import limiting, queueing, simulation
from benchmarks.capacity.pools import pool
from benchmarks.capacity.queueing import Work


def test_formulas_agree_with_simulated_queues() -> None:
    assert [row for row in simulation.queues(random.Random(simulation.SEED), 40_000) if not row.kept] == []


def test_formulas_agree_with_simulated_pools() -> None:
    assert [row for row in simulation.kept(random.Random(simulation.SEED), 50_000) if not row.kept] == []


def test_a_hundred_machines_admit_what_the_formulas_say() -> None:
    assert [row for row in simulation.limits(random.Random(simulation.SEED)) if not row.kept] == []


def test_a_formula_that_is_off_is_noticed() -> None:
    """As if waits were those of exponential lengths, twice as long."""
    found = simulation.waits(random.Random(1), 0.6, lambda _: 1.0, 20_000)
    mean = sum(found) / len(found)
    assert simulation.Row("", queueing.mean_wait([Work(0.6, 1)]), mean, 0.1).kept
    assert not simulation.Row("", queueing.markov_mean_wait(0.6, 1), mean, 0.1).kept
    assert not simulation.Row("", 4, 5, 0.1, at_most=True).kept
    assert simulation.Row("", 4, 3, 0.1, at_most=True).kept


def test_the_command_prints_all_and_says_what_is_off() -> None:
    asked = [sys.executable, "-m", "benchmarks.capacity.simulation", "--count", "4", "--check"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 1, "four requests are too few to agree"
    assert "  OFF" in done.stdout
    assert "5/minute, 100 machines, Redis" in done.stdout


def test_a_worker_that_cannot_keep_up_waits_for_ever() -> None:
    over = [Work(3, 0.2), Work(4, 0.1)]
    assert queueing.utilisation(over) == pytest.approx(1)
    assert queueing.mean_wait(over) == queueing.wait_quantile(over, 0.99) == math.inf
    assert queueing.markov_mean_wait(2, 1) == math.inf


def test_the_wait_of_a_burst_is_that_of_a_queue_that_empties() -> None:
    assert queueing.burst_mean_time(4, 0.5) == sum([0.5, 1, 1.5, 2]) / 4


@given(st.floats(0.001, 2000), st.sampled_from([0.5, 0.99, 0.999]))
@settings(deadline=None)
def test_a_poisson_quantile_is_the_first_number_that_is_enough(mean: float, share: float) -> None:
    def below(most: int) -> float:
        return math.fsum(math.exp(n * math.log(mean) - mean - math.lgamma(n + 1)) for n in range(most + 1))

    found = queueing.poisson_quantile(mean, share)
    assert below(found) >= share - 1e-9
    slack = 1 if mean <= 500 else 5  # an approximation beyond
    assert found == 0 or below(found - slack) < share + 1e-9


@given(st.floats(0.001, 5000), st.floats(0.001, 2), st.floats(0.1, 60), st.integers(0, 50))
@settings(deadline=None)
def test_a_pool_holds_what_is_busy_and_makes_no_more_than_are_asked_for(
    rate: float, seconds: float, keepalive: float, most_idle: int
) -> None:
    found = pool(rate, seconds, keepalive, most_idle, 300)
    assert found.busy == pytest.approx(rate * seconds)
    assert found.size >= found.busy
    assert 0 <= found.idle <= most_idle + 1e-6
    assert found.open == pytest.approx(found.busy + found.idle, rel=1e-3, abs=1e-3)
    assert 0 <= found.made <= rate


@pytest.mark.parametrize("machines", [1, 2, 3])
@pytest.mark.parametrize("offered", [0, 1, 4, 6])
def test_what_chance_gives_is_the_mean_over_all_ways(machines: int, offered: int) -> None:
    ways = list(product(range(machines), repeat=offered))
    got = sum(sum(min(way.count(place), 2) for place in range(machines)) for way in ways) / len(ways)
    assert limiting.alone_at_random(2, machines, offered) == pytest.approx(got)


@given(st.integers(1, 50), st.integers(1, 100), st.integers(0, 300), st.integers(0, 300))
@settings(deadline=None)
def test_an_outage_gives_no_more_than_a_limit_for_each_machine(
    limit: int, machines: int, before: int, after: int
) -> None:
    got = limiting.outage(limit, machines, before, after)
    assert min(limit, before + after) <= got <= limiting.alone_at_most(limit, machines, before + after)
    assert limiting.alone_at_random(limit, machines, after) <= limiting.alone_at_most(limit, machines, after) + 1e-9
