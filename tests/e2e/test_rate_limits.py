"""Limits over two worker processes: exact counts, whose they are, and what their answers tell."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from .harness import Backend, Gateway, Response, chunked, eventually, reply, request, running, write_table
from .harness.guards import LEFT, POLICY, assert_limited, assert_refused, grown, samples
from .harness.tokens import as_user

ROUTES = """
auth = "public"
upstream = "main"
rate_limit = "5/minute"
[[route]]
path = "/five/{rest:path}"
[[route]]
path = "/login"
methods = ["POST"]
rate_limit = "5/minute login"
[[route]]
path = "/otp"
methods = ["POST"]
rate_limit = "5/minute login"
[[route]]
path = "/signup"
methods = ["POST"]
rate_limit = "5/minute signup"
[[route]]
path = "/counted"
rate_limit = "5/minute counted"
[[route]]
path = "/several"
rate_limit = ["3/second", "5/minute"]
[[route]]
path = "/quick"
rate_limit = "2/second"
[[route]]
path = "/unlimited"
rate_limit = "off"
[[route]]
path = "/members"
auth = "required"
[[route]]
path = "/guests"
auth = "optional"
[[route]]
path = "/account"
rate_limit_by = "form:email"
[[route]]
path = "/json-account"
rate_limit_by = "json:email"
[[route]]
path = "/both"
rate_limit_by = ["client", "form:email"]
"""
DEFAULTS = """
[[route]]
path = "/default/{name}"
auth = "public"
upstream = "main"
[[route]]
path = "/another"
auth = "public"
upstream = "main"
"""
URLENCODED = "Content-Type: application/x-www-form-urlencoded"
JSON = "Content-Type: application/json"
PERIOD = 60
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> Path:
    """Routes with limits of their own, and two with the default."""
    folder = tmp_path_factory.mktemp("limits") / "config"
    config = write_table(folder, f'main = {{ url = "{backend.url}" }}', ROUTES)
    (folder / "routes" / "defaults.toml").write_text(DEFAULTS)
    return config


@pytest.fixture(scope="module")
def limited(config: Path) -> Iterator[Gateway]:
    """Two workers behind a proxy that they trust, so that tests have as many addresses as they like."""
    with running(
        config,
        GATEWAY_WORKERS="2",
        GATEWAY_RATE_LIMIT="7/minute",
        GATEWAY_AUTH_MODE="enforce",
        GATEWAY_TRUSTED_PROXIES="127.0.0.0/8, 10.0.0.0/8",
    ) as gateway:
        yield gateway


def fresh() -> str:
    """An address that no other test uses."""
    number = next(_numbers)
    return f"198.18.{number >> 8}.{number & 255}"


def told_by(*addresses: str) -> str:
    """The field line in which a proxy tells its client's address."""
    return f"X-Forwarded-For: {', '.join(addresses)}"


def statuses(gateway: Gateway, raws: Sequence[bytes]) -> list[int]:
    """One after the other, each over a connection of its own."""
    return [gateway.ask(raw).status for raw in raws]


def at_once(gateway: Gateway, raws: Sequence[bytes]) -> list[Response]:
    """Every request over a connection of its own, all sent before the first answer is read."""
    clients = [gateway.client(timeout=30) for _ in raws]
    for client, raw in zip(clients, raws, strict=True):
        client.send(raw)
    answers = [client.read() for client in clients]
    for client in clients:
        client.leave()
    return answers


def test_of_200_tries_at_once_exactly_five_pass(limited: Gateway, backend: Backend) -> None:
    client = told_by(fresh())
    path = backend.serve(reply(), "/five")
    answers = at_once(limited, [request("GET", path, client)] * 200)
    assert Counter(answer.status for answer in answers) == {200: 5, 429: 195}
    assert len(backend.seen(path)) == 5
    for answer in answers:
        if answer.status == 429:
            assert_limited(answer, 5, PERIOD)


