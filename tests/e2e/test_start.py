"""Starts that fail: each with one list or one line, exit code 1 and no traceback."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from .harness import Backend, reply, run_to_exit, running, write_table

UPSTREAMS = 'b = { url = "http://127.0.0.1:1" }'
ROUTE = '[[route]]\npath = "/a"\nupstream = "b"\n'

BROKEN = """
[[route]]
path = "/a"
upstream = "nope"
timout = 3
[[route]]
path = "/b"
upstream = "b"
timeout = "forever"
[[route]]
path = "/c"
upstream = "b"
[[route]]
path = "/c"
upstream = "b"
[[route]]
path = "/d/{x}"
upstream = "b"
upstream_path = "/d/{y}"
"""
NAMED = (
    "test.toml",
    "nope",
    "timout",
    "forever",
    "/c",
    "upstream_path",
    "GATEWAY_POOL_MAX_CONECTIONS",
    "GATEWAY_TIMEOUT_SHORT",
)


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_broken_table_and_environment_are_told_at_once(tmp_path: Path, command: str) -> None:
    config = write_table(tmp_path / "config", UPSTREAMS, BROKEN)
    code, output = run_to_exit(
        [command], GATEWAY_CONFIG=str(config), GATEWAY_POOL_MAX_CONECTIONS="5", GATEWAY_TIMEOUT_SHORT="abc"
    )
    assert code == 1
    assert "Traceback" not in output
    assert [name for name in NAMED if name.lower() not in output.lower()] == []
    assert "GATEWAY_POOL_MAX_CONNECTIONS" in output


TABLES = {
    "no TOML": "[[route]\n",
    "an unknown key": ROUTE + "colour = 1\n",
    "a wrong type": ROUTE + 'methods = "GET"\n',
    "no path": '[[route]]\nupstream = "b"\n',
    "no upstream": '[[route]]\npath = "/a"\n',
}


@pytest.mark.parametrize("routes", TABLES.values(), ids=TABLES)
def test_a_broken_route_file_ends_the_start(tmp_path: Path, routes: str) -> None:
    code, output = run_to_exit(["serve"], GATEWAY_CONFIG=str(write_table(tmp_path / "config", UPSTREAMS, routes)))
    assert code == 1
    assert "test.toml" in output
    assert "Traceback" not in output


def test_a_missing_folder_ends_the_start(tmp_path: Path) -> None:
    code, output = run_to_exit(["serve"], GATEWAY_CONFIG=str(tmp_path / "none"))
    assert code == 1
    assert "none" in output
    assert "Traceback" not in output


def test_enforcing_without_a_key_ends_the_start_and_names_the_variables() -> None:
    code, output = run_to_exit(["serve"], JWT_SECRET="", GATEWAY_AUTH_MODE="")
    assert code == 1
    assert all(name in output for name in ("JWT_SECRET", "JWT_PUBLIC_KEY", "JWT_JWKS_URL"))
    assert "Traceback" not in output


def test_a_short_secret_ends_the_start_and_is_not_shown() -> None:
    code, output = run_to_exit(["serve"], JWT_SECRET="tooshortbutsecret", GATEWAY_AUTH_MODE="enforce")
    assert code == 1
    assert "JWT_SECRET" in output
    assert "tooshortbutsecret" not in output


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("variable", ["GATEWAY_PORT", "GATEWAY_ADMIN_PORT"])
def test_a_port_in_use_is_one_clear_line(tmp_path: Path, variable: str, workers: str) -> None:
    config = write_table(tmp_path / "config", UPSTREAMS, ROUTE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, output = run_to_exit(["serve"], GATEWAY_CONFIG=str(config), GATEWAY_WORKERS=workers, **{variable: port})
    assert code == 1
    assert port in output
    assert "Traceback" not in output
    assert len([line for line in output.splitlines() if port in line]) == 1


@pytest.mark.parametrize("variable", ["GATEWAY_PORT", "GATEWAY_ADMIN_PORT"])
def test_the_demo_says_so_too_when_its_port_is_in_use(variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, output = run_to_exit(["demo"], **{variable: port})
    assert code == 1
    assert "Traceback" not in output
    assert len([line for line in output.splitlines() if port in line]) == 1


@pytest.mark.parametrize("variable", ["GATEWAY_HOST", "GATEWAY_ADMIN_HOST"])
@pytest.mark.parametrize("host", ["a..b", "a" * 64], ids=["an empty label", "a label too long"])
def test_a_host_that_no_resolver_takes_is_one_clear_line(tmp_path: Path, variable: str, host: str) -> None:
    config = write_table(tmp_path / "config", UPSTREAMS, ROUTE)
    code, output = run_to_exit(["serve"], GATEWAY_CONFIG=str(config), **{variable: host})
    assert code == 1
    (line,) = output.splitlines()
    assert host in line and "Traceback" not in line


def test_the_packaged_table_starts_and_may_be_laid_over(tmp_path: Path) -> None:
    with Backend() as backend:
        upstreams = f'extends = "packaged"\n[mine]\nurl = "{backend.url}"\n'
        routes = '[[route]]\npath = "/mine/{rest:path}"\nupstream = "mine"\nauth = "public"\n'
        with running(write_table(tmp_path / "config", upstreams, routes), AUTH_SERVICE_URL=backend.url) as gateway:
            assert gateway.get(backend.serve(reply(200, b"mine"), "/mine")).data == b"mine"
            backend.serve(reply(200, b"login"), at="/v2/login")
            assert gateway.send("POST", "/v2/login", body=b"email=a").data == b"login"
            assert gateway.get("/v2/nothing-here").status == 404


def test_options_of_the_command_win_over_the_environment(tmp_path: Path) -> None:
    config = write_table(tmp_path / "config", UPSTREAMS, ROUTE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, output = run_to_exit(["serve", "--port", port, "--config", str(config), "--host", "127.0.0.1"])
    assert code == 1
    assert port in output
