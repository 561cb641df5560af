"""The Compose files: valid, confined, with nothing secret in them, and with what the settings and the table know."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest
from yarl import URL

from aiogateway.routes import configure
from aiogateway.settings.variables import FIELDS, Variables, is_secret, variable_name
from tests.deploy.compose import FILES, IMAGE, PLATFORM, REQUIRED, TRIAL, config, names, resolved
from tests.deploy.dockerfile import ROOT
from tests.deploy.test_prometheus import promtool

# By the packaged table: each upstream's destinations, by its variable.
UPSTREAMS: Final = {str(each.env): each.urls for each in configure({}, need_key=False)[1].upstreams.values()}

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def unknown(environ: dict[str, str]) -> set[str]:
    """Names that the gateway reads nothing from."""
    return environ.keys() - FIELDS.keys() - UPSTREAMS.keys()


@each_file
def test_compose_is_content(file: Path) -> None:
    done = config(file, REQUIRED[file], "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("    read_only: true\n", "    read_only: sometimes\n"),
        ("    stop_grace_period: 40s\n", "    stop_grace: 40s\n"),
        ("networks: [platform]", "networks: [platforms]"),
        ("{AUTH_SERVICE_URL:-", "{AUTH_SERVICE_URL "),
    ],
)
def test_compose_catches_a_planted_fault(tmp_path: Path, was: str, becomes: str) -> None:
    text = PLATFORM.read_text()
    assert text.count(was) == 1
    file = tmp_path / "compose.yaml"
    file.write_text(text.replace(was, becomes))
    assert config(file, REQUIRED[PLATFORM], "--quiet").returncode != 0


@pytest.mark.parametrize(("file", "name"), [(file, name) for file in FILES for name in REQUIRED[file]])
def test_without_what_must_be_set_nothing_starts_and_its_name_is_said(file: Path, name: str) -> None:
    environ = {other: value for other, value in REQUIRED[file].items() if other != name}
    done = config(file, environ, "--quiet")
    assert done.returncode != 0 and f"required variable {name} is missing" in done.stderr


@each_file
def test_every_service_is_confined_pinned_and_watched(file: Path) -> None:
    for service in resolved(file)["services"].values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"] and not service.get("privileged")
        assert {"cpus", "memory", "pids"} <= service["deploy"]["resources"]["limits"].keys()
        if service["image"] != IMAGE:  # that one has a user and a health check of its own
            assert re.search(r":v?\d+\.\d+", service["image"]) and not service["user"].startswith("0")
            assert service["healthcheck"]["test"]
        for volume in service.get("volumes", ()):
            assert volume["type"] == "volume" or volume["read_only"]


@each_file
def test_only_the_gateways_public_port_can_be_reached_from_other_machines(file: Path) -> None:
    services = resolved(file)["services"]
    ports = [(name, port) for name, service in services.items() for port in service.get("ports", ())]
    far = [(name, port["target"]) for name, port in ports if port.get("host_ip") != "127.0.0.1"]
    assert far == [("gateway", Variables().port)]


@each_file
def test_what_is_secret_comes_from_outside(file: Path) -> None:
    secrets = {variable_name(field) for field in Variables.model_fields if is_secret(field)}
    # Neither is a secret there: the verifier is a stand-in, and the store has no password.
    known = {"stand-in", "redis://redis:6379/0"} if file == TRIAL else set()
    for service in json.loads(config(file, {}, "--no-interpolate", "--format", "json").stdout)["services"].values():
        for name, value in service.get("environment", {}).items():
            assert name not in secrets or value in known or value.startswith(f"${{{name}:"), name


@each_file
def test_every_variable_is_one_that_the_gateway_knows_and_fits(file: Path) -> None:
    environ = resolved(file)["services"]["gateway"]["environment"]
    assert unknown(environ) == set() and unknown({**environ, "GATEWAY_WORKER": "2"}) == {"GATEWAY_WORKER"}
    configure(environ)


def test_every_upstream_of_the_platform_has_its_variable_with_the_tables_own_default() -> None:
    environ = resolved(PLATFORM)["services"]["gateway"]["environment"]
    assert {name: (environ.get(name),) for name in UPSTREAMS} == UPSTREAMS
    moved = {name: f"http://moved:{number}" for number, name in enumerate(UPSTREAMS, 1)}
    environ = resolved(PLATFORM, **moved)["services"]["gateway"]["environment"]
    assert {name: environ[name] for name in UPSTREAMS} == moved


def test_the_stand_ins_answer_to_every_name_that_the_table_calls() -> None:
    services = resolved(TRIAL)["services"]
    verifier = services["gateway"]["environment"]["RECAPTCHA_VERIFY_URL"]
    called = {URL(url).host for urls in (*UPSTREAMS.values(), (verifier,)) for url in urls}
    assert set(names({"demo": services["demo"]})) == called | {"demo"}
    assert services["demo"]["networks"].keys() & services["gateway"]["networks"].keys()


@each_file
def test_a_gateway_has_the_time_and_the_descriptors_that_it_may_need(file: Path) -> None:
    gateway = resolved(file)["services"]["gateway"]
    settings, _ = configure(gateway["environment"])
    assert int(gateway["stop_grace_period"].removesuffix("s")) > settings.drain_delay + settings.drain_timeout
    assert gateway["ulimits"]["nofile"] >= 2 * settings.max_connections


def test_promtool_is_content_with_the_scrape_and_catches_a_planted_fault(tmp_path: Path) -> None:
    folder = ROOT / "deploy" / "prometheus"
    assert promtool("check", "config", "compose.yaml").returncode == 0
    (tmp_path / "alerts.yaml").write_text((folder / "alerts.yaml").read_text())
    (tmp_path / "compose.yaml").write_text((folder / "compose.yaml").read_text().replace("interval: 5s", "interval: 5"))
    assert promtool("check", "config", "compose.yaml", cwd=tmp_path).returncode != 0


def test_grafana_finds_prometheus_and_the_dashboard_where_compose_puts_them() -> None:
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    services = resolved(TRIAL)["services"]
    mounted = {volume["target"]: Path(volume["source"]) for volume in services["grafana"]["volumes"]}
    assert mounted["/etc/grafana/provisioning"] == provisioning
    (port,) = (port["target"] for port in services["prometheus"]["ports"])
    assert f"url: http://prometheus:{port}\n" in (provisioning / "datasources" / "prometheus.yaml").read_text()
    (place,) = re.findall(r"path: (\S+)", (provisioning / "dashboards" / "aiogateway.yaml").read_text())
    dashboard = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert dashboard.startswith(f"{place}/") and mounted[dashboard].name == "dashboard.json"
    assert all(source.exists() for source in mounted.values())
