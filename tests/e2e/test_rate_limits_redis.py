"""Limits that two gateways share through a real Redis, while it answers, stands still, and is gone."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.redis_server import RedisServer

from .harness import Backend, Gateway, elapsed, eventually, request, running, write_table
from .harness.guards import assert_limited, grown
from .harness.tokens import as_user

pytestmark = pytest.mark.alone  # some let Redis stand still, and measure who waits for it

ROUTES = """
auth = "public"
upstream = "main"
[[route]]
path = "/five/{rest:path}"
rate_limit = "5/minute"
[[route]]
path = "/login"
rate_limit = "5/minute login"
[[route]]
path = "/forty"
rate_limit = "40/minute"
[[route]]
path = "/plenty"
rate_limit = "1000000/minute"
[[route]]
path = "/account"
rate_limit = "5/minute"
rate_limit_by = ["client", "form:email"]
[[route]]
path = "/members"
auth = "required"
rate_limit = "5/minute"
"""
DECISIONS = "gateway_ratelimit_decisions_total"
LONG = "10"
SHORT = "1"
"""Seconds that a check gives Redis: more than it ever needs, so that a busy machine changes no answer; and what tests
wait for that let it stand still."""
SLOW = 3.0
"""Seconds that an answer may take at most then: the tests' machine is busy."""
URLENCODED = "Content-Type: application/x-www-form-urlencoded"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """The server that both gateways of `pair` use."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> Path:
    """Routes with limits."""
    return write_table(tmp_path_factory.mktemp("redis") / "config", f'main = {{ url = "{backend.url}" }}', ROUTES)


def sharing(config: Path, url: str, timeout: str = LONG, **settings: str) -> contextlib.AbstractContextManager[Gateway]:
    """A gateway that counts in a Redis."""
    told = {
        "GATEWAY_REDIS_URL": url,
        "GATEWAY_REDIS_TIMEOUT": timeout,
        "GATEWAY_RATE_LIMIT": "600/minute",
        "GATEWAY_TRUSTED_PROXIES": "127.0.0.0/8",
    }
    return running(config, **told, GATEWAY_AUTH_MODE="enforce", **settings)


@pytest.fixture(scope="module")
def pair(config: Path, redis: RedisServer) -> Iterator[tuple[Gateway, Gateway]]:
    """Two machines, as far as they know; the first has two workers."""
    with sharing(config, redis.url, GATEWAY_WORKERS="2") as first, sharing(config, redis.url) as second:
        yield first, second


@pytest.fixture
def own(config: Path) -> Iterator[tuple[Gateway, RedisServer]]:
    """A gateway and a Redis of one test's own."""
    with RedisServer() as server, sharing(config, server.url, SHORT) as gateway:
        eventually(lambda: "redis" in backends(gateway), "Redis decides")
        yield gateway, server


def client() -> str:
    """The field line of an address that no other test uses."""
    number = next(_numbers)
    return f"X-Forwarded-For: 198.18.{number >> 8}.{number & 255}"


def backends(gateway: Gateway, raw: bytes | None = None) -> set[str]:
    """Which backends decide on one request, by the metric."""
    grew = grown(gateway, DECISIONS, lambda: gateway.ask(raw or request("GET", "/plenty", client())))
    return {labels[0] for labels in grew}  # backend, decision, policy


def passed(gateways: tuple[Gateway, ...], raws: list[bytes]) -> int:
    """How many of the requests pass, dealt out to the gateways in turn and all sent at once."""
    clients = [gateway.client(timeout=30) for gateway, _ in zip(itertools.cycle(gateways), raws, strict=False)]
    for each, raw in zip(clients, raws, strict=True):
        each.send(raw)
    statuses = Counter(each.read().status for each in clients)
    for each in clients:
        each.leave()
    assert set(statuses) <= {200, 429}
    return statuses[200]


def test_two_gateways_share_one_count(pair: tuple[Gateway, Gateway]) -> None:
    here = client()
    assert passed(pair, [request("GET", "/five/a", here)] * 100) == 5
    assert_limited(pair[0].get("/five/a", here), 5, 60)
    assert_limited(pair[1].get("/five/a", here), 5, 60)
    assert passed(pair, [request("GET", "/five/a", client())] * 20) == 5


