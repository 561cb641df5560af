"""A Redis of each test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.redis_server import RedisServer


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis has all the time it needs: a busy machine changes no answer of a test that is not about time."""
    monkeypatch.setattr("aiogateway.stores.redis.PATIENCE", 10.0)


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds that Redis is waited for in tests of that: some more than in earnest, for machines that do much else."""
    monkeypatch.setattr("aiogateway.stores.redis.PATIENCE", 0.25)
    return 0.25
