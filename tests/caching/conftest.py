"""A Redis of each test's own, and notices of one process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from aiogateway.caching.notices import Notices
from tests.redis_server import RedisServer


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def notices() -> Iterator[Notices]:
    with contextlib.closing(Notices(alone=True)) as made:
        yield made
