"""The Kubernetes manifests by the schemas of the API they are for, and what Prometheus is given by its own tool."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from aiogateway.metrics import FAMILIES

from .manifests import FOLDER, OVERLAYS, PROGRAMS, ROOT, Document, manifests, rendered
from .rules_of_traffic import ADAPTER
from .test_prometheus import promtool

# The oldest with schemas that has all that is used, and the newest.
VERSIONS: Final = ("1.33.0", "1.37.0")
# Kinds of the Prometheus operator, whose schemas are not among Kubernetes' own.
OPERATOR: Final = {"PrometheusRule", "ServiceMonitor"}
DURATION: Final = re.compile(r"\d+(ms|[smhd])")


def validated(text: str, version: str, tmp_path: Path) -> str:
    """What kubernetes-validate finds wrong with manifests; it passes kinds over that it doesn't know, and says so."""
    file = tmp_path / "manifests.yaml"
    file.write_text(text)
    command = [str(PROGRAMS / "kubernetes-validate"), "--strict", "--kubernetes-version", version, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    unknown = {kind for line in lines for kind in re.findall(r"find schema for kind (\w+)", line)}
    wrong = [line for line in lines if "passed for resource" not in line and "find schema for kind" not in line]
    if done.returncode != 0 or unknown - OPERATOR:
        wrong += [f"exit {done.returncode}, unknown kinds {unknown}"]
    return "\n".join(wrong)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manifests_fit_the_schemas_of_kubernetes(overlay: str, version: str, tmp_path: Path) -> None:
    assert validated(rendered(overlay), version, tmp_path) == ""


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("readOnlyRootFilesystem: true", "readOnlyRootFileSystem: true"),
        ("terminationGracePeriodSeconds: 620", "terminationGracePeriodSeconds: 620s"),
        ("kind: PodDisruptionBudget", "kind: PodDisruptionBudgets"),
        ("apiVersion: autoscaling/v2", "apiVersion: autoscaling/v2beta2"),
        ("  clusterIP: None", "  clusterIp: None"),
    ],
)
def test_what_does_not_fit_is_noticed(was: str, becomes: str, tmp_path: Path) -> None:
    text = rendered("large")
    assert was in text
    assert validated(text.replace(was, becomes), VERSIONS[-1], tmp_path) != ""


def monitor_faults(monitor: Document) -> list[str]:
    """What the operator's schema would say of a ServiceMonitor, as far as keys go that are used here."""
    faults = []
    if monitor["apiVersion"] != "monitoring.coreos.com/v1":
        faults.append("apiVersion")
    spec = monitor["spec"]
    faults += spec.keys() - {"jobLabel", "selector", "endpoints"}
    faults += spec["selector"].keys() - {"matchLabels", "matchExpressions"}
    for endpoint in spec["endpoints"]:
        faults += endpoint.keys() - {"port", "path", "interval", "authorization"}
        faults += [] if isinstance(endpoint["port"], str) else ["port"]
        faults += [] if DURATION.fullmatch(str(endpoint["interval"])) else ["interval"]
        faults += endpoint["authorization"].keys() - {"type", "credentials"}
        faults += endpoint["authorization"]["credentials"].keys() ^ {"name", "key"}
    return faults


def test_a_monitor_is_what_the_operator_takes() -> None:
    assert monitor_faults(manifests("large").one("ServiceMonitor")) == []


SPOILT: Final[dict[str, Callable[[Document], object]]] = {
    "apiVersion": lambda monitor: monitor.update(apiVersion="monitoring.coreos.com/v2"),
    "interval": lambda monitor: monitor["spec"]["endpoints"][0].update(interval=15),
    "port": lambda monitor: monitor["spec"]["endpoints"][0].update(port=9000),
    "bearerToken": lambda monitor: monitor["spec"]["endpoints"][0].update(bearerToken="a"),
    "key": lambda monitor: monitor["spec"]["endpoints"][0]["authorization"]["credentials"].pop("key"),
}


@pytest.mark.parametrize("key", SPOILT)
def test_a_monitor_with_a_fault_is_noticed(key: str) -> None:
    monitor = manifests("large").one("ServiceMonitor")
    SPOILT[key](monitor)
    assert monitor_faults(monitor) == [key]


@pytest.mark.parametrize("overlay", ["small", "large"])
def test_the_operators_rules_are_the_alerts_of_prometheus(overlay: str, tmp_path: Path) -> None:
    rule = manifests(overlay).one("PrometheusRule")
    assert rule["apiVersion"] == "monitoring.coreos.com/v1"
    assert rule["spec"] == yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
    assert promtool("check", "rules", "rules.yaml", cwd=tmp_path).returncode == 0


def test_the_script_that_makes_the_operators_rules_has_nothing_to_change() -> None:
    done = subprocess.run(
        ["scripts/prometheus-rule", "--check"], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_script_notices_when_an_alert_changed(tmp_path: Path) -> None:
    for name in ("scripts/prometheus-rule", "deploy/prometheus/alerts.yaml"):
        copy = tmp_path / name
        copy.parent.mkdir(parents=True)
        copy.write_bytes((ROOT / name).read_bytes())
    made = tmp_path / "deploy/kubernetes/components/prometheus-operator/prometheus-rule.yaml"
    made.parent.mkdir(parents=True)
    made.write_text((FOLDER / "components/prometheus-operator/prometheus-rule.yaml").read_text() + "    # other\n")
    assert subprocess.run(["bash", "scripts/prometheus-rule", "--check"], cwd=tmp_path, check=False).returncode == 1


def adapter_test(tmp_path: Path, in_flight: int, rule: dict[str, Any]) -> int:
    """promtool's verdict on what the adapter asks Prometheus for: 12 in flight of one pod, 5 of those streams."""
    query = (
        rule["metricsQuery"].replace("<<.GroupBy>>", "pod").replace("<<.LabelMatchers>>", 'namespace="n",pod=~"a|b"')
    )
    record = {"record": "asked", "expr": query}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [record]}]}))
    series = {
        'http_server_active_requests{namespace="n",pod="a"}': "12x5",
        'http_server_active_requests{namespace="n",pod="b"}': "3x5",
        'http_server_active_requests{namespace="other",pod="a"}': "99x5",
        'gateway_upstream_streams{namespace="n",pod="a",upstream="auth"}': "1x5",
        'gateway_upstream_streams{namespace="n",pod="a",upstream="user"}': "4x5",
        'gateway_upstream_streams{namespace="n",pod="b",upstream="auth"}': "0x5",
    }
    expected = [{"labels": f'asked{{pod="{pod}"}}', "value": value} for pod, value in {"a": in_flight, "b": 3}.items()]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": "asked", "eval_time": "3m", "exp_samples": expected}],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [test]}))
    return promtool("test", "rules", "test.yaml", cwd=tmp_path).returncode


def test_the_adapter_counts_requests_in_flight_without_streams(tmp_path: Path) -> None:
    (rule,) = ADAPTER["rules"]["custom"]
    assert set(re.findall(r"\b(?:http|gateway)_[a-z_]+(?=\{)", rule["metricsQuery"])) <= FAMILIES.keys()
    assert rule["seriesQuery"].partition("{")[0] in FAMILIES
    assert adapter_test(tmp_path, 7, rule) == 0
    assert adapter_test(tmp_path, 12, rule) != 0
