"""Whose count a request is, and what answers say about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aiogateway.errors import Problem
from aiogateway.metrics import Metrics
from aiogateway.metrics.families import RATE_LIMIT
from aiogateway.middlewares.rate_limit import (
    Judge,
    Policies,
    rate_limit,
    rate_limit_by_field,
    refusal,
    spelled,
)
from aiogateway.routes import Route, Table
from aiogateway.settings.values import Rate
from aiogateway.stores import Limiter, SharedCounters, Verdict
from aiogateway.tokens import Identity
from tests.config_folders import load
from tests.middlewares.asked import head, ok, request

ROUTES = """
upstream = "b"
auth = "public"
[[route]]
path = "/login"
rate_limit = "5/minute login"
[[route]]
path = "/login1"
rate_limit = ["3/minute login", "100/hour login"]
rate_limit_by = ["client", "form:email"]
[[route]]
path = "/signup"
rate_limit = "20/minute signup"
[[route]]
path = "/signup1"
rate_limit = "5/minute signup"
[[route]]
path = "/own"
rate_limit = "5/minute"
[[route]]
path = "/default"
[[route]]
path = "/free"
rate_limit = "off"
"""


class Clock:
    """Nanoseconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 10**15

    def __call__(self) -> int:
        return self.now


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    folder: Path = tmp_path_factory.mktemp("config")
    return load(folder, ROUTES)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> Iterator[Limiter]:
    counters = SharedCounters(capacity=1000, clock=clock)
    yield Limiter(counters, None)
    counters.close()


def route(table: Table, path: str) -> Route:
    return table.match(path).endpoint.route("POST")


def test_routes_that_name_a_counter_share_it_and_others_have_their_own(table: Table) -> None:
    policies = Policies(table.routes, (Rate(30, 60),))
    (login,) = policies.of(route(table, "/login"), "client")
    minute, hour = policies.of(route(table, "/login1"), "client")
    (own,) = policies.of(route(table, "/own"), "client")
    (default,) = policies.of(route(table, "/default"), "client")
    by_email = policies.of(route(table, "/login1"), "form:email")
    assert login.scope == minute.scope and (login.limit, minute.limit) == (5, 3)
    scopes = {minute.scope, hour.scope, own.scope, default.scope, *(policy.scope for policy in by_email)}
    assert len(scopes | {policies.auth_failures[0].scope}) == 7
    assert (default.limit, default.period) == (600, 60)
    assert policies.of(route(table, "/free"), "client") == ()


def test_limits_of_one_counter_keep_it_in_one_form(table: Table) -> None:
    policies = Policies(table.routes, ())
    high, low = (policies.of(route(table, path), "client")[0] for path in ("/signup", "/signup1"))
    assert (high.logged, low.logged) == (False, False)
    assert policies.of(route(table, "/own"), "client")[0].logged


async def test_a_request_over_the_limit_is_refused_until_there_is_room(
    table: Table, limiter: Limiter, clock: Clock
) -> None:
    handler = rate_limit(ok, Policies(table.routes, ()).of(route(table, "/own"), "client"), limiter, Metrics())
    for left in (4, 3, 2, 1, 0):
        asked = request(head())
        await handler(asked)
        assert asked.due == [b'RateLimit: "5/minute";r=%d;t=60\r\nRateLimit-Policy: "5/minute";q=5;w=60' % left]
    asked = request(head())
    with pytest.raises(Problem) as caught:
        await handler(asked)
    assert caught.value.code == "rate_limited"
    assert dict(caught.value.headers)["Retry-After"] == "60"
    assert b'"5/minute";r=0' in asked.due[0]
    clock.now += 61 * 10**9
    await handler(request(head()))


