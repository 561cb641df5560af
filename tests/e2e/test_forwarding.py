"""What goes to the upstream and what comes back: targets, methods, fields (contract, "To and from the upstream")."""

from __future__ import annotations

import pytest

from .harness import Backend, Gateway, Seen, assert_problem, reply

TARGETS = (
    "?q=%27%3A%2F",
    "/a%27b/c%20d%3Ae?q=%28%3A&q=2&empty=&p=%2F",
    "?a=1?b=2?",
    "?",
    "/x?",
    "?&&=&",
    "?a=%2f%2F%e2%82%ac",
    "/~user/(x)/a%3Bb=1/@:!$&'*+,=",
    "/%E2%82%AC/%e2%82%ac",
    "?q=a+b%20c",
    "?filter[]=1&filter[]=2",
    "/x/y/",
    "/.hidden/...",
    "/%41%42",
    "?url=http://other.test/?x=y",
)


@pytest.mark.parametrize("tail", TARGETS)
def test_path_and_query_go_on_byte_for_byte(gateway: Gateway, backend: Backend, tail: str) -> None:
    path = backend.serve(reply())
    assert gateway.get(path + tail).status == 200
    assert backend.one(path).target == path + tail


def test_an_absolute_target_goes_on_as_a_path(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply())
    assert gateway.get(f"http://gateway.test{path}?a=%27").status == 200
    assert backend.one(path).target == path + "?a=%27"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"])
def test_every_method_goes_on(gateway: Gateway, backend: Backend, method: str) -> None:
    path = backend.serve(reply(200, b""))
    assert gateway.send(method, path).status == 200
    assert backend.one(path).method == method


def fields_sent(gateway: Gateway, backend: Backend, *lines: str) -> Seen:
    """What the upstream got of a GET with these field lines."""
    path = backend.serve(reply())
    assert gateway.get(path, *lines).status == 200
    return backend.one(path)


def test_fields_go_on_repeated_and_in_order_with_their_bytes(gateway: Gateway, backend: Backend) -> None:
    seen = fields_sent(
        gateway, backend, "X-Tag: a", 'Cookie: x=1; y="2"', "X-Tag: b", "X-Latin: \xe9\xff", "X-Empty:", "X-Tag: a, c"
    )
    assert seen.values("x-tag") == ["a", "b", "a, c"]
    assert seen.values("x-latin") == ["\xe9\xff"]
    assert seen.values("x-empty") == [""]
    assert seen.values("cookie") == ['x=1; y="2"']


def test_authorization_and_unknown_fields_go_on(gateway: Gateway, backend: Backend) -> None:
    seen = fields_sent(gateway, backend, "Authorization: Bearer a.b.c", "X-Custom: 1", "Accept: */*", "User-Agent: t/1")
    assert seen.value("authorization") == "Bearer a.b.c"
    assert seen.value("x-custom") == "1"
    assert seen.value("user-agent") == "t/1"


REMOVED_ON_THE_WAY_IN = {
    "Keep-Alive": ["Keep-Alive: timeout=5"],
    "TE": ["TE: trailers", "Connection: TE"],
    "Proxy-Connection": ["Proxy-Connection: keep-alive"],
    "an upgrade to h2c": ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"],
    "one that Connection names": ["Connection: X-Named", "X-Named: 1"],
    "those that Connection names": [
        "Connection: keep-alive, X-One,x-TWO , X-three",
        "X-ONE: 1",
        "X-Two: 2",
        "x-three: 3",
    ],
    "those that several Connection fields name": ["Connection: X-One", "X-One: 1", "CONNECTION: x-two", "X-Two: 1"],
    "a repeated field that Connection names": ["X-Named: 1", "Connection: x-named", "X-Named: 2"],
    "identity": ["X-User-Id: root", "x-user-ROLES: superadmin", "X-User-Anything: 1"],
    "method overrides": ["X-HTTP-Method-Override: DELETE", "X-HTTP-Method: PUT", "X-Method-Override: PUT"],
    "names with an underscore": ["X_User_Id: root", "X_Plain: 1", "Content_Length: 7"],
    "other forwarding": [
        "Forwarded: for=6.6.6.6",
        "X-Real-IP: 6.6.6.6",
        "X-Forwarded-Port: 1",
        "X-Forwarded-Prefix: /x",
    ],
}


@pytest.mark.parametrize("lines", REMOVED_ON_THE_WAY_IN.values(), ids=REMOVED_ON_THE_WAY_IN)
def test_fields_that_must_not_reach_the_upstream_do_not(gateway: Gateway, backend: Backend, lines: list[str]) -> None:
    seen = fields_sent(gateway, backend, *lines, "X-Kept: 1")
    sent = {line.partition(":")[0].lower() for line in lines}
    assert seen.names & sent <= {"connection"}
    assert "x-kept" in seen.names
    assert not any(name in seen.values("connection") for name in sent)


def test_connection_cannot_name_away_what_the_gateway_sets(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply())
    named = "Connection: Host, Content-Length, Via, X-Request-ID, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host"
    assert gateway.send("POST", path, named, body=b"abc").status == 200
    seen = backend.one(path)
    assert seen.body.data == b"abc"
    assert seen.value("x-forwarded-for") == "127.0.0.1"
    assert {"host", "via", "x-request-id", "x-forwarded-proto", "x-forwarded-host"} <= seen.names


def test_an_untrusted_peers_forwarding_is_replaced(gateway: Gateway, backend: Backend) -> None:
    forged = [
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-For: 7.7.7.7",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil",
    ]
    seen = fields_sent(gateway, backend, *forged)
    assert seen.values("x-forwarded-for") == ["127.0.0.1"]
    assert seen.values("x-forwarded-proto") == ["http"]
    assert seen.values("x-forwarded-host") == ["gateway.test"]
    assert "6.6.6.6" not in str(seen.head)


