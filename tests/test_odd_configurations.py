"""Configurations that nobody writes on purpose: each is a line that names its place, never a traceback or a hang."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aiogateway.routes import configure
from aiogateway.settings import ConfigError, parse
from tests.config_folders import KEY, faults, folder, load

ROUTE = '[[route]]\npath = "/a"\nupstream = "b"\n'
# Seconds. The command takes less than one; it must not wait for what never comes.
PATIENCE = 20.0
# A user that owns nothing.
NOBODY = 65534


def run(command: str, **environ: str) -> tuple[int, list[str]]:
    """Exit code and lines of a command. Bytes that are no UTF-8 stand in variables as lone surrogates."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-m", "aiogateway", command],
        env=kept | KEY | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        check=False,
    )
    output = ended.stdout.decode(errors="replace")
    assert "Traceback" not in output, output
    return ended.returncode, output.splitlines()


NO_NAMES = {
    "an empty label": "a..b",
    "an empty first label": ".a",
    "a label too long": "a" * 64,
    "one of several too long": f"inner.{'a' * 64}.test",
}


@pytest.mark.parametrize("host", NO_NAMES.values(), ids=NO_NAMES)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_upstream_s_host_that_no_resolver_takes_is_a_fault(tmp_path: Path, scheme: str, host: str) -> None:
    (fault,) = faults(tmp_path, ROUTE, f'[b]\nurl = "{scheme}://{host}:80"\n')
    assert (fault.where, fault.entry, fault.key) == ("upstreams.toml", "[b]", "url")


@pytest.mark.parametrize("host", NO_NAMES.values(), ids=NO_NAMES)
def test_so_is_one_in_the_upstream_s_variable(tmp_path: Path, host: str) -> None:
    upstreams = '[b]\nurl = "http://b"\nenv = "B_URL"\n'
    (fault,) = faults(tmp_path, ROUTE, upstreams, B_URL=f"http://b,http://{host}:80")
    assert fault.entry == "B_URL"


@pytest.mark.parametrize("host", ["a" * 63, "a.b.", "a_b.c-d", "xn--bcher-kva.test", "[::1]", "127.0.0.1"])
def test_a_host_that_a_resolver_takes_is_none(tmp_path: Path, host: str) -> None:
    assert load(tmp_path, ROUTE, f'[b]\nurl = "http://{host}:81"\n').upstreams["b"].urls == (f"http://{host}:81",)


BUNDLES = {
    "text": b"root:x:0:0:root:/root:/bin/sh\n",
    "nothing": b"",
    "bytes": bytes(range(256)),
    "a certificate that is none": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
}


@pytest.mark.parametrize("content", BUNDLES.values(), ids=BUNDLES)
def test_a_bundle_that_holds_no_certificates_is_a_fault(tmp_path: Path, content: bytes) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(content)
    (fault,) = faults(tmp_path, ROUTE, f'[b]\nurl = "https://b"\nca_file = "{bundle}"\n')
    assert (fault.where, fault.entry, fault.key) == ("upstreams.toml", "[b]", "ca_file")


def test_the_commands_tell_of_a_bad_bundle_instead_of_failing_later(tmp_path: Path) -> None:
    (tmp_path / "bundle.pem").write_bytes(BUNDLES["text"])
    config = folder(tmp_path, ROUTE, f'[b]\nurl = "https://b"\nca_file = "{tmp_path / "bundle.pem"}"\n')
    for command in ("check", "serve"):
        code, lines = run(command, GATEWAY_CONFIG=str(config), GATEWAY_WORKERS="2")
        assert code == 1
        assert [line.split(": ")[2] for line in lines] == ["ca_file"]


@pytest.mark.parametrize("command", ["check", "serve"])
def test_variables_that_are_no_utf_8_are_faults_that_name_them(command: str) -> None:
    odd = "\udcff\udcfe"
    environ = {"GATEWAY_HOST": odd, "AUTH_SERVICE_URL": f"http://{odd}", f"GATEWAY_F{odd}": "1", "GATEWAY_PORT": odd}
    code, lines = run(command, **environ)
    assert code == 1
    assert len(lines) == len(environ)
    for name in ("GATEWAY_HOST", "AUTH_SERVICE_URL", "GATEWAY_F", "GATEWAY_PORT"):
        assert [line for line in lines if line.startswith(f"environment: {name}")], name


