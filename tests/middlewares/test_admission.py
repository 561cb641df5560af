"""What no route takes, and bodies that are announced too large."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiogateway.errors import Problem
from aiogateway.middlewares.admission import admission, body_limit
from tests.config_folders import load
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


@pytest.mark.parametrize(
    ("fields", "taken"),
    [
        (["Content-Length: 0"], True),
        (["Content-Length: 1024"], True),
        (["Content-Length: 0001024"], True),
        (["Content-Length: 1025"], False),
        (["Content-Length: 9223372036854775807"], False),
        (["Transfer-Encoding: chunked"], True),
        ([], True),
    ],
)
async def test_a_body_whose_announced_length_is_over_the_limit_is_413(
    fields: list[str], taken: bool, tmp_path: Path
) -> None:
    table = load(tmp_path, '[[route]]\npath = "/a"\nupstream = "b"\nauth = "public"\nmax_body = "1 KiB"\n')
    limited = body_limit(ok, table.match("/a").endpoint.route("POST"))
    asked = request(head(*fields, start="POST /a HTTP/1.1"))
    if taken:
        assert (await limited(asked)).status == 200
    else:
        with pytest.raises(Problem, match="1024 bytes") as caught:
            await limited(asked)
        assert caught.value.code == "body_too_large"
