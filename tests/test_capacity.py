"""The capacity model: what a plan keeps whatever the load, where its limits lie, its figures, document and command."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.capacity import document, measure, measured, model, report
from benchmarks.capacity.__main__ import main
from benchmarks.capacity.demand import Demand, Site
from benchmarks.capacity.limits import limits
from benchmarks.capacity.measured import Figure
from benchmarks.capacity.plan import Plan
from benchmarks.capacity.scenarios import SCENARIOS, Scenario

ROOT = Path(__file__).parents[1]
FIGURES = measured.load()
REQUESTS = st.floats(0.01, 1e8)
DEMANDS = st.builds(
    Demand,
    requests=REQUESTS,
    form=st.floats(0, 0.4),
    cached=st.floats(0, 0.3),
    encoded=st.floats(0, 0.1),
    upload=st.floats(0, 0.01),
    streams=st.floats(0, 5),
    latency_ms=st.floats(0.1, 5_000),
    gap_s=st.floats(0.1, 60),
    checked=st.floats(0, 1),
)
SITES = st.builds(
    Site,
    cores=st.integers(1, 64),
    utilisation=st.floats(0.1, 0.9),
    regions=st.integers(1, 6),
    zones=st.integers(1, 4),
    edge=st.booleans(),
    urls=st.integers(1, 20),
)

TOTALS: tuple[Callable[[Plan], float], ...] = (
    lambda plan: plan.fleet.replicas,
    lambda plan: plan.fleet.busy_cores,
    lambda plan: plan.redis.primaries,
    lambda plan: plan.upstream.instances,
    lambda plan: plan.front.balancers,
    lambda plan: plan.front.edge_cores,
)


def planned(demand: Demand, site: Site | None = None) -> Plan:
    return model.plan(demand, site or Site(), FIGURES)


@given(DEMANDS, SITES)
@settings(deadline=None)
def test_what_is_left_after_a_loss_is_never_busier_than_it_may_be(demand: Demand, site: Site) -> None:
    plan = planned(demand, site)
    fleet = plan.fleet
    assert fleet.utilisation <= fleet.utilisation_left <= site.utilisation + 1e-9
    assert fleet.replicas % site.places == 0
    assert fleet.replicas_left == fleet.replicas // site.places * site.left >= 1
    assert plan.replica.clients_a_worker <= site.max_connections * site.fill + 1
    assert plan.redis.utilisation <= site.redis_utilisation + 1e-9
    assert plan.redis.primaries % site.regions == 0
    assert (plan.redis.primaries == 0) == (demand.checked == 0)
    assert math.isfinite(plan.waiting.p99_us)


def test_large_answers_take_the_same_memory_over_however_many_urls_they_come() -> None:
    demand = Demand(requests=10_000, encoded=0.2, latency_ms=2_000, streams=0, sockets=0)
    one, four = (planned(demand, Site(urls=urls)) for urls in (1, 4))
    assert one.fleet == four.fleet
    assert one.replica.memory_mib == four.replica.memory_mib


@given(DEMANDS, SITES, st.floats(1, 100))
@settings(deadline=None)
def test_more_requests_never_take_less(demand: Demand, site: Site, factor: float) -> None:
    less = planned(demand, site)
    more = planned(dataclasses.replace(demand, requests=demand.requests * factor), site)
    for of in TOTALS:
        assert of(less) <= of(more) * (1 + 1e-9)


@given(DEMANDS, SITES)
@settings(deadline=None, max_examples=20)
def test_counts_are_whole_and_rounded_up(demand: Demand, site: Site) -> None:
    plan = planned(demand, site)
    assert plan.fleet.workers_for_cpu * site.utilisation >= plan.fleet.busy_cores * (1 - 1e-9)
    assert (plan.fleet.workers_for_cpu - 1) * site.utilisation < plan.fleet.busy_cores
    for record in (plan.fleet, plan.replica, plan.redis, plan.upstream, plan.front):
        for field in dataclasses.fields(record):
            assert field.type != "int" or type(getattr(record, field.name)) is int, field.name


def test_a_dearer_figure_takes_more() -> None:
    demand = Demand(requests=1e6)
    dear = measured.given(FIGURES, {"get_us": FIGURES["get_us"].value * 2, "redis_check_us": 100})
    assert model.plan(demand, Site(), dear).fleet.workers_for_cpu > planned(demand).fleet.workers_for_cpu
    assert model.plan(demand, Site(), dear).redis.primaries == 200


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.title)
def test_no_worked_plan_is_over_a_limit(scenario: Scenario) -> None:
    plan = model.plan(scenario.demand, scenario.site, FIGURES)
    found = limits(scenario.demand, scenario.site, FIGURES, plan)
    assert [limit for limit in found if limit.used > limit.most] == []


def test_a_limit_is_reached_where_the_same_machines_come_to_it() -> None:
    demand, site = Demand(requests=1000), Site()
    plan = planned(demand, site)
    for limit in limits(demand, site, FIGURES, plan):
        if limit.reached is None:
            continue
        there = dataclasses.replace(demand, requests=limit.reached)
        (again,) = [each for each in limits(there, site, FIGURES, plan) if each.name == limit.name]
        assert again.used >= limit.most > limit.used
        assert again.used <= limit.most * 1.02 + 1


def test_a_slow_service_shows_as_a_pool_that_is_over() -> None:
    demand = Demand(latency_ms=6000)
    (full,) = [each for each in limits(demand, Site(), FIGURES, planned(demand)) if "at once" in each.name]
    assert full.used > full.most
    assert "OVER" in report.text(report.limit_rows(report.worked(Scenario("", demand, Site()), FIGURES)))


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Demand, {"requests": 0}),
        (Demand, {"requests": math.inf}),
        (Demand, {"requests": math.nan}),
        (Demand, {"requests": 1e11}),
        (Demand, {"requests": 1e-300}),
        (Demand, {"events": 1e300}),
        (Demand, {"form": 0.9, "cached": 0.2}),
        (Demand, {"checked": 1.1}),
        (Demand, {"latency_ms": 1e7}),
        (Site, {"utilisation": 1}),
        (Site, {"regions": 0}),
        (Site, {"fill": 1.5}),
    ],
)
def test_what_cannot_be_is_refused(kind: type[Demand | Site], wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        kind(**wrong)


def run(date: str, **values: float) -> str:
    rows = {name: {"value": value, "unit": "µs", "how": "so"} for name, value in values.items()}
    return json.dumps({"machine": {"date": date}, "measured": rows})


def test_the_newest_run_that_has_a_figure_decides(tmp_path: Path) -> None:
    for path in measured.RUNS.glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "a.json").write_text(run("2999-01-01T00:00:00Z", event_us=1))
    (tmp_path / "b.json").write_text(run("2000-01-01T00:00:00Z", event_us=2, message_us=2))
    found = measured.load(tmp_path)
    assert found["event_us"] == Figure(1, "µs", "measured", "docs/benchmarks/a.json: so")
    assert found["message_us"] == FIGURES["message_us"]


def test_a_figure_that_nobody_measured_is_missed(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="get_us"):
        measured.load(tmp_path)


def test_what_is_measured_has_the_names_that_the_model_looks_for() -> None:
    taken = [*measure.handshakes(5), *measure.checks(200)]
    assert {name for name, *_ in taken} <= set(measured.MEASURED)
    assert all(value > 0 for name, value, *_ in taken if name in ("handshake_us", "redis_counter_bytes"))


def test_the_document_has_the_tables_that_the_model_prints() -> None:
    text = document.FILE.read_text()
    assert document.renewed(text, FIGURES) == text, "scripts/capacity --document prints them anew"


def test_a_table_that_drifted_is_noticed() -> None:
    text = document.FILE.read_text()
    other = measured.given(FIGURES, {"get_us": FIGURES["get_us"].value * 1.5})
    assert document.renewed(text, other) != text
    with pytest.raises(LookupError):
        document.renewed(text.replace("<!-- capacity:plans -->", ""), FIGURES)


def test_the_numbers_in_its_prose_are_those_of_the_plans() -> None:
    text = " ".join(document.FILE.read_text().split())
    first, many, most, _ = (report.worked(scenario, FIGURES) for scenario in SCENARIOS)
    many_redis, most_redis = (f"{of.plan.redis.primaries}" for of in (many, most))
    told = f"{many_redis} of them for {many.plan.fleet.replicas} replicas, {most_redis} for {most.plan.fleet.replicas}"
    assert told in text
    reached = {limit.name: report.rounded(limit.reached or 1) for limit in first.limits}
    assert f"{reached['client connections of a worker']} requests a second on the first plan" in text
    assert f"some {reached['CPU of a Redis']} checks a second" in text


def test_the_command_prints_a_plan() -> None:
    asked = [
        str(ROOT / "scripts" / "capacity"),
        "--requests",
        "5000",
        "--like",
        "1",
        "--figures",
        "--figure",
        "get_us=99",
    ]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, env={**os.environ})
    assert "replicas" in done.stdout
    assert "99 µs" in done.stdout
    assert "ports of a replica" in done.stdout


def test_its_json_has_plan_limits_and_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--requests", "1000", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["plan"]["fleet"]["replicas"] == planned(Demand(requests=1000)).fleet.replicas
    assert found["figures"]["get_us"]["source"].startswith("docs/benchmarks/")
    assert {limit["name"] for limit in found["limits"]} >= {"CPU of a worker", "CPU of a Redis"}


@pytest.mark.parametrize(
    "asked",
    [
        ["--requests", "0"],
        ["--requests", "1e-300"],
        ["--figure", "none=1"],
        ["--figure", "get_us=-1"],
        ["--figure", "get_us=1e300"],
        ["--form", "2"],
    ],
    ids=" ".join,
)
def test_the_command_says_what_is_wrong(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(asked) == 2
    assert capsys.readouterr().err.startswith("scripts/capacity: ")


@pytest.mark.parametrize("asked", ["--requests 1e-9", "--gap-s 1e18", "--nic-gbit 1e-9", "--cores 1000000000000000000"])
def test_no_number_is_a_row_of_noughts(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(asked.split()) == 0
    assert "00000000" not in capsys.readouterr().out.replace(",", "")