def test_one_after_the_other_is_no_different(pair: tuple[Gateway, Gateway]) -> None:
    here = client()
    assert [pair[turn % 2].get("/login", here).status for turn in range(8)] == [200] * 5 + [429] * 3


def test_larger_limits_are_shared_too(pair: tuple[Gateway, Gateway]) -> None:
    assert passed(pair, [request("GET", "/forty", client())] * 100) == 40


def test_users_and_accounts_are_shared_too(pair: tuple[Gateway, Gateway]) -> None:
    user = as_user("redis-1")
    assert passed(pair, [request("GET", "/members", client(), user) for _ in range(20)]) == 5
    bodies = [b"email=%s@a.test&n=%d" % (name, number) for number in range(10) for name in (b"ann", b"ANN")]
    assert passed(pair, [request("POST", "/account", client(), URLENCODED, body=body) for body in bodies]) == 5


def test_a_request_that_one_of_its_limits_refuses_counts_for_none(pair: tuple[Gateway, Gateway]) -> None:
    here = client()
    raws = [request("POST", "/account", here, URLENCODED, body=b"email=bob%d@a.test" % number) for number in range(30)]
    assert passed(pair, raws) == 5
    again = [request("POST", "/account", client(), URLENCODED, body=b"email=bob29@a.test") for _ in range(9)]
    assert passed(pair, again) in (4, 5)


def test_failed_authentications_are_shared_too(config: Path, redis: RedisServer) -> None:
    here, bad = client(), "Authorization: Bearer a.b.c"
    settings = {"GATEWAY_AUTH_FAIL_LIMIT": "5/minute"}
    with sharing(config, redis.url, **settings) as first, sharing(config, redis.url, **settings) as second:
        refused = [(first, second)[turn % 2].get("/members", here, bad).status for turn in range(12)]
        assert refused == [401] * 5 + [429] * 7
        assert first.get("/members", here, as_user("redis-2")).status == 429


class Load:
    """Requests that go on in threads while something happens to Redis."""

    def __init__(self, gateway: Gateway, threads: int = 4) -> None:
        self._gateway, self._over = gateway, threading.Event()
        self.taken: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.broken: list[BaseException] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        assert not self.broken, self.broken[0]
        assert set(self.statuses) == {200}
        assert max(self.taken) < SLOW

    def _ask(self) -> None:
        try:
            with self._gateway.client() as connection:
                while not self._over.wait(0.003):
                    with elapsed() as taken:
                        status = connection.ask(request("GET", "/plenty", client())).status
                    self.taken.append(taken.seconds)
                    self.statuses[status] += 1
        except BaseException as error:
            self.broken.append(error)

    def goes_on(self) -> None:
        """Wait for more answers."""
        before = len(self.taken)
        eventually(lambda: len(self.taken) > before + 100, "answers go on", 10)


def told(gateway: Gateway) -> list[str]:
    """The log's warnings about Redis, but those of its return."""
    lines = [line for line in gateway.output.splitlines() if "redis" in line.lower() and " is back" not in line]
    return [line for line in lines if '"warning"' in line or '"error"' in line]


OUTAGES: dict[str, tuple[Callable[[RedisServer], None], Callable[[RedisServer], None]]] = {
    "stopped": (RedisServer.stop, RedisServer.start),
    "standing still": (RedisServer.pause, RedisServer.resume),
}