async def test_a_user_has_one_count_wherever_they_are_and_an_address_another(table: Table, limiter: Limiter) -> None:
    handler = rate_limit(ok, Policies(table.routes, ()).of(route(table, "/own"), "client"), limiter, Metrics())

    async def ask(user: str | None, peer: str) -> bool:
        asked = request(head())
        asked.connection.peer = peer
        asked.identity = None if user is None else Identity(user, (), 0.0, b"")
        try:
            await handler(asked)
        except Problem:
            return False
        return True

    assert [await ask("u1", f"192.0.2.{n}") for n in range(6)] == [True] * 5 + [False]
    assert await ask("u2", "192.0.2.1")
    assert [await ask(None, f"2001:db8::{n}") for n in range(6)] == [True] * 5 + [False]
    assert await ask(None, "2001:db8:0:1::1")
    assert await ask(None, "192.0.2.1")


async def test_an_account_is_tried_from_many_addresses_no_more_often_than_from_one(
    table: Table, limiter: Limiter
) -> None:
    by = {"form:email": Policies(table.routes, ()).of(route(table, "/login1"), "form:email")}
    handler = rate_limit_by_field(ok, by, limiter, Metrics())

    async def ask(values: tuple[bytes, ...], peer: str) -> bool:
        asked = request(head())
        asked.connection.peer = peer
        asked.fields = {"form:email": values}
        try:
            await handler(asked)
        except Problem as problem:
            assert problem.code == "rate_limited" and b"r=0" in asked.due[0]
            return False
        assert asked.due == []
        return True

    spellings = (b"A@b.c", b"\x01a@B.c ", "\uff41\u0301\u200b@b.c".encode(), "\ufeffa@b.c".encode())
    assert [await ask((spelling,), f"192.0.2.{n}") for n, spelling in enumerate(spellings)] == [True] * 3 + [False]
    assert await ask((b"other@b.c",), "192.0.2.1")
    assert [await ask((), "192.0.2.9") for _ in range(4)] == [True] * 3 + [False]


async def test_a_repeated_field_is_nobodys_count(table: Table, limiter: Limiter) -> None:
    handler = rate_limit_by_field(ok, {"form:email": ()}, limiter, Metrics())
    asked = request(head())
    asked.fields = {"form:email": (b"a", b"b")}
    with pytest.raises(Problem) as caught:
        await handler(asked)
    assert caught.value.code == "bad_request"


async def test_decisions_are_counted_by_policy(table: Table, limiter: Limiter) -> None:
    metrics = Metrics()
    handler = rate_limit(ok, Policies(table.routes, ()).of(route(table, "/login"), "client"), limiter, metrics)
    for _ in range(5):
        await handler(request(head()))
    with pytest.raises(Problem):
        await handler(request(head()))
    counted = {
        decision: metrics.count(RATE_LIMIT, "5/minute login", decision, "local").events
        for decision in ("admitted", "refused")
    }
    assert counted == {"admitted": 5, "refused": 1}


def test_the_longest_wait_of_several_is_told() -> None:
    verdicts = [Verdict(True, 3, 900.0), Verdict(False, 0, 0.2), Verdict(False, 0, 7.1)]
    assert dict(refusal(verdicts).headers)["Retry-After"] == "8"
    assert dict(refusal(verdicts[:2]).headers)["Retry-After"] == "1"


def test_several_limits_are_members_of_one_list(table: Table) -> None:
    judge = Judge(Policies(table.routes, ()).of(route(table, "/login1"), "client"), Metrics())
    assert judge.lines([Verdict(True, 2, 59.5), Verdict(True, 99, 3600.0)]) == (
        b'RateLimit: "3/minute login";r=2;t=60, "100/hour login";r=99;t=3600\r\n'
        b'RateLimit-Policy: "3/minute login";q=3;w=60, "100/hour login";q=100;w=3600'
    )


@pytest.mark.parametrize("value", [b"", b"\xff\xfe", "\u00df".encode(), b" x "])
def test_any_bytes_have_a_folded_spelling(value: bytes) -> None:
    assert spelled(spelled(value).encode()) == spelled(value)


def test_what_is_too_long_for_an_account_is_refused_before_it_is_looked_at() -> None:
    assert spelled(b"a@b.c" + b" " * 60_000) == "a@b.c"
    for value in (b"a" * 321, ("\u0300" * 16000 + "\u0316" * 16000).encode()):
        with pytest.raises(Problem) as caught:
            spelled(value)
        assert caught.value.code == "bad_request"