def test_the_routes_of_one_counter_share_it(limited: Gateway, backend: Backend) -> None:
    client = told_by(fresh())
    before = {path: len(backend.seen(path)) for path in ("/login", "/otp", "/signup")}
    raws = [request("POST", path, client, body=b"") for path in ("/login", "/otp") for _ in range(100)]
    assert Counter(answer.status for answer in at_once(limited, raws)) == {200: 5, 429: 195}
    assert sum(len(backend.seen(path)) - before[path] for path in ("/login", "/otp")) == 5
    signups = [request("POST", "/signup", client, body=b"")] * 7
    assert statuses(limited, signups) == [200] * 5 + [429] * 2


def test_the_default_holds_for_each_route_of_its_own(limited: Gateway) -> None:
    client = told_by(fresh())
    raws = [request("GET", f"/default/{number}", client) for number in range(9)]
    assert statuses(limited, raws) == [200] * 7 + [429] * 2
    assert statuses(limited, [request("GET", "/another", client)] * 8) == [200] * 7 + [429]


def test_every_method_of_a_route_counts(limited: Gateway, backend: Backend) -> None:
    client = told_by(fresh())
    path = backend.serve(reply(200, b""), "/five")
    methods = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH")
    raws = [request(method, path, client, *(["Content-Length: 0"] * (method[0] == "P"))) for method in methods]
    assert statuses(limited, raws) == [200] * 5 + [429]


@pytest.mark.parametrize("path", ["/five/x%2Dy", "/five/x-y?a=1", "/five/x-y", "/five/%78-y#"])
def test_spellings_of_a_path_are_no_new_counters(limited: Gateway, path: str) -> None:
    client = told_by("198.19.0.1")
    assert statuses(limited, [request("GET", "/five/x-y", client)] * 6)[-1] == 429
    assert limited.get(path.removesuffix("#"), client).status == 429


def test_all_of_several_limits_hold(limited: Gateway) -> None:
    client = told_by(fresh())
    refused = at_once(limited, [request("GET", "/several", client)] * 10)
    assert Counter(answer.status for answer in refused) == {200: 3, 429: 7}
    deadline = time.monotonic() + 5
    passed = 3
    while passed < 5:
        passed += limited.get("/several", client).status == 200
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert_limited(limited.get("/several", client), 5, PERIOD)


def test_a_refused_try_does_not_count(limited: Gateway) -> None:
    """Whoever goes on trying gets in again as soon as whoever waited."""
    client = told_by(fresh())
    end = time.monotonic() + 3.5
    passes: list[float] = []
    while time.monotonic() < end:
        if limited.get("/quick", client).status == 200:
            passes.append(time.monotonic())
    assert len(passes) >= 6
    assert all(later - earlier > 0.9 for earlier, later in zip(passes, passes[2:], strict=False))


def test_retry_after_tells_when(limited: Gateway) -> None:
    client = told_by(fresh())
    refused = next(answer for answer in (limited.get("/quick", client) for _ in range(9)) if answer.status == 429)
    assert_limited(refused, 2, 1)
    time.sleep(int(refused.value("retry-after") or 0))
    assert limited.get("/quick", client).status == 200


def test_what_is_left_is_told(limited: Gateway) -> None:
    client = told_by(fresh())
    answers = [limited.get("/five/told", client) for _ in range(6)]
    assert_limited(answers[-1], 5, PERIOD)
    told = [answer.value("ratelimit") for answer in answers[:-1]]
    if any(told):  # on answers that pass, the contract leaves it free
        left = [LEFT.findall(text or "") for text in told]
        assert [int(found[0][0]) for found in left] == [4, 3, 2, 1, 0]
        assert {POLICY.findall(answer.value("ratelimit-policy") or "")[0] for answer in answers} == {("5", str(PERIOD))}