def test_a_folder_s_name_that_is_no_utf_8_is_a_fault(tmp_path: Path) -> None:
    code, lines = run("check", GATEWAY_CONFIG=f"{tmp_path}/\udcff")
    assert code == 1
    assert lines and all(line.startswith("environment: GATEWAY_CONFIG") for line in lines)


FILES = {
    "arrays.toml": "x = " + "[" * 5000 + "]" * 5000,
    "tables.toml": "x = " + "{a = " * 3000 + "1" + "}" * 3000,
    "number.toml": ROUTE + "max_body = " + "9" * 5000,
}


@pytest.mark.parametrize("command", ["check", "serve"])
def test_files_that_can_t_be_read_to_an_end_are_faults_that_name_them(tmp_path: Path, command: str) -> None:
    config = folder(tmp_path, ROUTE)
    for name, text in FILES.items():
        (config / "routes" / name).write_text(text, encoding="utf-8")
    os.mkfifo(config / "routes" / "pipe.toml")
    (config / "routes" / "loop.toml").symlink_to("loop.toml")
    (config / "routes" / "folder.toml").mkdir()
    code, lines = run(command, GATEWAY_CONFIG=str(config))
    assert code == 1
    odd = sorted([*FILES, "pipe.toml", "loop.toml", "folder.toml"])
    assert sorted(line.partition(": ")[0] for line in lines) == [f"routes/{name}" for name in odd]


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may read what nobody else may."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(own)


@pytest.mark.parametrize(
    ("hidden", "told"),
    [
        ("", "environment: GATEWAY_CONFIG: '{root}' can't be read: Permission denied"),
        ("config", "upstreams.toml: can't be read: Permission denied"),
        ("config/routes", "routes: can't be read: Permission denied"),
        ("config/routes/test.toml", "routes/test.toml: can't be read: Permission denied"),
    ],
)
def test_what_may_not_be_read_is_a_fault(hidden: str, told: str) -> None:
    with tempfile.TemporaryDirectory() as above:
        os.chmod(above, 0o755)
        root = folder(Path(above, "config"), ROUTE)
        os.chmod(Path(above, hidden), 0)
        with unprivileged(), pytest.raises(ConfigError) as caught:
            configure({**KEY, "GATEWAY_CONFIG": str(root)})
    assert told.format(root=root) in [str(fault) for fault in caught.value.faults]


def test_a_folder_s_name_that_is_too_long_is_a_fault() -> None:
    with pytest.raises(ConfigError, match=r"GATEWAY_CONFIG: .* can't be read: File name too long"):
        configure({**KEY, "GATEWAY_CONFIG": "/" + "a" * 300})


def test_an_upstreams_file_that_is_a_pipe_is_a_fault(tmp_path: Path) -> None:
    config = folder(tmp_path, ROUTE)
    (config / "upstreams.toml").unlink()
    os.mkfifo(config / "upstreams.toml")
    code, lines = run("check", GATEWAY_CONFIG=str(config))
    assert code == 1
    assert [line.partition(": ")[0] for line in lines] == ["upstreams.toml"]


@pytest.mark.parametrize("text", ["1000000001", "1e10", "1e308", "9" * 400])
@pytest.mark.parametrize("name", ["GATEWAY_TIMEOUT_SHORT", "GATEWAY_DRAIN_DELAY", "GATEWAY_POOL_B_MAX_AGE"])
def test_a_time_of_more_than_30_years_is_a_fault(name: str, text: str) -> None:
    _, found = parse({**KEY, name: text})
    assert [fault.entry for fault in found] == [name]
    assert parse({**KEY, name: "1000000000"})[1] == []


@pytest.mark.parametrize("text", ["1000000001", "1e10", "1e308", "9" * 400])
def test_so_it_is_in_the_table(tmp_path: Path, text: str) -> None:
    (fault,) = faults(tmp_path, f"{ROUTE}timeout = {text}\n")
    assert (fault.where, fault.key) == ("routes/test.toml", "timeout")
    (fault,) = faults(tmp_path, ROUTE, f'[b]\nurl = "http://b"\nhealth_interval = {text}\n')
    assert (fault.where, fault.key) == ("upstreams.toml", "health_interval")
