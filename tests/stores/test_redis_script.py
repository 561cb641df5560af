"""The script in a real Redis, at times that the test gives it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from aiogateway.stores.checks import Checks, Unavailable
from aiogateway.stores.redis_script import PREFIX, SCRIPT, command_for, verdicts_from
from aiogateway.stores.windows import Policy, Verdict
from tests.redis_server import RedisServer

CLOCK = "redis.call('TIME')"
# The last two arguments are the time.
TIMED = SCRIPT.replace(CLOCK, "{ARGV[#ARGV - 1], ARGV[#ARGV]}")
SECOND = 10**6
START = 1_800_000_000 * SECOND

LOGIN = Policy("3/minute", 3, 60, "login", logged=True)
LOGIN_FEWER = Policy("2/minute", 2, 60, "login", logged=True)
ROUTE = Policy("12/minute", 12, 60, "route", logged=False)
POLICIES = (LOGIN, LOGIN_FEWER, ROUTE)


class Server:
    """Runs the script at a given time."""

    def __init__(self, port: int) -> None:
        self.redis = Redis(port=port)
        self._sha = self.redis.script_load(TIMED)

    def take(self, checks: Checks, now: int) -> list[Verdict]:
        _, _, count, *arguments = command_for(checks)
        reply = self.redis.evalsha(self._sha, int(count), *arguments, now // SECOND, now % SECOND)
        return verdicts_from(reply, len(checks))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with RedisServer() as process:
        found = Server(process.port)
        yield found
        found.redis.close()


@pytest.fixture(autouse=True)
def empty(server: Server) -> None:
    server.redis.flushall()


def test_the_script_asks_for_the_time_once() -> None:
    assert SCRIPT.count(CLOCK) == 1


class Model:
    """Every counter as a list of all its events, in microseconds."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, str], list[int]] = {}

    def look(self, policy: Policy, who: str, now: int) -> Verdict:
        """What a policy would say to an event, before it is counted."""
        span, width = policy.period * SECOND, policy.period * SECOND // 10
        events = self.events.get((policy.scope, who), [])
        assert sum(now - event <= span for event in events) <= max(p.limit for p in POLICIES if p.scope == policy.scope)
        if policy.logged:
            leaves = sorted(event + span + 1 for event in events if now - event <= span)
        else:
            leaves = sorted(end for event in events if (end := (event // width + 11) * width) > now)
        room = policy.limit - len(leaves)
        if room <= 0:
            return Verdict(False, 0, (leaves[-room] - now) / SECOND)
        return Verdict(True, room, (leaves[0] - now) / SECOND if leaves else 0.0)

    def take(self, checks: Checks, now: int) -> list[Verdict]:
        before = [self.look(policy, who, now) for policy, who in checks]
        if not all(verdict.admitted for verdict in before):
            return before
        for key in {(policy.scope, who) for policy, who in checks}:
            self.events.setdefault(key, []).append(now)
        after = [self.look(policy, who, now) for policy, who in checks]
        return [Verdict(True, verdict.remaining - 1, later.reset) for verdict, later in zip(before, after, strict=True)]


some_checks = st.lists(st.tuples(st.sampled_from(POLICIES), st.sampled_from("ab")), max_size=4)
waits = st.sampled_from([0, 0, 1, 6 * SECOND, 60 * SECOND, 66 * SECOND, 600 * SECOND]) | st.integers(0, 70 * SECOND)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 60 * SECOND), st.lists(st.tuples(some_checks, waits, st.integers(0, 1)), max_size=30))
def test_verdicts_are_those_of_the_windows(
    server: Server, offset: int, asked: list[tuple[list[tuple[Policy, str]], int, int]]
) -> None:
    server.redis.flushall()
    model, now = Model(), START + offset
    for checks, wait, beside in asked:
        now += wait + beside
        assert server.take(checks, now) == model.take(checks, now)


@pytest.mark.parametrize("policy", [LOGIN, ROUTE])
def test_a_clock_that_is_put_back_forgets_nothing_for_a_period(server: Server, policy: Policy) -> None:
    checks = [(policy, "a")]
    for _ in range(policy.limit):
        assert server.take(checks, START)[0].admitted
    for back in (1, 30 * SECOND, 59 * SECOND):
        (refused,) = server.take(checks, START - back)
        assert not refused.admitted
        assert 0 < refused.reset <= 66.000001
    assert server.take(checks, START - 3600 * SECOND)[0].admitted, "what lies further ahead would never pass"


def test_what_a_counter_holds_is_bounded_and_expires(server: Server) -> None:
    log, counts = Policy("p", 10, 60, "log", logged=True), Policy("p", 10**9, 60, "counts", logged=False)
    now = START
    for step in range(400):
        now += (7 * SECOND, 13 * SECOND, -11 * SECOND, 900 * SECOND)[step % 4]
        server.take([(log, "a")], now)
        server.take([(counts, "a")], now)
    by_kind = {server.redis.type(key): key for key in server.redis.scan_iter()}
    assert server.redis.llen(by_kind[b"list"]) <= 10
    assert server.redis.hlen(by_kind[b"hash"]) <= 21
    for key in by_kind.values():
        # An event of now counts for 66 seconds at most; some more do no harm.
        assert 66_000 < server.redis.pttl(key) < 70_000


def test_no_name_can_be_read_in_redis_and_all_keys_are_in_one_slot(server: Server) -> None:
    names = ["203.0.113.7", "ada@example.com", "user:42", "\udcff\0"]
    policies = [Policy("p", 5, 60, "route POST /v2/login", logged=True), ROUTE]
    for name in names:
        server.take([(policy, name) for policy in policies], START)
    keys = [key.decode() for key in server.redis.scan_iter()]
    assert len(keys) == 8
    assert all(key.startswith(PREFIX) and len(key) == len(PREFIX) + 32 for key in keys)
    assert all(set(key.removeprefix(PREFIX)) <= set("0123456789abcdef") for key in keys)
    assert PREFIX == "aiogateway:limit:{counters}:"


def test_keys_are_the_same_everywhere() -> None:
    assert command_for([(LOGIN, "user:1")])[3] == PREFIX + "cb9987802a14f4cc6944e6ae81244579"


def test_kinds_and_periods_of_one_scope_are_counters_of_their_own(server: Server) -> None:
    kinds = [Policy("p", 1, period, "same", logged) for period in (60, 3600) for logged in (True, False)]
    assert all(verdict.admitted for verdict in server.take([(policy, "a") for policy in kinds], START))
    assert not any(verdict.admitted for verdict in server.take([(policy, "a") for policy in kinds], START))


@pytest.mark.parametrize(
    "reply", [b"", b"1 2", b"1 2 3 4", b"1 2 3 4 5 6", b"1 2 x", b"\xff", None, 3, [1, 2, 3], "1 2 3", ValueError("x")]
)
def test_what_is_no_answer_of_the_script_is_told(reply: object) -> None:
    with pytest.raises(Unavailable):
        verdicts_from(reply, 1)