def test_a_refusal_says_nothing_of_the_request(limited: Gateway) -> None:
    client = fresh()
    raw = request("GET", "/five/kept-private?key=kept-private", told_by(client), "Cookie: s=kept-private")
    refused = [limited.ask(raw) for _ in range(6)][-1]
    assert refused.status == 429
    text = "\n".join(f"{name}: {value}" for name, value in refused.head.fields) + refused.data.decode()
    assert "kept-private" not in text and client not in text


def test_users_are_told_apart_and_addresses_are_not(limited: Gateway) -> None:
    here, there = told_by(fresh()), told_by(fresh())
    mine, yours = as_user("limits-1"), as_user("limits-2")
    assert statuses(limited, [request("GET", "/members", here, mine)] * 5) == [200] * 5
    assert limited.get("/members", there, mine).status == 429
    assert limited.get("/members", here, yours).status == 200


def test_guests_are_told_apart_by_address(limited: Gateway) -> None:
    here, there = told_by(fresh()), told_by(fresh())
    user = as_user("limits-3")
    assert statuses(limited, [request("GET", "/guests", here)] * 6) == [200] * 5 + [429]
    assert limited.get("/guests", there).status == 200
    assert limited.get("/guests", here, user).status == 200
    assert limited.get("/guests", here, "Authorization: Bearer a.b.c").status in (401, 429)


def test_a_user_named_like_an_address_is_not_it(limited: Gateway) -> None:
    address = fresh()
    assert statuses(limited, [request("GET", "/guests", told_by(address))] * 6)[-1] == 429
    assert limited.get("/guests", told_by(fresh()), as_user(address)).status == 200


def test_a_token_on_a_public_route_makes_nobody_another(limited: Gateway) -> None:
    client = told_by(fresh())
    raws = [request("GET", "/five/public", client, "Authorization: Bearer " + "x." * number) for number in range(6)]
    assert statuses(limited, raws) == [200] * 5 + [429]


FORGED = {
    "made up on the left": lambda client, n: [told_by(f"203.0.113.{n}", client)],
    "made up in a field of its own": lambda client, n: [told_by(f"203.0.113.{n}"), told_by(client)],
    "garbage on the left": lambda client, n: [told_by("x" * n, "unknown", client)],
    "with a port": lambda client, n: [told_by(f"{client}:{4000 + n}")],
    "through a second trusted proxy": lambda client, n: [told_by(f"203.0.113.{n}", client, f"10.0.0.{n}")],
    "100 hops": lambda client, n: [told_by(*[f"203.0.113.{n}"] * 100, client)],
    "beside X-Real-IP": lambda client, n: [told_by(client), f"X-Real-IP: 203.0.113.{n}"],
    "beside Forwarded": lambda client, n: [told_by(client), f"Forwarded: for=203.0.113.{n}"],
}  # fmt: skip


@pytest.mark.parametrize("fields", FORGED.values(), ids=FORGED)
def test_the_address_is_read_from_the_right_through_trusted_proxies(limited: Gateway, fields: object) -> None:
    assert callable(fields)
    client = fresh()
    raws = [request("GET", "/five/forged", *fields(client, number)) for number in range(1, 8)]
    assert statuses(limited, raws) == [200] * 5 + [429] * 2


def test_addresses_of_one_ipv6_network_are_one_client(limited: Gateway) -> None:
    raws = [
        request("GET", "/five/v6", told_by(f"2001:db8:1:{net}::{host:x}")) for net in (1, 2) for host in range(1, 7)
    ]
    assert statuses(limited, raws) == ([200] * 5 + [429]) * 2


@pytest.fixture(scope="module")
def alone(config: Path) -> Iterator[Gateway]:
    """One process that trusts nobody."""
    with running(config, GATEWAY_RATE_LIMIT="600/minute") as gateway:
        yield gateway


def test_an_untrusted_peer_is_nobody_but_itself(alone: Gateway) -> None:
    raws = [
        request("GET", "/five/untrusted", told_by(fresh()), f"X-Real-IP: {fresh()}", f"Forwarded: for={fresh()}")
        for _ in range(7)
    ]
    assert statuses(alone, raws) == [200] * 5 + [429] * 2


