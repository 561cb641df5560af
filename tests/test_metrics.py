"""What is counted is shown by the contract's names, added up over workers, in slices."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from aiogateway.metrics import FAMILIES, Metrics, Tally, exposition
from aiogateway.metrics.families import (
    AUTH,
    BUILD,
    COUNTER,
    DURATIONS,
    GAUGE,
    HISTOGRAM,
    LAG,
    RATE_LIMIT,
    RECAPTCHA,
    RELOAD,
    SERVER_ACTIVE,
    SERVER_DURATION,
)


def shown(*snapshots: Mapping[str, Any], dead: tuple[Mapping[str, Any], ...] = ()) -> str:
    return asyncio.run(exposition(snapshots, [*snapshots, *dead])).decode()


def as_others_read_it(metrics: Metrics) -> dict[str, Any]:
    read: dict[str, Any] = orjson.loads(orjson.dumps(metrics.snapshot()))
    return read


def test_counts_are_shown_with_their_labels_and_never_go_back() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.count(RATE_LIMIT, "5/minute login", "refused", "local").events += 1
    metrics.count(AUTH, "allowed", "").events += 1
    metrics.count(RECAPTCHA, "passed").events += 1
    first = shown(metrics.snapshot()).splitlines()
    metrics.count(RECAPTCHA, "passed").events += 1
    second = shown(metrics.snapshot()).splitlines()
    line = 'gateway_ratelimit_decisions_total{backend="local",decision="refused",policy="5/minute login"} 3.0'
    assert line in first and line in second
    assert 'gateway_auth_decisions_total{decision="allowed",reason=""} 1.0' in first
    assert 'gateway_recaptcha_total{outcome="passed"} 1.0' in first
    assert 'gateway_recaptcha_total{outcome="passed"} 2.0' in second


def test_every_family_is_there_before_anything_happened() -> None:
    text = shown(Metrics().snapshot())
    for name, family in FAMILIES.items():
        assert f"# TYPE {name}{'_total' if family.kind == COUNTER else ''} {family.kind}\n" in text


def test_a_histogram_counts_what_is_at_most_each_bound() -> None:
    metrics = Metrics()
    tally = metrics.tally(SERVER_DURATION, "GET", "/a", "200", "")
    for value in (0.0, 0.005, 0.0051, 59.0, 61.0):
        tally.observe(value)
    (family,) = [
        family for family in text_string_to_metric_families(shown(metrics.snapshot())) if family.name == SERVER_DURATION
    ]
    buckets = {sample.labels["le"]: sample.value for sample in family.samples if sample.name.endswith("_bucket")}
    assert buckets["0.005"] == 2 and buckets["0.025"] == 3 and buckets["60.0"] == 4 and buckets["+Inf"] == 5
    values = {sample.name.rpartition("_")[2]: sample.value for sample in family.samples}
    assert values["count"] == 5 and values["sum"] == pytest.approx(120.0101)


@given(st.lists(st.floats(0, 1e6), max_size=30))
def test_a_tally_loses_nothing(values: list[float]) -> None:
    tally = Tally(DURATIONS)
    for value in values:
        tally.observe(value)
    assert sum(tally.cells[:-1]) == len(values) and tally.cells[-1] == pytest.approx(sum(values))


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.kind == HISTOGRAM])
def test_a_histogram_has_at_most_ten_buckets_in_rising_order(name: str) -> None:
    bounds = FAMILIES[name].bounds
    assert len(bounds) + 1 <= 10 and all(lower < upper for lower, upper in pairwise(bounds))


def worker(active: int, lag: float, reload: int, *, events: int = 1, before: Any = None) -> Metrics:
    metrics = Metrics(before)
    metrics.count(RECAPTCHA, "passed").events += events
    metrics.tally(SERVER_DURATION, "GET", "/a", "200", "").observe(0.01)
    metrics.gauge(SERVER_ACTIVE, lambda: [((), active)])
    metrics.gauge(LAG, lambda: [((), lag)])
    metrics.gauge(RELOAD, lambda: [((), reload)])
    metrics.gauge(BUILD, lambda: [(("1", "3", "3"), 1)])
    return metrics


def test_workers_show_the_sum_of_all_and_gauges_what_fits_them() -> None:
    text = shown(worker(3, 0.5, 1).snapshot(), as_others_read_it(worker(4, 0.2, 0))).splitlines()
    for line in (
        'gateway_recaptcha_total{outcome="passed"} 2.0',
        "http_server_active_requests 7.0",
        "gateway_event_loop_lag_seconds 0.5",
        "gateway_config_last_reload_success 0.0",
        'gateway_build_info{aiohttp="3",python="3",version="1"} 1.0',
    ):
        assert line in text
    assert any(line.startswith(f"{SERVER_DURATION}_count") and line.endswith(" 2.0") for line in text)


def test_a_dead_workers_counters_count_and_its_gauges_do_not() -> None:
    dead = as_others_read_it(worker(4, 9.0, 0))
    text = shown(worker(3, 0.5, 1).snapshot(), dead=(dead,)).splitlines()
    assert 'gateway_recaptcha_total{outcome="passed"} 2.0' in text
    assert "http_server_active_requests 3.0" in text and "gateway_event_loop_lag_seconds 0.5" in text


def test_who_takes_a_place_goes_on_from_its_figures() -> None:
    first = worker(0, 0, 1, events=3)
    second = worker(0, 0, 1, events=4, before=as_others_read_it(first))
    text = shown(second.snapshot()).splitlines()
    assert 'gateway_recaptcha_total{outcome="passed"} 7.0' in text
    assert any(line.startswith(f"{SERVER_DURATION}_count") and line.endswith(" 2.0") for line in text)


def test_hostile_labels_break_no_line() -> None:
    metrics = Metrics()
    metrics.count(RECAPTCHA, 'a"b\\c\nd').events += 1
    (line,) = [line for line in shown(metrics.snapshot()).splitlines() if line.startswith("gateway_recaptcha_total{")]
    assert line == 'gateway_recaptcha_total{outcome="a\\"b\\\\c\\nd"} 1.0'


def test_a_scrape_of_two_hundred_busy_routes_gives_way_to_others_all_the_time() -> None:
    metrics = Metrics()
    for number in range(200):
        for status in ("200", "404"):
            metrics.tally(SERVER_DURATION, "GET", f"/v2/route-{number}", status, "").observe(0.1)
    other = as_others_read_it(metrics)
    turns = 0

    async def measure() -> float:
        nonlocal turns

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(turn())
        began = time.perf_counter()
        await exposition([metrics.snapshot()], [metrics.snapshot(), other])
        took = time.perf_counter() - began
        task.cancel()
        return took

    asyncio.run(measure())
    assert turns > 400 / 20


def test_gauges_and_kinds_are_known() -> None:
    assert {family.kind for family in FAMILIES.values()} == {COUNTER, GAUGE, HISTOGRAM}
