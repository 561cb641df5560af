"""What no route takes, and bodies that are announced too large."""

from __future__ import annotations

import pytest

from aiogateway.errors import Problem
from aiogateway.middlewares.admission import admission
from tests.middlewares.asked import head, ok, request


def hosted(host: str, target: str = "/a") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


ADMITTED = {
    "a plain request": head(),
    "HTTP/1.0": head(start="GET /a HTTP/1.0"),
    "chunks": head("Transfer-Encoding: chunked"),
    "chunks in capitals": head("Transfer-Encoding: CHUNKED"),
    "an expectation": head("Expect: 100-continue", "Content-Length: 1"),
    "an expectation in capitals": head("Expect: 100-Continue"),
    "other gateways": head("Via: 1.1 nginx, 1.1 varnish", "Via: 1.0 squid"),
    "an address for a host": hosted("[::1]:80", "http://[::1]:80/a"),
    "a long host": hosted(".".join(["a" * 63] * 3)),
    "the greatest length": head("Content-Length: " + "9" * 18),
    "an escape in the query": head(start="GET /a?%41=%e2%82%ac&b=%25 HTTP/1.1"),
    "an option of the connection's own": head("Connection: keep-alive, X-Hop, TE"),
    "twice here": head("Via: 1.1 aiogateway, 1.1 nginx", "Via: 1.1 aiogateway"),
}
REFUSED = {
    "HTTP/2.0": (head(start="GET /a HTTP/2.0"), "http_version_not_supported"),
    "HTTP/0.9": (b"GET /a\r\n\r\n", "http_version_not_supported"),
    "a coding before chunked": (head("Transfer-Encoding: gzip, chunked"), "not_implemented"),
    "an empty coding": (head("Transfer-Encoding: ,chunked"), "not_implemented"),
    "a tunnel": (head(start="CONNECT a:80 HTTP/1.1"), "not_implemented"),
    "another scheme": (head(start="GET ws://a/ HTTP/1.1"), "bad_request"),
    "another host": (head(start="GET http://b/ HTTP/1.1"), "bad_request"),
    "a malformed host without a Host": (b"GET http://a:b@c/ HTTP/1.0\r\n\r\n", "bad_request"),
    "no host": (hosted(""), "bad_request"),
    "a host and a name": (hosted("u@a"), "bad_request"),
    "a host of no address": (hosted("[::1::1]"), "bad_request"),
    "a host of two addresses": (hosted("[::1],[::2]"), "bad_request"),
    "a port too high": (hosted("a:65536"), "bad_request"),
    "too long a host": (hosted(".".join(["a" * 63] * 5)), "bad_request"),
    "a fragment": (head(start="GET /a#b HTTP/1.1"), "bad_request"),
    "a fragment in the query": (head(start="GET /a?b#c HTTP/1.1"), "bad_request"),
    "half an escape in the query": (head(start="GET /a?b=%4 HTTP/1.1"), "bad_request"),
    "a NUL in the query": (head(start="GET /a?b=%00 HTTP/1.1"), "bad_request"),
    "a length beyond bounds": (head("Content-Length: " + "1" * 19), "bad_request"),
    "a length of zeros": (head("Content-Length: " + "0" * 6000), "bad_request"),
    "no body by a length beyond bounds": (head("Content-Length: 18446744073709551615"), "bad_request"),
    "chunks in HTTP/1.0": (head("Transfer-Encoding: chunked", start="POST /a HTTP/1.0"), "bad_request"),
    "a type that is the connection's": (head("Connection: close, content-TYPE"), "bad_request"),
    "a token that is the connection's": (head("Connection: x", "Connection: Authorization"), "bad_request"),
    "another expectation": (head("Expect: a-miracle"), "expectation_failed"),
    "two expectations": (head("Expect: 100-continue", "Expect: a-miracle"), "expectation_failed"),
    "three times here": (head("Via: 1.1 aiogateway, 1.1 aiogateway", "Via: 1.1 aiogateway"), "loop_detected"),
}


@pytest.mark.parametrize("raw", ADMITTED.values(), ids=ADMITTED)
async def test_what_a_route_may_take_is_admitted(raw: bytes) -> None:
    assert (await admission(ok)(request(raw))).status == 200


@pytest.mark.parametrize(("raw", "code"), REFUSED.values(), ids=REFUSED)
async def test_what_no_route_takes_is_refused(raw: bytes, code: str) -> None:
    with pytest.raises(Problem) as caught:
        await admission(ok)(request(raw))
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("start", "fields", "kept"),
    [
        ("GET /a HTTP/1.1", ["Connection: keep-alive, close"], False),
        ("GET /a HTTP/1.0", ["Connection: keep-alive"], True),
        ("GET /a HTTP/1.0", ["Connection: Close, keep-alive"], False),
        ("GET /a HTTP/1.0", ["Connection: keep-alive", "Connection: x, CLOSE"], False),
    ],
)
async def test_close_wins_over_keep_alive(start: str, fields: list[str], kept: bool) -> None:
    asked = request(head(*fields, start=start))
    await admission(ok)(asked)
    assert asked.keep_alive is kept
