"""Errors of the gateway's own, and what becomes of an upstream's (contract, "Answers of the gateway's own")."""

from __future__ import annotations

import gzip
import json

import pytest

from .harness import Backend, Gateway, Peer, assert_problem, chunked, reply, request


@pytest.mark.parametrize("target", ["/", "/none", "/b", "/b/", "/read-only", "/people/x/files/", "/B/x", "/none?/b/x"])
def test_an_unknown_path_is_404(gateway: Gateway, target: str) -> None:
    assert_problem(gateway.get(target), "route_not_found")


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
def test_a_method_the_route_lacks_is_405_with_those_it_has(gateway: Gateway, backend: Backend, method: str) -> None:
    path = backend.serve(reply(), "/read-only")
    answer = gateway.send(method, path)
    assert_problem(answer, "method_not_allowed")
    allow = answer.value("allow")
    assert allow is not None
    assert {word.strip() for word in allow.split(",")} == {"GET", "HEAD"}
    assert not backend.seen(path)


ILL_PATHS = ("/b/../x", "/b/.", "/b/%2e%2E/x", "/b/%5c", "/b/a%5Cb", "/b/%00", "/b/a%2Fb", "/b/x%2f")


@pytest.mark.parametrize("target", ILL_PATHS)
def test_a_path_that_could_mean_two_things_is_400(gateway: Gateway, backend: Backend, target: str) -> None:
    before = len(backend.requests)
    assert_problem(gateway.get(target), "bad_request")
    assert len(backend.requests) == before


def test_a_target_or_head_too_long_has_its_code(gateway: Gateway) -> None:
    assert_problem(gateway.get("/b/" + "x" * 20_000), "uri_too_long")
    assert_problem(gateway.get("/b/x", "X-Long: " + "x" * 30_000), "header_too_large")


def test_an_error_keeps_the_connection(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, b"ok"))
    with gateway.client() as client:
        assert_problem(client.ask(request("GET", "/none")), "route_not_found")
        assert_problem(client.ask(request("POST", "/read-only/x", body=b"abc")), "method_not_allowed")
        assert_problem(client.ask(request("GET", "/refused/x")), "upstream_unreachable")
        assert client.ask(request("GET", path)).data == b"ok"


def test_an_error_to_a_head_request_has_no_body(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, b"ok"))
    with gateway.client() as client:
        assert client.ask(request("HEAD", "/none")).status == 404
        assert client.ask(request("HEAD", "/refused/x")).status == 503
        assert client.ask(request("GET", path)).data == b"ok"


DOCUMENT = b'{ "detail": [{"loc": ["body","a"], "msg": "caf\\u00e9"}],\n "n":1.0 }'


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "application/problem+json"])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 418, 422, 429, 451])
def test_a_4xx_in_json_passes_byte_for_byte(gateway: Gateway, backend: Backend, status: int, kind: str) -> None:
    path = backend.serve(reply(status, DOCUMENT, "Retry-After: 7", kind=kind))
    answer = gateway.get(path)
    assert (answer.status, answer.data, answer.value("content-type")) == (status, DOCUMENT, kind)
    assert answer.value("retry-after") == "7"


def test_a_4xx_in_json_may_be_chunked_and_large(gateway: Gateway, backend: Backend) -> None:
    data = json.dumps({"detail": "x" * 300_000}).encode()
    head = b"HTTP/1.1 422 No\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = gateway.get(backend.serve(head + chunked(data[:100_000], data[100_000:])))
    assert (answer.status, answer.data) == (422, data)


TEXTS = {
    "plain": (b"no such thing", "text/plain; charset=utf-8", "no such thing"),
    "html": (b"<html><body><h1>No such page</h1></body></html>", "text/html", "No such page"),
    "latin-1": ("caf\xe9 closed".encode("latin1"), "text/plain; charset=latin-1", "caf\xe9 closed"),
    "not what it says": (b"caf\xff closed", "text/plain; charset=utf-8", "closed"),
    "an unknown charset": (b"closed", "text/plain; charset=made-up", "closed"),
}


@pytest.mark.parametrize(("data", "kind", "said"), TEXTS.values(), ids=TEXTS)
def test_a_4xx_in_text_becomes_the_detail(
    gateway: Gateway, backend: Backend, data: bytes, kind: str, said: str
) -> None:
    answer = gateway.get(backend.serve(reply(409, data, "Set-Cookie: a=1", "Set-Cookie: b=2", kind=kind)))
    document = assert_problem(answer, "upstream_error", 409, "upstream")
    assert said in document["detail"]
    assert answer.values("set-cookie") == ["a=1", "b=2"]


