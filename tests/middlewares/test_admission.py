"""What no route takes, and bodies that are announced too large."""

from __future__ import annotations

import pytest

from aiogateway.errors import Problem
from aiogateway.middlewares.admission import admission
from tests.middlewares.asked import head, ok, request

ADMITTED = {
    "a plain request": head(),
    "HTTP/1.0": head(start="GET /a HTTP/1.0"),
    "chunks": head("Transfer-Encoding: chunked"),
    "chunks in capitals": head("Transfer-Encoding: CHUNKED"),
    "an expectation": head("Expect: 100-continue", "Content-Length: 1"),
    "an expectation in capitals": head("Expect: 100-Continue"),
    "other gateways": head("Via: 1.1 nginx, 1.1 varnish", "Via: 1.0 squid"),
    "twice here": head("Via: 1.1 aiogateway, 1.1 nginx", "Via: 1.1 aiogateway"),
}
REFUSED = {
    "HTTP/2.0": (head(start="GET /a HTTP/2.0"), "http_version_not_supported"),
    "HTTP/0.9": (b"GET /a\r\n\r\n", "http_version_not_supported"),
    "a coding before chunked": (head("Transfer-Encoding: gzip, chunked"), "not_implemented"),
    "an empty coding": (head("Transfer-Encoding: ,chunked"), "not_implemented"),
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
