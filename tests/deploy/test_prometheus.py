"""The alert rules: what promtool makes of them, and that it would notice if they were wrong."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from aiogateway.metrics import FAMILIES
from aiogateway.metrics.families import COUNTER, HISTOGRAM

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "deploy" / "prometheus"
# Of the contract, for mechanisms that are not built yet.
TO_COME: Final = {"gateway_circuit_breaker_state"}


def promtool(*arguments: str, cwd: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def exposed() -> set[str]:
    """The names of all series that there are."""
    suffixes = {COUNTER: ("_total",), HISTOGRAM: ("_bucket", "_sum", "_count")}
    return {name + suffix for name, family in FAMILIES.items() for suffix in suffixes.get(family.kind, ("",))}


@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "alerts.yaml"), ("check", "config", "prometheus.yaml"), ("test", "rules", "alerts.test.yaml")],
    ids=" ".join,
)
def test_promtool_is_content(arguments: tuple[str, ...]) -> None:
    done = promtool(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("was", "becomes", "arguments"),
    [
        ("histogram_quantile(0.95,", "histogram_quantile(", ("check", "rules", "alerts.yaml")),
        (">= 1", ">= 3", ("test", "rules", "alerts.test.yaml")),
        ("> 14.4 * 0.001", "> 14.4", ("test", "rules", "alerts.test.yaml")),
        (
            "max by (job, upstream) (gateway_upstream_up)",
            "min by (job, upstream) (gateway_upstream_up)",
            ("test", "rules", "alerts.test.yaml"),
        ),
    ],
)
def test_a_planted_fault_is_caught(tmp_path: Path, was: str, becomes: str, arguments: tuple[str, ...]) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "rules")
    rules = folder / "alerts.yaml"
    text = rules.read_text()
    assert was in text
    rules.write_text(text.replace(was, becomes))
    assert promtool(*arguments, cwd=folder).returncode != 0


@pytest.mark.parametrize("file", ["prometheus/alerts.yaml", "grafana/dashboard.json"])
def test_every_metric_that_is_asked_for_exists(file: str) -> None:
    text = (ROOT / "deploy" / file).read_text()
    asked = set(re.findall(r"\b(?:http_(?:server|client)|gateway)_[a-z_]+(?=[\[{()\s,])", text))
    assert asked and asked <= exposed() | TO_COME


def test_every_alert_has_its_place_in_the_runbook() -> None:
    rules = (FOLDER / "alerts.yaml").read_text()
    book = (ROOT / "docs" / "operations.md").read_text()
    names = re.findall(r"alert: (\w+)", rules)
    assert names and [name for name in names if f"### {name}\n" not in book] == []
    assert all(f"#{name.lower()}\n" in rules for name in names)