def test_one_account_is_not_tried_from_many_addresses(limited: Gateway, backend: Backend) -> None:
    bodies = [b"email=ann@a.test&password=%d" % number for number in range(200)]
    before = len(backend.seen("/account"))
    raws = [request("POST", "/account", told_by(fresh()), URLENCODED, body=body) for body in bodies]
    answers = at_once(limited, raws)
    assert Counter(answer.status for answer in answers) == {200: 5, 429: 195}
    for answer in answers:
        if answer.status == 429:
            assert_limited(answer, 5, PERIOD)
            assert b"ann" not in answer.data
    passed = backend.seen("/account")[before:]
    assert len(passed) == 5
    assert {seen.body.data for seen in passed} <= set(bodies)
    assert limited.send("POST", "/account", told_by(fresh()), URLENCODED, body=b"email=bob@a.test").status == 200
    assert "a.test" not in limited.output


def multipart(email: str) -> bytes:
    """A form of one field."""
    return f'--e\r\nContent-Disposition: form-data; name="email"\r\n\r\n{email}\r\n--e--\r\n'.encode()


VARIANTS = {
    "capitals": (URLENCODED, b"email=CAROL@A.TEST"),
    "mixed case": (URLENCODED, b"email=Carol@a.Test"),
    "percent-encoded": (URLENCODED, b"email=%63arol%40a.test"),
    "its name percent-encoded": (URLENCODED, b"e%6Dail=carol@a.test"),
    "behind other fields": (URLENCODED, b"a=1&b=2&email=carol@a.test&c=3"),
    "a space behind it": (URLENCODED, b"email=carol@a.test+"),
    "a space before it": (URLENCODED, b"email=+carol@a.test"),
    "multipart": ("Content-Type: multipart/form-data; boundary=e", multipart("carol@a.test")),
    "multipart, capitals": ("Content-Type: multipart/form-data; boundary=e", multipart("cAROL@a.test")),
}


@pytest.fixture(scope="module")
def tried(limited: Gateway) -> Gateway:
    """The gateway, once the account has been tried as often as it may be."""
    raw = [request("POST", "/account", told_by(fresh()), URLENCODED, body=b"email=carol@a.test") for _ in range(6)]
    assert statuses(limited, raw) == [200] * 5 + [429]
    return limited


@pytest.mark.parametrize(("kind", "body"), VARIANTS.values(), ids=VARIANTS)
def test_spellings_of_an_account_are_no_other_accounts(tried: Gateway, kind: str, body: bytes) -> None:
    assert tried.send("POST", "/account", told_by(fresh()), kind, body=body).status == 429
    in_chunks = request("POST", "/account", told_by(fresh()), kind, "Transfer-Encoding: chunked")
    assert tried.ask(in_chunks + chunked(*(body[at : at + 3] for at in range(0, len(body), 3)))).status == 429


EVASIONS = {
    "twice": (URLENCODED, b"email=dave@a.test&email=x%d@a.test"),
    "twice, the other first": (URLENCODED, b"email=x%d@a.test&email=dave@a.test"),
    "absent": (URLENCODED, b"mail=x%d@a.test"),
    "empty": (URLENCODED, b"email=&x=%d"),
    "another kind": ("Content-Type: text/plain", b"email=x%d@a.test"),
}


@pytest.mark.parametrize(("kind", "body"), EVASIONS.values(), ids=EVASIONS)
def test_forms_that_hide_the_account_are_limited_or_refused(
    limited: Gateway, backend: Backend, kind: str, body: bytes
) -> None:
    before = len(backend.seen("/account"))
    raws = [request("POST", "/account", told_by("198.19.0.2"), kind, body=body % number) for number in range(12)]
    assert max(statuses(limited, raws)) < 500
    assert len(backend.seen("/account")) - before <= 5


