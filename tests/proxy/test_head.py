"""What the fields of a request come to, and for whom that is kept."""

from __future__ import annotations

import pytest

from aiogateway.proxy.head import LONGEST, Head, Heads
from aiogateway.proxy.headers import MalformedName
from aiogateway.proxy.request import Request
from tests.middlewares.asked import request

FIELDS = ("Host: a", "Authorization: Bearer one", "Origin: https://a.test", "Cookie: a=1", "User-Agent: b")


def asked(*fields: str) -> Request:
    return request("\r\n".join(("GET / HTTP/1.1", *fields, "", "")).encode())


@pytest.fixture
def heads() -> Heads:
    return Heads()


async def test_the_same_fields_are_worked_out_once_on_whatever_connection(heads: Heads) -> None:
    first = heads.of(asked(*FIELDS).message, None)
    assert heads.of(asked(*FIELDS).message, None) is first
    assert heads.of(asked(*FIELDS).message, first) is first


@pytest.mark.parametrize("changed", range(len(FIELDS)), ids=[field.partition(":")[0] for field in FIELDS])
async def test_a_byte_in_any_field_makes_another_head(heads: Heads, changed: int) -> None:
    first = heads.of(asked(*FIELDS).message, None)
    others = (*FIELDS[:changed], FIELDS[changed] + "x", *FIELDS[changed + 1 :])
    second = heads.of(asked(*others).message, first)
    assert second is not first and second.headers != first.headers
    assert heads.of(asked(*FIELDS).message, second) is first


async def test_another_order_spelling_or_number_makes_another_head(heads: Heads) -> None:
    first = heads.of(asked(*FIELDS).message, None)
    for others in ((*FIELDS[1:], FIELDS[0]), ("host: a", *FIELDS[1:]), (*FIELDS, "X-A: 1")):
        assert heads.of(asked(*others).message, first) is not first


async def test_a_long_head_is_not_kept(heads: Heads) -> None:
    long = (*FIELDS, "X-Long: " + "l" * LONGEST)
    assert heads.of(asked(*long).message, None) is not heads.of(asked(*long).message, None)


async def test_one_token_alone_is_a_bearer() -> None:
    for fields, bearer in (
        (("Authorization: Bearer t",), "t"),
        (("Authorization: Bearer t", "Authorization: Bearer u"), None),
        (("Authorization: Basic t",), None),
        ((), None),
    ):
        assert asked("Host: a", *fields).head.bearer == bearer


async def test_a_malformed_name_is_told_each_time() -> None:
    head = Head(((b"Na me", b"v"),), asked("Host: a").headers)
    for _ in range(2):
        with pytest.raises(MalformedName):
            head.inward()
