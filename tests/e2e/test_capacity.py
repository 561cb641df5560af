"""What limits admit over four gateways that run is what the capacity model says, to the request."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from benchmarks.capacity import comparison, timing
from tests.redis_server import RedisServer

from .harness import eventually


def off(counts: list[comparison.Count]) -> list[comparison.Count]:
    return [count for count in counts if not count.least <= count.admitted <= count.most]


def test_four_gateways_admit_a_limit_with_redis_and_at_most_four_while_it_is_away(tmp_path: Path) -> None:
    with RedisServer() as redis, comparison.fleet(tmp_path, redis) as gateways:
        for gateway in gateways:
            eventually(functools.partial(comparison.asks_redis, gateway), "Redis decides")
        counts = list(comparison.counts_with_redis(gateways, redis))
    assert len(counts) == 3
    assert off(counts) == []


def test_four_gateways_without_redis_admit_what_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with comparison.fleet(tmp_path, None) as gateways:
        counts = list(comparison.counts_alone(gateways))
        timing.show(gateways, repeated=2, seconds=0.3)
    assert len(counts) == 3
    assert off(counts) == []
    assert max(count.admitted for count in counts) == comparison.GATEWAYS * comparison.LIMIT
    assert "each further request adds" in capsys.readouterr().out