def test_an_account_in_json_is_counted_too(limited: Gateway) -> None:
    raws = [
        request("POST", "/json-account", told_by(fresh()), JSON, body=b'{"n":%d,"email":"%s"}' % (number, email))
        for number, email in enumerate([b"eve@a.test", b"EVE@a.test", b"\\u0065ve@a.test"] * 3)
    ]
    assert statuses(limited, raws) == [200] * 5 + [429] * 4


def test_a_form_too_large_to_count_by_is_refused(limited: Gateway, backend: Backend) -> None:
    before = len(backend.seen("/account"))
    body = b"email=frank@a.test&x=" + b"x" * (65 << 10)
    assert_refused(limited.send("POST", "/account", told_by(fresh()), URLENCODED, body=body), "body_too_large")
    head = request("POST", "/account", told_by(fresh()), URLENCODED, "Transfer-Encoding: chunked")
    assert_refused(limited.ask(head + chunked(body)), "body_too_large")
    assert len(backend.seen("/account")) == before


def test_the_clients_count_and_the_accounts_are_two(limited: Gateway) -> None:
    one = told_by(fresh())
    by_client = [request("POST", "/both", one, URLENCODED, body=b"email=g%d@a.test" % n) for n in range(7)]
    assert statuses(limited, by_client) == [200] * 5 + [429] * 2
    by_account = [request("POST", "/both", told_by(fresh()), URLENCODED, body=b"email=hal@a.test") for _ in range(7)]
    assert statuses(limited, by_account) == [200] * 5 + [429] * 2
    assert limited.send("POST", "/both", told_by(fresh()), URLENCODED, body=b"email=ida@a.test").status == 200


def test_preflights_are_free(limited: Gateway) -> None:
    client = told_by(fresh())
    asking = ("Origin: http://localhost:3000", "Access-Control-Request-Method: GET")
    preflight = request("OPTIONS", "/five/preflights", client, *asking)
    assert all(status < 300 for status in statuses(limited, [preflight] * 12))
    assert statuses(limited, [request("GET", "/five/preflights", client)] * 6) == [200] * 5 + [429]
    assert limited.ask(preflight).status < 300


def test_a_route_without_a_limit_tells_none(limited: Gateway) -> None:
    client = told_by(fresh())
    answers = at_once(limited, [request("GET", "/unlimited", client)] * 50)
    assert {answer.status for answer in answers} == {200}
    assert not any(answer.values("ratelimit") + answer.values("ratelimit-policy") for answer in answers)


def test_limits_switched_off_are_all_off_and_reported(config: Path) -> None:
    with running(config, GATEWAY_RATE_LIMIT="off") as gateway:
        assert set(statuses(gateway, [request("POST", "/login", body=b"")] * 12)) == {200}
        assert set(statuses(gateway, [request("GET", "/default/x")] * 12)) == {200}
        warned = [line for line in gateway.output.splitlines() if "GATEWAY_RATE_LIMIT" in line and "warn" in line]
        assert len(warned) == 1


DECISIONS = "gateway_ratelimit_decisions_total"


def test_decisions_are_on_the_admin_listener(alone: Gateway) -> None:
    grew = grown(alone, DECISIONS, lambda: statuses(alone, [request("POST", "/signup", body=b"")] * 20))
    assert sorted(grew.values()) == [5, 15]
    text = alone.admin("/metrics").data.decode()
    (line, *_) = [line for line in text.splitlines() if line.startswith(DECISIONS)]
    assert all(f'{label}="' in line for label in ("policy", "decision", "backend"))


def test_every_scrape_counts_the_decisions_of_all_workers(limited: Gateway) -> None:
    """Counters that go down between two scrapes are restarts to Prometheus, and rates of nonsense."""

    def total() -> float:
        return sum(value for labels, value in samples(limited, DECISIONS).items() if "5/minute counted" in labels)

    at_once(limited, [request("GET", "/counted", told_by(fresh()))] * 40)
    eventually(lambda: total() == 40, "40 decisions are counted")
    assert [total() for _ in range(12)] == [40] * 12
