"""A deprecated route says so on every answer."""

from __future__ import annotations

from datetime import date

from aiogateway.middlewares.routing import deprecation


def test_a_date_is_told_as_the_second_it_begins() -> None:
    # RFC 9745 section 2.1 has this one.
    assert deprecation(date(2023, 6, 30)) == b"Deprecation: @1688083200"
