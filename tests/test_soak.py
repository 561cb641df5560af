"""What the soak makes of its measurements, and that a short run of some of it works."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.soak.__main__ import MEASURES, SOAK, options
from benchmarks.soak.programs import clients_of
from benchmarks.soak.verdicts import Figure, as_json, faults_in, halves_grew, percentile, table

PROJECT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [([], 0.99, 0.0), ([3.0], 0.99, 3.0), ([3.0, 1.0, 2.0], 0.5, 2.0), (list(map(float, range(100))), 0.99, 99.0)],
)
def test_a_percentile_is_one_of_the_values(values: list[float], share: float, found: float) -> None:
    assert percentile(values, share) == found


@pytest.mark.parametrize(
    ("samples", "grew"),
    [([10.0] * 8, 0.0), ([10.0] * 4 + [11.0] * 4, 0.1), ([10.0, 99.0, 10.0, 10.0, 10.0, 10.0], 0.0)],
)
def test_growth_is_of_medians_so_that_a_peak_is_none(samples: list[float], grew: float) -> None:
    assert halves_grew(samples) == pytest.approx(grew)


def test_a_figure_is_met_at_its_bound_and_missed_beyond() -> None:
    figures = [Figure("a", 2, 2, "times"), Figure("bb", 2.01, 2, note="why")]
    lines = table(figures).splitlines()
    assert [("MISSED" in line, line.split()[0]) for line in lines] == [(False, "a"), (True, "bb")]
    assert [(each["name"], each["met"]) for each in json.loads(as_json(figures))] == [("a", True), ("bb", False)]


def test_the_log_of_a_gateway_is_searched_for_faults_of_its_own() -> None:
    log = '{"event":"connect failed","level":"warning"}\nTraceback (most recent call last):\n{"level":"error"}\n'
    assert len(faults_in(log)) == 2


def test_the_clients_of_a_process_are_those_it_has_accepted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, socket.create_connection(("127.0.0.1", port)):
            accepted, _ = listener.accept()
            with accepted:
                assert clients_of(os.getpid(), port) == {client.getsockname()[1]}


def test_every_figure_is_run_unless_some_are_chosen() -> None:
    assert options([]).only.split(",") == [*MEASURES, SOAK]
    assert options(["--only", "stale"]).only == "stale"


def test_a_short_run_prints_figures_and_writes_them(tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.soak", "--quick", "--only", "stale,breaker", "--json", str(written)]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    names = [each["name"] for each in json.loads(written.read_text())]
    assert "stale: POSTs executed twice" in names and all(name in ended.stdout for name in names)
