"""Which answers may be encoded, and what becomes of their fields."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from aiogateway.compression.policy import encoded_lines, fitting, may_encode, varying, weakened
from aiogateway.settings import read

FITS = fitting(read({"JWT_SECRET": "k" * 40}).compress_types)
JSON = ("Content-Type", "application/json")


def headers(*fields: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(fields))


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ("text/html; charset=utf-8", True),
        ("TEXT/CSV", True),
        ("application/json", True),
        ("application/problem+json", True),
        ("image/svg+xml", True),
        ("image/png", False),
        ("text/event-stream", False),
        ("text/event-stream; charset=utf-8", False),
        ("textual/html", False),
        ("application/jsonp", False),
        ("", False),
        (";", False),
    ],
)
def test_the_media_type_says_what_is_worth_encoding(value: str, fits: bool) -> None:
    assert [FITS(value), FITS(value)] == [fits, fits]


@pytest.mark.parametrize(
    ("status", "fields", "may"),
    [
        (200, (JSON,), True),
        (404, (JSON,), True),
        (206, (JSON,), False),
        (204, (JSON,), False),
        (304, (JSON,), False),
        (200, (), False),
        (200, (JSON, ("Content-Encoding", "br")), False),
        (200, (JSON, ("Content-Encoding", "identity")), False),
        (200, (JSON, ("Content-Range", "bytes 0-1/2")), False),
        (200, (JSON, ("Cache-Control", "max-age=1, No-Transform")), False),
        (200, (JSON, ("Cache-Control", "max-age=1"), ("Cache-Control", "no-transform")), False),
        (200, (JSON, ("Cache-Control", "x-no-transform-ever")), True),
    ],
)
def test_what_is_a_part_or_encoded_or_not_to_be_changed_stays(
    status: int, fields: tuple[tuple[str, str], ...], may: bool
) -> None:
    assert may_encode(status, headers(*fields), FITS) is may


@pytest.mark.parametrize(
    ("said", "added"),
    [([], True), (["Origin"], True), (["Origin, accept-encoding"], False), (["*"], False), (["Accept"], True)],
)
def test_an_answer_says_once_that_it_depends_on_the_codings(said: list[str], added: bool) -> None:
    found = varying(headers(*(("Vary", value) for value in said)))
    assert found == (b"Vary: Accept-Encoding" if added else None)


def test_fields_that_are_true_of_the_plain_body_only_are_taken_out() -> None:
    lines = b'ETag: "a"\r\nAccept-Ranges: bytes\r\nContent-MD5: x\r\nDigest: y\r\nRepr-Digest: z\r\nX-Kept: "a"'
    assert encoded_lines(lines, "br") == b'ETag: W/"a"\r\nX-Kept: "a"\r\nContent-Encoding: br'


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b'etag: "a"', b'etag: W/"a"'),
        (b'ETag:"a"', b'ETag:W/"a"'),
        (b'ETag: W/"a"', b'ETag: W/"a"'),
        (b'X-ETag: "a"', b'X-ETag: "a"'),
        (b'X: 1\r\nETag: "etag: \\"', b'X: 1\r\nETag: W/"etag: \\"'),
    ],
)
def test_a_strong_tag_becomes_weak(line: bytes, found: bytes) -> None:
    assert weakened(line) == found
