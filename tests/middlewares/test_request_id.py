"""A name for every request."""

from __future__ import annotations

import re

import pytest

from aiogateway.middlewares.request_id import WELL_FORMED, maker, request_id
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response
from tests.middlewares.asked import head, ok, request

MADE = "made-here"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc", True),
        ("6f1c3c0e-9d0e-4c3a-8e1f-0a1b2c3d4e5f", True),
        ("A.b_c-1", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("", False),
        ("a b", False),
        ("a,b", False),
        ("<script>", False),
        ("a;b", False),
        ("é", False),
        ("٣", False),
        ('"', False),
    ],
)
async def test_a_name_that_is_well_formed_is_kept_and_any_other_replaced(given: str, kept: bool) -> None:
    asked = request(head(f"X-Request-ID: {given}"))
    response = await request_id(ok, lambda: MADE)(asked)
    name = given if kept else MADE
    assert asked.id == name
    assert response.lines == [b"X: y", b"X-Request-ID: " + name.encode()]


async def test_a_request_without_a_name_gets_one_before_anyone_looks() -> None:
    seen: list[str] = []

    async def looks(asked: Request) -> Response:
        seen.append(asked.id)
        return await ok(asked)

    await request_id(looks, lambda: MADE)(request(head()))
    assert seen == [MADE]


def test_names_differ_between_requests_and_between_processes() -> None:
    first, second = maker(), maker()
    names = [make() for make in (first, second) for _ in range(1000)]
    assert len(set(names)) == 2000
    assert all(WELL_FORMED.fullmatch(name) and re.fullmatch("[0-9a-f]{24}", name) for name in names)
    assert {name[:14] for name in names[:1000]}.isdisjoint(name[:14] for name in names[1000:])