@pytest.mark.parametrize(("fail", "mend"), OUTAGES.values(), ids=OUTAGES)
def test_without_redis_the_local_limiter_decides_until_it_is_back(
    own: tuple[Gateway, RedisServer],
    fail: Callable[[RedisServer], None],
    mend: Callable[[RedisServer], None],
) -> None:
    gateway, server = own
    assert told(gateway) == []
    exhausted, fresh = client(), client()
    assert passed((gateway,), [request("GET", "/five/o", exhausted)] * 7) == 5
    with Load(gateway) as load:
        load.goes_on()
        fail(server)
        eventually(lambda: "redis" not in backends(gateway), "the local limiter decides", 10)
        load.goes_on()
        assert gateway.get("/five/o", exhausted).status == 429, "an outage hands out no fresh limit"
        assert passed((gateway,), [request("GET", "/five/o", fresh)] * 20) == 5
        eventually(lambda: told(gateway), "the outage is told")
        assert len(told(gateway)) == 1, told(gateway)
        mend(server)
        eventually(lambda: backends(gateway) == {"redis"}, "Redis decides again", 15)
        load.goes_on()
        assert len(told(gateway)) == 1, told(gateway)
        eventually(lambda: gateway.output.count("redis is back") == 1, "its return is told")
    assert passed((gateway,), [request("GET", "/five/o", client())] * 20) == 5


def test_a_restart_under_load_is_hardly_noticed(own: tuple[Gateway, RedisServer]) -> None:
    """Its scripts are gone with it, and every connection."""
    gateway, server = own
    with Load(gateway) as load:
        for _ in range(3):
            load.goes_on()
            server.restart()
        eventually(lambda: backends(gateway) == {"redis"}, "Redis decides again", 15)
    assert passed((gateway,), [request("GET", "/five/r", client())] * 20) == 5


def test_the_first_answers_of_an_outage_wait_in_bounded_time(own: tuple[Gateway, RedisServer]) -> None:
    gateway, server = own
    server.pause()
    with elapsed() as taken:
        assert passed((gateway,), [request("GET", "/plenty", client()) for _ in range(50)]) == 50
    assert taken.seconds < 2 * SLOW
    server.resume()


def test_a_gateway_starts_without_its_redis(config: Path) -> None:
    with RedisServer() as server:
        server.stop()
        with sharing(config, server.url, GATEWAY_WORKERS="2") as gateway:
            assert passed((gateway,), [request("GET", "/five/s", client())] * 30) == 5
            eventually(lambda: told(gateway), "the outage is told")
            assert 1 <= len(told(gateway)) <= 2, "one line a worker"
            server.start()
            eventually(lambda: "redis" in backends(gateway), "Redis decides", 15)


PASSWORD = "hunter2-and-more"


@pytest.mark.parametrize("option", ["", "--requirepass other-than-told"], ids=["none is wanted", "another is wanted"])
def test_a_refused_password_is_an_outage_and_is_not_shown(config: Path, option: str) -> None:
    with RedisServer(*option.split()) as server:
        url = server.url.replace("redis://", f"redis://:{PASSWORD}@")
        with sharing(config, url) as gateway:
            assert passed((gateway,), [request("GET", "/five/p", client())] * 30) == 5
            eventually(lambda: told(gateway), "the outage is told")
            assert len(told(gateway)) == 1
            assert PASSWORD not in gateway.output


def test_the_right_password_is_taken(config: Path) -> None:
    with RedisServer("--requirepass", PASSWORD) as server:
        url = server.url.replace("redis://", f"redis://:{PASSWORD}@")
        with sharing(config, url) as gateway:
            eventually(lambda: backends(gateway) == {"redis"}, "Redis decides")
            assert told(gateway) == []
            assert PASSWORD not in gateway.output


def test_what_redis_holds_tells_nothing_of_people_and_goes_away(
    pair: tuple[Gateway, Gateway], redis: RedisServer
) -> None:
    raw = request("POST", "/account", client(), URLENCODED, body=b"email=private-person@a.test")
    assert passed(pair, [raw]) == 1
    keys = commands(redis, "KEYS *")
    assert "private-person" not in keys
    names = [line for line in keys.split("\r\n") if line and line[0] not in "*$"]
    assert names
    left = [commands(redis, f"TTL {name}") for name in names if " " not in name]
    assert [answer for answer in left if answer.startswith(":-1")] == []


def commands(server: RedisServer, line: str) -> str:
    """Redis's answer to an inline command."""
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(f"{line}\r\nQUIT\r\n".encode())
        answer = b""
        while data := connection.recv(65536):
            answer += data
    return answer.decode("latin1")
