"""The packaged table has every line of the two lists it was written from, no more and no less."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from aiogateway.describe import route_record
from aiogateway.routes import Table, configure

DATA = Path(__file__).parent / "data"
ANY = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def lines(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


ROUTES = lines("routes.csv")


@pytest.fixture(scope="module")
def table() -> Table:
    return configure({"GATEWAY_AUTH_MODE": "off"})[1]


def key_of(category: str, path: str, methods: list[str]) -> tuple[str, str, tuple[str, ...]]:
    return category, path, tuple(sorted(methods))


def methods_of(line: dict[str, str]) -> list[str]:
    return ANY if line["methods"] == "any" else line["methods"].split("|")


def test_every_upstream_is_there_with_its_variable_and_url(table: Table) -> None:
    found = {name: (upstream.env, upstream.urls) for name, upstream in table.upstreams.items()}
    assert found == {line["name"]: (line["env"], (line["default_url"],)) for line in lines("upstreams.csv")}


def test_the_table_has_the_listed_routes_and_no_others(table: Table) -> None:
    found = [key_of(route.category, route.pattern, list(route.methods)) for route in table.routes]
    listed = [key_of(line["category"], line["path"], methods_of(line)) for line in ROUTES]
    assert sorted(found) == sorted(listed)


def test_there_is_a_file_for_each_of_twelve_categories(table: Table) -> None:
    assert {route.file for route in table.routes} == {f"routes/{line['category']}.toml" for line in ROUTES}
    assert len({route.category for route in table.routes}) == 12


TIERS = {"short": 60, "medium": 120, "long": 600}
SWITCHES = {"": None, "true": True, "false": False}


@pytest.mark.parametrize("line", ROUTES, ids=lambda line: f"{line['methods']} {line['path']}")
def test_a_route_has_the_listed_policies(table: Table, line: dict[str, str]) -> None:
    path = line["path"].replace("{rest:path}", "x/y").replace("{rest}", "zz9")
    for name in ("user_id", "item_id", "model_name", "session_id"):
        path = path.replace(f"{{{name}}}", "zz9")
    record = route_record(table.match(path).endpoint.route(methods_of(line)[0]))
    tier = line["timeout"]
    expected: dict[str, Any] = {
        "path": line["path"],
        "upstream": line["upstream"],
        "tier": tier if tier in TIERS else None,
        "timeout": TIERS[tier] if tier in TIERS else float(tier),
        "auth": line["auth"],
        "cors": line["cors"],
        "rate_limit": [line["rate_limit"] or "600/minute"],
        "max_body": {"": 1 << 20, "32 MiB": 32 << 20, "1 GiB": 1 << 30}[line["max_body"]],
        "recaptcha": bool(SWITCHES[line["recaptcha"]]),
        "upstream_path": line["upstream_path"] or None,
        "owner": line["owner"] or None,
        "roles": [line["roles"]] if line["roles"] else [],
        "cache": int(line["cache"]) if line["cache"] else None,
        "retry": SWITCHES[line["retry"]],
        "websocket": bool(SWITCHES[line["websocket"]]),
        "deprecated": line["deprecated"] or None,
    }
    assert {key: record[key] for key in expected} == expected


def test_routes_without_a_limit_of_their_own_follow_the_variable(table: Table) -> None:
    _, other = configure({"GATEWAY_AUTH_MODE": "off", "GATEWAY_RATE_LIMIT": "7/hour"})
    own = [line for line in ROUTES if line["rate_limit"]]
    limits = [str(route.rate_limit[0]) for route in other.routes if route.rate_limit]
    assert limits.count("7/hour") == len(ROUTES) - len(own)
