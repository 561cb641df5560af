"""The demo's command: which environment its gateway reads, and what it prints."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from aiogateway.demo.command import demo_environment, gateway_ports
from aiogateway.demo.sample_page import PORT, SamplePage, sources_of
from aiogateway.demo.welcome import Addresses, base_url, lines, welcome_text

OWN = {"JWT_SECRET": "k" * 48, "AUTH_SERVICE_URL": "http://127.0.0.1:1"}
LAG = {"GATEWAY_OVERLOAD_LAG": "5"}
HOST = {"GATEWAY_HOST": "127.0.0.1", **LAG}


@pytest.mark.parametrize(
    ("environ", "read", "aside"),
    [
        ({}, {**HOST, **OWN}, []),
        ({"gateway_host": "::"}, {"gateway_host": "::", **LAG, **OWN}, []),
        ({"GATEWAY_HOST": " "}, {**HOST, **OWN}, []),
        ({"GATEWAY_PORT": "8001", "PATH": "/bin"}, {"GATEWAY_PORT": "8001", "PATH": "/bin", **HOST, **OWN}, []),
        ({"auth_service_url": "http://auth:1", "jwt_secret": "x"}, {**HOST, **OWN}, []),
        ({"JWT_JWKS_URL": "http://a/", "Jwt_Issuer": "a"}, {**HOST, **OWN}, ["JWT_JWKS_URL", "Jwt_Issuer"]),
        ({"GATEWAY_CONFIG": "a", "GATEWAY_WORKERS": "2"}, {**HOST, **OWN}, ["GATEWAY_CONFIG", "GATEWAY_WORKERS"]),
        ({"RECAPTCHA_HOSTNAMES": ""}, {"RECAPTCHA_HOSTNAMES": "", **HOST, **OWN}, []),
    ],
)
def test_the_demo_reads_the_environment_less_what_leads_it_away(
    environ: dict[str, str], read: dict[str, str], aside: list[str]
) -> None:
    assert demo_environment(environ, OWN) == (read, aside)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("fd00::1", "http://[fd00::1]:8000"),
        ("localhost", "http://localhost:8000"),
    ],
)
def test_a_listener_is_reached_from_this_machine_at(host: str, url: str) -> None:
    assert base_url("http", host, 8000) == url


@pytest.mark.parametrize("name", ["GATEWAY_PORT", "gateway_admin_port"])
def test_the_page_leaves_the_gateway_its_ports(name: str) -> None:
    with SamplePage(gateway_ports({name: f" {PORT} "})) as page:
        assert f":{PORT}/" not in page.url


@pytest.mark.parametrize(
    ("gateway", "sources"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000 ws://127.0.0.1:8000"),
        ("https://gateway.example:443", "https://gateway.example:443 wss://gateway.example:443"),
        ("http://[::1]:8000", "http: ws:"),
    ],
)
def test_the_pages_policy_names_the_gateway_as_far_as_policies_can(gateway: str, sources: str) -> None:
    assert sources_of(gateway) == sources


def test_every_printed_command_is_one_line_of_shell() -> None:
    for caption, command in lines("http://[::1]:8000", "user-1", "a.b.c"):
        assert "\n" not in caption + command
        assert "http://[::1]:8000/v2/" in shlex.join(shlex.split(command))
        subprocess.run(["sh", "-n", "-c", command], check=True, timeout=10)


def test_the_welcome_names_both_addresses_and_what_was_set_aside() -> None:
    text = welcome_text(Addresses("http://a:1", "http://b:2", "http://c:3/"), "user-1", "a.b.c", ["GATEWAY_CONFIG"])
    for part in (
        "http://c:3/ ",
        "http://a:1\n",
        "http://b:2/\n",
        "GATEWAY_CONFIG\n",
        "\ncurl -gsw '\\n' http://a:1/v2/login ",
    ):
        assert part in text