def test_a_long_4xx_text_is_cut_at_4_kib(gateway: Gateway, backend: Backend) -> None:
    answer = gateway.get(backend.serve(reply(400, "\u20ac".encode() * 100_000, kind="text/plain")))
    detail = assert_problem(answer, "upstream_error", 400, "upstream")["detail"]
    assert 3000 < len(detail.encode()) <= 4096
    assert detail.strip("\u20ac") == ""


def test_a_compressed_4xx_text_does_not_become_noise(gateway: Gateway, backend: Backend) -> None:
    said = reply(400, gzip.compress(b"no such thing"), "Content-Encoding: gzip", kind="text/plain")
    answer = gateway.get(backend.serve(said))
    assert answer.status == 400
    if answer.value("content-encoding") == "gzip":
        assert gzip.decompress(answer.data) == b"no such thing"
    else:
        assert "\ufffd" not in assert_problem(answer, "upstream_error", 400, "upstream")["detail"]


KEPT = ["Retry-After: 7", 'WWW-Authenticate: Bearer realm="x"', "Allow: GET", "Set-Cookie: a=1", "Set-Cookie: b=2"]
INNER = b'{"detail": "psycopg2.OperationalError at 10.1.2.3: password=hunter2"}'


@pytest.mark.parametrize("kind", ["application/json", "text/html", "text/plain", "application/octet-stream"])
@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 507, 599])
def test_a_5xx_is_retold_without_its_inner_message(gateway: Gateway, backend: Backend, status: int, kind: str) -> None:
    path = backend.serve(reply(status, INNER, *KEPT, "X-Debug: hunter2", "ETag: hunter2", kind=kind))
    answer = gateway.get(path)
    assert_problem(answer, "upstream_error", status, "upstream")
    assert b"hunter2" not in answer.data
    for line in KEPT:
        name, _, value = line.partition(": ")
        assert value in answer.values(name)
    assert answer.values("set-cookie") == ["a=1", "b=2"]
    assert answer.value("content-encoding") is None


def test_a_5xx_may_be_compressed_chunked_or_cut(gateway: Gateway, backend: Backend) -> None:
    chunks = b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(INNER, INNER)

    def cut(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 500 No\r\nContent-Length: 1000\r\n\r\nhunter2")
        peer.close()

    packed = reply(500, gzip.compress(INNER), "Content-Encoding: gzip")
    for said in (chunks, cut, packed, reply(500, b""), reply(500, INNER * 50_000)):
        with gateway.client() as client:
            for _ in range(2):
                answer = client.ask(request("GET", backend.serve(said)))
                assert_problem(answer, "upstream_error", 500, "upstream")
                assert answer.value("content-encoding") is None


def test_an_endless_5xx_does_not_hold_the_answer_back(gateway: Gateway, backend: Backend) -> None:
    def endless(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 500 No\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            peer.send(bytes(1 << 16))

    assert_problem(gateway.get(backend.serve(endless)), "upstream_error", 500, "upstream")


@pytest.mark.parametrize("status", [404, 503])
def test_a_field_with_control_characters_is_left_out_of_a_retold_error(
    gateway: Gateway, backend: Backend, status: int
) -> None:
    fields = ("Retry-After: \x01", "Set-Cookie: a=\x1b", "Set-Cookie: b=c", "WWW-Authenticate: Basic\x7f")
    answer = gateway.get(backend.serve(reply(status, b"no", *fields, kind="text/plain")))
    assert_problem(answer, "upstream_error", status, "upstream")
    assert (answer.values("set-cookie"), answer.values("www-authenticate")) == (["b=c"], [])
    assert not any(b"\x01" in line for line in answer.head.lines)


def test_a_route_may_pass_5xx_bodies(gateway: Gateway, backend: Backend) -> None:
    answer = gateway.get(backend.serve(reply(503, INNER, *KEPT), "/pass"))
    assert (answer.status, answer.data, answer.value("content-type")) == (503, INNER, "application/json")
    assert answer.value("retry-after") == "7"


def test_the_public_listener_tells_its_health(gateway: Gateway) -> None:
    assert gateway.get("/healthz").status == 200
    assert gateway.get("/readyz").status == 200
    assert gateway.admin("/healthz").status == 200
    assert gateway.admin("/readyz").status == 200
