"""What is counted is shown by the contract's names."""

from __future__ import annotations

from aiogateway.metrics import AUTH, COUNTERS, RATE_LIMIT, RECAPTCHA, Metrics


def test_counts_are_shown_with_their_labels_and_never_go_back() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.count(RATE_LIMIT, "5/minute login", "refused", "local").events += 1
    metrics.count(AUTH, "allowed", "").events += 1
    metrics.count(RECAPTCHA, "passed").events += 1
    first = metrics.exposition().decode().splitlines()
    metrics.count(RECAPTCHA, "passed").events += 1
    second = metrics.exposition().decode().splitlines()
    line = 'gateway_ratelimit_decisions_total{backend="local",decision="refused",policy="5/minute login"} 3.0'
    assert line in first and line in second
    assert 'gateway_auth_decisions_total{decision="allowed",reason=""} 1.0' in first
    assert 'gateway_recaptcha_total{outcome="passed"} 1.0' in first
    assert 'gateway_recaptcha_total{outcome="passed"} 2.0' in second


def test_every_family_is_there_before_anything_happened() -> None:
    shown = Metrics().exposition().decode()
    assert all(f"# TYPE {family}_total counter" in shown for family in COUNTERS)
