"""What the reports of all workers say together, and what is to be done about it."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from aiogateway.admin.hints import OVERLOADED, Figures, hints, worker_hints
from aiogateway.admin.reports import failures_view, pools_view, state_of, upstreams_view
from aiogateway.admin.views import configuration, explained
from aiogateway.errors import Problem
from aiogateway.history import INTERVAL, History, Interval
from aiogateway.routes import Table
from aiogateway.settings import read
from tests.config_folders import load

ROUTES = 'upstream = "b"\n[[route]]\npath = "/a/{x}"\nmethods = ["GET", "POST"]\n'
WALL, NOW = 1_700_000_000.0, 1000.0


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return load(tmp_path, {"test": ROUTES})


def destination(**changes: Any) -> dict[str, Any]:
    plain = {"url": "http://b:1", "up": True, "reason": None, "connect_failure": None, "breaker": "closed"}
    return {**plain, "active": 1, "idle": 2, "pending": 0, "streams": 0, **changes}


def report(slot: int = 0, *, at: float = NOW, count: int = 0, errors: int = 0, **changes: Any) -> dict[str, Any]:
    history = History(int(WALL // INTERVAL))
    for number in range(count):
        history.now.add(failed=number < errors, latency=0.01, wait=0.0)
    upstream = {"destinations": [destination(**changes)], "overflows": 0, "history": history.rows()}
    failure = {"time": WALL - slot, "request_id": f"r{slot}", "upstream": "b", "code": "upstream_timeout"}
    return {
        "slot": slot,
        "pid": 100 + slot,
        "at": at,
        "started_at": WALL - 60,
        "active": 3,
        "connections": 5,
        "lag": 0.01 * (slot + 1),
        "lost_lines": slot,
        "reload": None,
        "unready": ["draining"] if slot == 9 else [],
        "overloaded": None,
        "upstreams": {"b": upstream},
        "failures": [failure],
    }


def shown(table: Table, *reports: dict[str, Any]) -> dict[str, Any]:
    view = upstreams_view(reports, table, "1", NOW, WALL)
    (upstream,) = view["upstreams"]
    return {**view, "b": upstream}


def test_workers_are_added_up(table: Table) -> None:
    view = shown(table, report(0, count=120), report(1, count=60, errors=30))
    assert view["gateway"] | {"hints": []} == {
        "state": "ready",
        "reasons": [],
        "overloaded": None,
        "workers": 2,
        "active": 6,
        "connections": 10,
        "lag": 0.02,
        "requests_per_second": 3.0,
        "error_rate": pytest.approx(30 / 180, abs=1e-4),
        "lost_lines": 1,
        "reload": None,
        "hints": [],
    }
    b = view["b"]
    assert (b["state"], b["reason"]) == ("degraded", "30 of 180 requests failed")
    assert b["pool"] == {"active": 2, "idle": 4, "pending": 0, "streams": 0, "max_connections": 200, "use": 0.01}
    assert 0.009 <= b["p50"] <= 0.015 and b["routes"] == 1
    assert len(b["history"]["requests"]) == 60 and b["history"]["requests"][-1] == 36.0


def test_the_order_of_workers_changes_nothing(table: Table) -> None:
    reports = [
        report(0, count=7),
        report(1, count=3, up=False, reason="refused", connect_failure="refused"),
        report(2, count=9, errors=1),
    ]
    views = [shown(table, *order)["b"] for order in permutations(reports)]
    assert all(view == views[0] for view in views)


def test_a_silent_workers_gauges_do_not_count_and_its_history_does(table: Table) -> None:
    view = shown(
        table,
        report(0, count=60),
        report(1, at=NOW - 6, count=60, up=False, reason="refused", connect_failure="refused"),
    )
    assert view["gateway"]["workers"] == 1 and view["gateway"]["active"] == 3
    assert view["b"]["requests_per_second"] == 2.0 and view["b"]["state"] == "up"
    assert view["b"]["pool"]["max_connections"] == 100
    assert [worker["age"] for worker in view["workers"]] == [0.0, 6.0]


def test_a_worker_that_drains_makes_the_gateway_unready(table: Table) -> None:
    gateway = shown(table, report(0), report(9))["gateway"]
    assert (gateway["state"], gateway["reasons"]) == ("unready", ["draining"])


@pytest.mark.parametrize(
    ("destinations", "requests", "errors", "pending", "state"),
    [
        ([destination()], 0, 0, 0, "idle"),
        ([destination()], 10, 0, 0, "up"),
        ([destination()], 100, 4, 0, "up"),
        ([destination()], 100, 5, 0, "degraded"),
        ([destination()], 4, 4, 0, "up"),
        ([destination()], 10, 0, 1, "degraded"),
        ([destination(), destination(up=False, reason="dns", connect_failure="dns")], 10, 0, 0, "degraded"),
        ([destination(up=False, reason="dns", connect_failure="dns")], 0, 0, 0, "down"),
        ([destination(up=False, reason="ejected"), destination()], 0, 0, 0, "degraded"),
        ([destination(up=False, reason="circuit open", breaker="open")], 0, 0, 0, "down"),
    ],
)
def test_the_state_of_an_upstream(
    destinations: list[dict[str, Any]], requests: int, errors: int, pending: int, state: str
) -> None:
    assert state_of(destinations, Interval(1, requests, errors), pending)[0] == state


def test_failures_are_those_of_all_workers_newest_first() -> None:
    found = failures_view([report(2), report(0), report(1)], WALL)["failures"]
    assert [(failure["request_id"], failure["worker"]) for failure in found] == [("r0", 0), ("r1", 1), ("r2", 2)]


def test_pools_show_each_worker_and_the_sum(table: Table) -> None:
    (pool,) = pools_view([report(0), report(1, active=4)], table, NOW, WALL)["pools"]
    assert (pool["active"], [each["active"] for each in pool["workers"]]) == (5, [1, 4])
    assert pool["settings"]["max_connections"] == 100 and pool["limits"]["max_connections"] == 200


FINE: dict[str, Any] = {"wait": None, "waited": 0.0, "overflows": 0, "streams": 0, "reasons": {}, "timeouts": 0}


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({}, None),
        ({"wait": 1.2, "waited": 0.001}, None),
        ({"wait": 0.05, "waited": 0.5}, None),
        (
            {"wait": 1.2, "waited": 0.5},
            "b waited 1.2 s at p95 for a connection: raise GATEWAY_POOL_B_MAX_CONNECTIONS from 100",
        ),
        ({"overflows": 3}, "3 requests to b were refused because 1000 waited already"),
        ({"streams": 950}, "raise GATEWAY_POOL_B_MAX_STREAMS from 1000"),
        ({"reasons": {"http://b:1": "refused"}}, "b can't be connected to at http://b:1 (refused)"),
        ({"timeouts": 2}, "2 of the last failures of b were answers that did not come in time"),
    ],
)
def test_a_hint_appears_when_the_figures_say_so(table: Table, figures: dict[str, Any], told: str | None) -> None:
    found = hints(table.upstreams["b"], Figures(**{**FINE, **figures}))
    assert found == [] if told is None else len(found) == 1 and told in found[0]


def test_a_late_loop_is_told() -> None:
    assert worker_hints([{"lag": 0.01, "overloaded": None}]) == []
    late = worker_hints([{"lag": 0.5, "overloaded": None}, {"lag": 0.0, "overloaded": None}])
    assert "raise GATEWAY_WORKERS from 2" in late[0]


@pytest.mark.parametrize(("reason", "cure"), OVERLOADED.items())
def test_a_worker_that_refuses_requests_says_what_to_do(reason: str, cure: str) -> None:
    assert worker_hints([{"lag": 0.0, "overloaded": reason}, {"lag": 0.0, "overloaded": None}]) == [cure]


def test_what_would_happen_to_a_request_is_explained(table: Table) -> None:
    told = explained(table, "GET", "/a/1?b=2")
    assert (told["route"], told["upstream"], told["target"], told["params"]) == ("/a/{x}", "b", "/a/1?b=2", {"x": "1"})
    assert told["policies"]["auth"] == {"value": "required", "source": "default"}


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("", "/a/1", "bad_request"),
        ("GET", "", "bad_request"),
        ("GET", "a", "bad_request"),
        ("GET", "/a/..", "bad_request"),
        ("GET", "/b", "route_not_found"),
        ("DELETE", "/a/1", "method_not_allowed"),
    ],
)
def test_what_has_no_explanation_says_why(table: Table, method: str, path: str, code: str) -> None:
    with pytest.raises(Problem) as caught:
        explained(table, method, path)
    assert caught.value.code == code


def test_the_configuration_shows_sources_and_no_secret(table: Table) -> None:
    environ = {
        "JWT_SECRET": "jwt-secret-" + "k" * 32,
        "GATEWAY_ADMIN_TOKEN": "admin-secret-" + "k" * 32,
        "GATEWAY_REDIS_URL": "redis://:redis-secret@r:1/0",
        "GATEWAY_PORT": "8123",
    }
    told = configuration(read(environ), table)
    values = {each["name"]: each for each in told["settings"]}
    assert "-secret" not in str(told)
    assert values["JWT_SECRET"]["value"] == "***" and values["RECAPTCHA_SECRET_KEY"]["value"] is None
    assert values["GATEWAY_PORT"] == {"name": "GATEWAY_PORT", "value": 8123, "source": "variable GATEWAY_PORT"}
