"""The image's health check, against a real gateway."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.deploy.dockerfile import ROOT
from tests.e2e.harness.gateway import running
from tests.ports import free_port


def check(**environ: str) -> tuple[int, str]:
    """Its exit code and what it says."""
    command = [sys.executable, "-IS", str(ROOT / "deploy" / "docker" / "health.py")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=10, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("host", ["", "0.0.0.0"])
def test_it_finds_the_admin_listener_whatever_its_address_and_token(host: str) -> None:
    own = {"GATEWAY_ADMIN_HOST": host} if host else {}
    with running(None, **own, GATEWAY_ADMIN_TOKEN="t" * 32) as gateway:
        # Names of variables count without regard to case, as the gateway reads them.
        assert check(gateway_admin_host=host, GATEWAY_ADMIN_PORT=str(gateway.admin_port)) == (0, "")


def test_a_gateway_that_drains_is_not_healthy() -> None:
    with running(None, GATEWAY_DRAIN_DELAY="2") as gateway:
        gateway.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 2
        while (said := check(GATEWAY_ADMIN_PORT=str(gateway.admin_port)))[0] == 0 and time.monotonic() < deadline:
            pass
        assert said == (1, "not ready: HTTP/1.0 503 Service Unavailable\n")


def test_where_nobody_listens_nothing_is_healthy() -> None:
    code, said = check(GATEWAY_ADMIN_PORT=str(free_port()))
    assert code == 1 and said.startswith("the admin listener can't be asked:") and "Traceback" not in said


def test_a_listener_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code, said = check(GATEWAY_ADMIN_PORT=str(silent.getsockname()[1]))
    assert code == 1 and "timed out" in said
