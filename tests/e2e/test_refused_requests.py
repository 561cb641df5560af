"""Requests that could be read in two ways are refused, and nothing of them reaches an upstream."""

from __future__ import annotations

import pytest

from .harness import Backend, Gateway, reply

CHUNKED = "Transfer-Encoding: chunked"
REFUSED = {
    "garbage": ("\x16\x03\x01\x02\x00\x01\x00", [], "", 400),
    "words": ("hello there", [], "", 400),
    "HTTP/2.0": ("GET {path} HTTP/2.0", ["Host: a"], "", 505),
    "HTTP/1.2": ("GET {path} HTTP/1.2", ["Host: a"], "", 505),
    "no Host": ("GET {path} HTTP/1.1", [], "", 400),
    "two Hosts": ("GET {path} HTTP/1.1", ["Host: a", "Host: b"], "", 400),
    "two equal Hosts": ("GET {path} HTTP/1.1", ["Host: a", "Host: a"], "", 400),
    "an empty Host": ("GET {path} HTTP/1.1", ["Host:"], "", 400),
    "a Host of two words": ("GET {path} HTTP/1.1", ["Host: a b"], "", 400),
    "a Host with a path": ("GET {path} HTTP/1.1", ["Host: a@b/.."], "", 400),
    "a Host of HTTP/1.0 with a path": ("GET {path} HTTP/1.0", ["Host: a/b"], "", 400),
    "a target of another host": ("GET http://b{path} HTTP/1.1", ["Host: a"], "", 400),
    "a target of another port": ("GET http://a:81{path} HTTP/1.1", ["Host: a"], "", 400),
    "a fragment behind a query": ("GET {path}?a=b#part HTTP/1.1", ["Host: a"], "", 400),
    "a fragment": ("GET {path}#part HTTP/1.1", ["Host: a"], "", 400),
    "a broken escape": ("GET {path}/%zz HTTP/1.1", ["Host: a"], "", 400),
    "raw bytes in the path": ("GET {path}/\xe9 HTTP/1.1", ["Host: a"], "", 400),
    "a folded field": ("GET {path} HTTP/1.1", ["Host: a", "X-A: 1", " 2"], "", 400),
    "a space before the colon": ("GET {path} HTTP/1.1", ["Host: a", "X-A : 1"], "", 400),
    "a field without a colon": ("GET {path} HTTP/1.1", ["Host: a", "X-A"], "", 400),
    "NUL in a field": ("GET {path} HTTP/1.1", ["Host: a", "X-A: a\x00b"], "", 400),
    "bare CR in a field": ("GET {path} HTTP/1.1", ["Host: a", "X-A: a\rX-B: b"], "", 400),
    "two lengths": ("POST {path} HTTP/1.1", ["Host: a", "Content-Length: 1", "Content-Length: 2"], "ab", 400),
    "a list of lengths": ("POST {path} HTTP/1.1", ["Host: a", "Content-Length: 2, 2"], "ab", 400),
    "a signed length": ("POST {path} HTTP/1.1", ["Host: a", "Content-Length: +2"], "ab", 400),
    "a negative length": ("POST {path} HTTP/1.1", ["Host: a", "Content-Length: -2"], "ab", 400),
    "length and chunks": ("POST {path} HTTP/1.1", ["Host: a", "Content-Length: 2", CHUNKED], "0\r\n\r\n", 400),
    "chunked twice": ("POST {path} HTTP/1.1", ["Host: a", CHUNKED, CHUNKED], "0\r\n\r\n", 400),
    "an empty coding": ("POST {path} HTTP/1.1", ["Host: a", "Transfer-Encoding: ,chunked"], "0\r\n\r\n", 501),
    "another coding": ("POST {path} HTTP/1.1", ["Host: a", "Transfer-Encoding: gzip, chunked"], "0\r\n\r\n", 501),
    "chunks in HTTP/1.0": ("POST {path} HTTP/1.0", ["Host: a", CHUNKED], "0\r\n\r\n", 400),
    "an unknown expectation": (
        "POST {path} HTTP/1.1",
        ["Host: a", "Expect: 100-continue", "Expect: tea", "Content-Length: 1"],
        "a",
        417,
    ),
    "an unknown one first": (
        "POST {path} HTTP/1.1",
        ["Host: a", "Expect: tea", "Expect: 100-continue", "Content-Length: 1"],
        "a",
        417,
    ),
    "too many fields": ("GET {path} HTTP/1.1", ["Host: a", *["X-A: 1"] * 1000], "", 431),
}


@pytest.mark.parametrize(("start", "fields", "body", "status"), REFUSED.values(), ids=REFUSED)
def test_an_ambiguous_request_is_refused_and_goes_nowhere(
    gateway: Gateway, backend: Backend, start: str, fields: list[str], body: str, status: int
) -> None:
    path = backend.serve(reply())
    head = "\r\n".join([start.format(path=path), *fields, "", ""])
    with gateway.client() as client:
        client.send((head + body).encode("latin1"))
        answer = client.read()
        assert (answer.status, answer.value("content-type")) == (status, "application/problem+json")
        assert answer.json()["request_id"] == answer.value("x-request-id")
        assert client.hung_up(), "what follows could be read as a request"
    assert not backend.seen(path)


@pytest.mark.parametrize("head", ["GET {path} HTTP/1.1\nHost: a\n\n", "GET {path} HTTP/1.1\r\nHost: a\nX-A: 1\r\n\r\n"])
def test_lines_that_end_in_a_bare_lf_are_refused(gateway: Gateway, backend: Backend, head: str) -> None:
    path = backend.serve(reply())
    with gateway.client() as client:
        client.send(head.format(path=path).encode())
        assert client.read().status == 400
        assert client.hung_up()
    assert not backend.seen(path)
