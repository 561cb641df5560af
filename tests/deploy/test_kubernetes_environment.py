"""The gateway's own word on what the Kubernetes manifests give it: `check` with their variables and their routes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from aiogateway.settings.variables import FIELDS, POOL_FIELDS
from tests.e2e.harness import running
from tests.e2e.harness.gateway import run_to_exit

from .manifests import FOLDER, OVERLAYS, SECRETS, Manifests, manifests

POOLS: Final = {f"GATEWAY_POOL_{field.upper()}" for field in POOL_FIELDS}
PUBLIC_KEY: Final = "JWT_PUBLIC_KEY"


def checked(given: Manifests, folder: Path, **changed: str) -> tuple[int, str]:
    """Exit code and output of `aiogateway check` as it would run in the pod."""
    config = str(given.lay_out(folder))
    return run_to_exit(["check"], **given.environment() | {"GATEWAY_CONFIG": config, "GATEWAY_AUTH_MODE": ""} | changed)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_variable_is_one_that_the_gateway_knows(overlay: str) -> None:
    given = manifests(overlay)
    names = set(given.environment({**SECRETS, PUBLIC_KEY: "p", "RECAPTCHA_SECRET_KEY": "r"}))
    assert {PUBLIC_KEY, "RECAPTCHA_SECRET_KEY"} <= names <= FIELDS.keys() | POOLS


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_gateway_finds_no_fault_in_its_environment_and_its_routes(overlay: str, tmp_path: Path) -> None:
    code, output = checked(manifests(overlay), tmp_path)
    assert code == 0, output


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_DRAIN_TIME", "30"),
        ("GATEWAY_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("GATEWAY_WORKERS", "0"),
        ("JWT_SECRET", "short"),
        ("GATEWAY_REDIS_URL", "redis.test:6379"),
    ],
)
def test_a_fault_in_the_environment_is_named(name: str, value: str, tmp_path: Path) -> None:
    code, output = checked(manifests("large"), tmp_path, **{name: value})
    assert code == 1 and name in output


def test_a_fault_in_the_routes_is_named(tmp_path: Path) -> None:
    given = manifests("single")
    given.one("ConfigMap", "gateway-routes")["data"]["routes.toml"] = '[[route]]\npath = "/x"\nupstrem = "crawling"\n'
    code, output = checked(given, tmp_path)
    assert code == 1 and "routes/own.toml" in output and "upstrem" in output


def test_a_pod_without_any_key_says_which_to_set(tmp_path: Path) -> None:
    code, output = checked(manifests("single"), tmp_path, JWT_SECRET="")
    assert code == 1 and "JWT_PUBLIC_KEY" in output


def test_the_gateway_runs_with_what_the_manifests_give_it(tmp_path: Path) -> None:
    """But for ports, and addresses that only a cluster has. What it is started with is the container's `args`."""
    given = manifests("single")
    (command,) = given.container["args"]
    environment = given.environment() | {
        "GATEWAY_ADMIN_HOST": "127.0.0.1",
        "GATEWAY_ADMIN_TOKEN": "",
        "GATEWAY_AUTH_MODE": "",
        "GATEWAY_CONFIG": str(given.lay_out(tmp_path)),
        "GATEWAY_DRAIN_DELAY": "0",
    }
    # What Kubernetes adds where service links are on, for a Service called gateway.
    environment |= {"GATEWAY_SERVICE_HOST": "10.0.0.7", "GATEWAY_PORT_80_TCP": "tcp://10.0.0.7:80"}
    with running(None, command, **environment) as gateway:
        for probe in ("startup", "readiness", "liveness"):
            assert gateway.admin(given.container[f"{probe}Probe"]["httpGet"]["path"]).status == 200
        assert b"http_server_active_requests" in gateway.admin("/metrics").data


def test_the_readme_s_table_says_what_the_overlays_hold() -> None:
    lines = (FOLDER / "README.md").read_text().splitlines()
    rows = {
        cells[1].strip().strip("`"): cells[2:]
        for line in lines
        if (cells := line.split("|"))[0] == "" and len(cells) > 5
    }
    for overlay in OVERLAYS:
        given = manifests(overlay)
        scaler = given.find("HorizontalPodAutoscaler")
        most = scaler["spec"]["maxReplicas"] if scaler else given.least
        replicas, workers, requested, limit = (cell.strip() for cell in rows[overlay][:4])
        assert replicas == (f"{given.least} to {most}" if scaler else str(given.least))
        resources = given.container["resources"]
        assert workers == str(given.settings.workers)
        assert requested == f"{resources['requests']['cpu']} CPU, {resources['requests']['memory']}"
        assert limit == resources["limits"]["memory"]
