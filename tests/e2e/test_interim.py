"""Interim answers: 103 passed on, 100 only when the body is wanted, 101 never unasked."""

from __future__ import annotations

import threading

import pytest

from .harness import Backend, Gateway, Peer, assert_problem, chunked, reply, request

HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>; rel=preload\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def test_early_hints_are_passed_on_at_once(gateway: Gateway, backend: Backend) -> None:
    go_on = threading.Event()

    def hinting(peer: Peer) -> None:
        peer.send(HINT)
        peer.wait(go_on)
        peer.send(HINT + reply(200, b"ok"))

    with gateway.client() as client:
        client.send(request("GET", backend.serve(hinting)))
        first = client.head()
        assert first.start.startswith(b"HTTP/1.1 103")
        assert first.values("link") == ["</a.css>; rel=preload", "</b.js>; rel=preload"]
        go_on.set()
        answer = client.read()
        assert (answer.status, answer.data, len(answer.interim)) == (200, b"ok", 1)


def test_early_hints_are_not_for_http_1_0(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(HINT + reply(200, b"ok"))
    answer = gateway.ask(f"GET {path} HTTP/1.0\r\nHost: a\r\n\r\n".encode())
    assert (answer.interim, answer.data) == ((), b"ok")


@pytest.mark.parametrize("field", [b"X-A: a\x01b", b"X-A: a\x1b[31mb", b"X-A: a\x7fb"])
def test_an_early_hint_with_control_characters_is_not_passed_on(
    gateway: Gateway, backend: Backend, field: bytes
) -> None:
    path = backend.serve(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n" + field + b"\r\n\r\n" + reply(200, b"ok"))
    answer = gateway.get(path)
    assert (answer.status, answer.data, answer.interim) == (200, b"ok", ())


def test_an_upstreams_100_stays_with_the_gateway(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(CONTINUE + CONTINUE + reply(200, b"ok"))
    answer = gateway.send("POST", path, body=b"abc")
    assert (answer.interim, answer.data) == ((), b"ok")


@pytest.mark.parametrize("fields", ["", "Connection: upgrade\r\nUpgrade: websocket\r\n"], ids=["bare", "with Upgrade"])
def test_an_unasked_101_is_a_bad_response(gateway: Gateway, backend: Backend, fields: str) -> None:
    path = backend.serve(f"HTTP/1.1 101 Switching Protocols\r\n{fields}\r\nraw bytes".encode())
    assert_problem(gateway.get(path), "upstream_bad_response")
    assert gateway.get(backend.serve(reply(200, b"ok"))).data == b"ok"


EXPECTING = {
    "a length": (["Content-Length: 5"], b"hello"),
    "chunks": (["Transfer-Encoding: chunked"], chunked(b"he", b"llo")),
    "odd case": (["Content-Length: 5", "expect: 100-CONTINUE"], b"hello"),
}


@pytest.mark.parametrize(("fields", "body"), EXPECTING.values(), ids=EXPECTING)
def test_an_expected_100_comes_before_the_body(
    gateway: Gateway, backend: Backend, fields: list[str], body: bytes
) -> None:
    path = backend.serve(reply(200, b"ok"))
    expect = [] if any("expect" in line for line in fields) else ["Expect: 100-continue"]
    with gateway.client() as client:
        client.send(request("POST", path, *expect, *fields))
        assert client.head().start.startswith(b"HTTP/1.1 100")
        client.sock.sendall(body)
        answer = client.read()
        assert (answer.status, answer.data, answer.interim) == (200, b"ok", ())
    assert backend.one(path).body.data == b"hello"
    assert "expect" not in backend.one(path).names


def test_an_expected_100_comes_for_a_large_body_too(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, b"ok"), under="/large")
    with gateway.client() as client:
        client.send(request("PUT", path, "Expect: 100-continue", f"Content-Length: {1 << 20}"))
        assert client.head().start.startswith(b"HTTP/1.1 100")
        client.sock.sendall(bytes(1 << 20))
        assert client.read().data == b"ok"
    assert backend.one(path).body.count == 1 << 20


def test_a_client_need_not_wait_for_the_100(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, b"ok"))
    with gateway.client() as client:
        assert client.ask(request("POST", path, "Expect: 100-continue", body=b"hello")).data == b"ok"
        assert client.ask(request("GET", path)).data == b"ok"


UNWANTED = {
    "no route": ("/none", ["Content-Length: 5"], "route_not_found"),
    "wrong method": ("/read-only/x", ["Content-Length: 5"], "method_not_allowed"),
    "too large": ("/limited/x", [f"Content-Length: {(256 << 10) + 1}"], "body_too_large"),
}


@pytest.mark.parametrize(("target", "fields", "code"), UNWANTED.values(), ids=UNWANTED)
def test_a_refused_request_gets_no_100(gateway: Gateway, target: str, fields: list[str], code: str) -> None:
    answer = gateway.ask(request("POST", target, "Expect: 100-continue", *fields))
    assert answer.interim == ()
    assert_problem(answer, code)


@pytest.mark.parametrize("expected", ["tea", "100-continue, tea", "200-ok"])
def test_any_other_expectation_is_417(gateway: Gateway, backend: Backend, expected: str) -> None:
    path = backend.serve(reply())
    assert_problem(gateway.ask(request("POST", path, f"Expect: {expected}", body=b"a")), "expectation_failed")
    assert not backend.seen(path)