def test_the_upstream_gets_its_own_host(gateway: Gateway, backend: Backend) -> None:
    assert fields_sent(gateway, backend).values("host") == [f"127.0.0.1:{backend.port}"]


def test_via_names_the_gateway_after_those_before_it(gateway: Gateway, backend: Backend) -> None:
    own = fields_sent(gateway, backend).value("via")
    assert own is not None
    assert own.startswith("1.1 ")
    assert ", ".join(fields_sent(gateway, backend, "Via: 1.0 fred").values("via")) == f"1.0 fred, {own}"


def test_a_request_that_came_through_three_times_is_a_loop(gateway: Gateway, backend: Backend) -> None:
    own = fields_sent(gateway, backend).value("via")
    path = backend.serve(reply())
    assert_problem(gateway.get(path, f"Via: {own}, {own}, {own}"), "loop_detected")
    assert_problem(gateway.get(path, f"Via: {own}", f"Via: {own}, 1.1 other", f"Via: {own}"), "loop_detected")
    assert not backend.seen(path)
    assert gateway.get(path, f"Via: {own}, {own}").status == 200


def test_a_request_id_is_made_and_the_same_on_both_sides(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, b"{}", "X-Request-ID: the-backends-own"))
    answers = [gateway.get(path) for _ in range(3)]
    made = [answer.value("x-request-id") for answer in answers]
    assert made == [seen.value("x-request-id") for seen in backend.seen(path)]
    assert len(set(made)) == 3
    assert all(made)


def test_a_request_id_is_accepted_and_echoed(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply())
    assert gateway.get(path, "X-Request-ID: abc-123").value("x-request-id") == "abc-123"
    assert backend.one(path).values("x-request-id") == ["abc-123"]


ERRORS = {"no route": ("GET", "/none"), "wrong method": ("POST", "/read-only/x"), "no upstream": ("GET", "/refused/x")}


@pytest.mark.parametrize(("method", "target"), ERRORS.values(), ids=ERRORS)
def test_errors_carry_the_request_id_too(gateway: Gateway, method: str, target: str) -> None:
    answer = gateway.send(method, target, "X-Request-ID: abc-123")
    assert answer.value("x-request-id") == "abc-123"
    assert answer.json()["request_id"] == "abc-123"
    assert gateway.send(method, target).value("x-request-id")


def fields_got(gateway: Gateway, backend: Backend, *lines: str) -> list[tuple[str, str]]:
    """What the client gets of an upstream's answer with these field lines."""
    answer = gateway.get(backend.serve(reply(200, b"{}", *lines)))
    assert answer.json() == {}
    return answer.head.fields


def test_the_answers_fields_come_back_repeated_and_in_order(gateway: Gateway, backend: Backend) -> None:
    lines = [
        "Set-Cookie: a=1; Path=/",
        "Link: </a>",
        "Set-Cookie: b=2",
        "Link: </b>",
        'ETag: "x"',
        "Set-Cookie: a=1; Path=/",
    ]
    got = fields_got(gateway, backend, *lines, "X-Latin: \xe9")
    assert [value for name, value in got if name == "set-cookie"] == ["a=1; Path=/", "b=2", "a=1; Path=/"]
    assert [value for name, value in got if name == "link"] == ["</a>", "</b>"]
    assert ("etag", '"x"') in got
    assert ("x-latin", "\xe9") in got


def test_a_date_is_kept_and_one_is_set_where_none_is(gateway: Gateway, backend: Backend) -> None:
    said = "Thu, 01 Jan 2026 00:00:00 GMT"
    assert [value for name, value in fields_got(gateway, backend, f"Date: {said}") if name == "date"] == [said]
    assert len([value for name, value in fields_got(gateway, backend) if name == "date"]) == 1


REMOVED_ON_THE_WAY_BACK = {
    "Keep-Alive": ["Keep-Alive: timeout=5"],
    "Proxy-Connection": ["Proxy-Connection: keep-alive"],
    "Upgrade": ["Connection: upgrade", "Upgrade: h2c"],
    "those that Connection names": ["Connection: keep-alive, X-Secret,x-TOO", "X-Secret: 1", "X-Too: 2"],
    "those that several Connection fields name": [
        "connection: X-Secret",
        "X-Secret: 1",
        "Connection: X-Too",
        "x-too: 2",
    ],
    "cross-origin grants": ["Access-Control-Allow-Origin: *", "access-control-allow-CREDENTIALS: true"],
}


@pytest.mark.parametrize("lines", REMOVED_ON_THE_WAY_BACK.values(), ids=REMOVED_ON_THE_WAY_BACK)
def test_fields_that_must_not_reach_the_client_do_not(gateway: Gateway, backend: Backend, lines: list[str]) -> None:
    got = {name for name, _ in fields_got(gateway, backend, *lines, "X-Kept: 1")}
    assert got & {line.partition(":")[0].lower() for line in lines} <= {"connection"}
    assert "x-kept" in got


def test_the_upstreams_server_field_is_not_shown(gateway: Gateway, backend: Backend) -> None:
    shown = [value for name, value in fields_got(gateway, backend, "Server: uvicorn/0.1 secret") if name == "server"]
    assert "uvicorn" not in " ".join(shown)
    assert "aiohttp" not in " ".join(shown).lower()
    assert len(shown) <= 1


@pytest.mark.parametrize("status", [201, 206, 226, 299, 300, 418, 451, 499])
def test_uncommon_statuses_come_back(gateway: Gateway, backend: Backend, status: int) -> None:
    answer = gateway.get(backend.serve(reply(status, b"{}")))
    assert (answer.status, answer.data) == (status, b"{}")
