"""What is counted is shown by the contract's names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


WORKER = """
import sys
from aiogateway.metrics import RECAPTCHA, Metrics

folder, slot, events = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
metrics = Metrics(folder, slot)
metrics.count(RECAPTCHA, "passed").events += events
sys.stdout.buffer.write(metrics.exposition())
"""


def test_workers_show_the_sum_of_all_and_who_replaces_one_goes_on_from_its_figures(tmp_path: Path) -> None:
    def passed(slot: int, events: int) -> str:
        command = [sys.executable, "-c", WORKER, str(tmp_path), str(slot), str(events)]
        shown = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout.decode()
        (line,) = [line for line in shown.splitlines() if line.startswith("gateway_recaptcha_total{")]
        return line.rpartition(" ")[2]

    assert [passed(0, 3), passed(1, 4), passed(0, 0), passed(1, 5)] == ["3.0", "7.0", "7.0", "12.0"]
    assert len(list(tmp_path.iterdir())) == 2
