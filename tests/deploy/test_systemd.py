"""The unit: what systemd makes of it, and that the gateway lives under what it forbids."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from aiogateway.serving import CLOSING
from aiogateway.settings.variables import FIELDS, Variables
from aiogateway.workers import LEEWAY
from tests.deploy.confined import settings
from tests.e2e.harness import Backend, children, chunked, eventually, reply, request, running, write_table
from tests.notify_socket import notify_socket

ROOT: Final = Path(__file__).parents[2]
UNIT: Final = ROOT / "deploy" / "systemd" / "aiogateway.service"
PROGRAM: Final = Path(sys.executable).with_name("aiogateway")
WHERE_IT_SAYS: Final = "/opt/aiogateway/bin/aiogateway"
# Of `systemd-analyze security`, in tenths; systemd's versions differ a little.
EXPOSURE: Final = 14
ROUTES: Final = '[[route]]\npath = "/b/{rest:path}"\nupstream = "main"\nauth = "public"\nmax_body = "64 MiB"\n'


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)


def blocks() -> list[str]:
    """What the README has one type in."""
    readme = UNIT.with_name("README.md").read_text(encoding="utf-8")
    return re.findall(r"^```sh\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)


def planted(folder: Path, was: str = "", becomes: str = "") -> Path:
    """The unit in a folder, with a program that exists, and a fault."""
    text = UNIT.read_text(encoding="utf-8").replace(WHERE_IT_SAYS, str(PROGRAM))
    assert was in text
    (folder / UNIT.name).write_text(text.replace(was, becomes, 1))
    return folder / UNIT.name


def complaints(unit: Path) -> str:
    """What `systemd-analyze verify` finds; it passes over much of it itself, and exits with 0."""
    done = analyze("verify", "--man=no", "--recursive-errors=no", unit)
    return done.stderr or f"exit {done.returncode}" * (done.returncode != 0)


def test_systemd_is_content(tmp_path: Path) -> None:
    assert complaints(planted(tmp_path)) == ""


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("Type=notify", "Typ=notify"),
        ("WatchdogSec=30", "WatchdogSec=soon"),
        ("@system-service", "@system-servce"),
        ("AF_INET6", "AF_INET7"),
        ("WantedBy", "WantedBye"),
        (str(PROGRAM), "/opt/no/such/program"),
    ],
)
def test_a_planted_fault_is_caught(tmp_path: Path, was: str, becomes: str) -> None:
    assert complaints(planted(tmp_path, was, becomes)) != ""


def exposed(unit: Path) -> bool:
    return analyze("security", "--offline=true", f"--threshold={EXPOSURE}", unit).returncode != 0


def test_little_of_the_machine_is_in_reach(tmp_path: Path) -> None:
    assert not exposed(planted(tmp_path))


@pytest.mark.parametrize("key", ["DynamicUser", "CapabilityBoundingSet", "PrivateDevices", "RestrictAddressFamilies"])
def test_hardening_that_is_left_out_is_noticed(tmp_path: Path, key: str) -> None:
    assert exposed(planted(tmp_path, f"\n{key}=", "\n#"))


def test_a_stop_has_the_time_that_the_gateway_takes_for_it() -> None:
    unit = settings(UNIT)
    drain = dict(pair.split("=") for pair in unit["Environment"][0].split())
    defaults = Variables()
    assert float(drain["GATEWAY_DRAIN_DELAY"]) == defaults.drain_delay
    assert float(drain["GATEWAY_DRAIN_TIMEOUT"]) == defaults.drain_timeout
    assert int(unit["TimeoutStopSec"][0]) > sum(map(float, drain.values())) + CLOSING + LEEWAY


def test_unit_and_readme_name_variables_and_files_that_exist() -> None:
    text = UNIT.read_text(encoding="utf-8") + UNIT.with_name("README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\b(?:GATEWAY|JWT)_[A-Z_]+\b", text)) <= FIELDS.keys()
    assert all((ROOT / path).exists() for path in re.findall(r"\bdeploy/[\w./-]+", text))
    assert settings(UNIT)["ExecStart"] == [f"{WHERE_IT_SAYS} serve"]
    assert f"{Path(WHERE_IT_SAYS).parent}/pip install" in text
    assert settings(UNIT)["EnvironmentFile"] == ["-/etc/aiogateway/environment"]


def install(root: Path, block: str) -> None:
    """Do what a block of the README says, below a folder: all but pip, which needs a network, and systemctl."""
    lines = [line for line in block.splitlines() if not re.match(r"systemctl |python3 -m venv |/opt/", line)]
    script = re.sub(r"(?<![\w.=])/(etc)/", rf"{root}/\1/", "\n".join(lines))
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=ROOT, check=True, timeout=60)


def test_the_change_that_the_readme_shows_is_one_that_systemd_takes(tmp_path: Path) -> None:
    install(tmp_path, blocks()[2])
    drop_in = tmp_path / "etc" / "systemd" / "system" / "aiogateway.service.d"
    folder = shutil.copytree(drop_in, tmp_path / drop_in.name)
    unit = planted(tmp_path)
    assert complaints(unit) == ""
    (folder / "local.conf").write_text((folder / "local.conf").read_text().replace("MemoryMax", "MemoryMost"))
    assert "MemoryMost" in complaints(unit)


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend() as running_backend:
        yield running_backend


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """The environment that the unit gives, once installed as the README says."""
    (tmp_path / "etc" / "systemd" / "system").mkdir(parents=True)
    install(tmp_path, blocks()[0])
    file = tmp_path / "etc" / "aiogateway" / "environment"
    assert file.stat().st_mode & 0o777 == 0o600
    unit = settings(tmp_path / "etc" / "systemd" / "system" / UNIT.name)
    lines = [*(pair for line in unit["Environment"] for pair in line.split()), *file.read_text().splitlines()]
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_unit_s_commands_run_under_all_that_it_forbids(
    tmp_path: Path, backend: Backend, variables: dict[str, str], workers: str
) -> None:
    config = write_table(tmp_path / "table", f'main = {{ url = "http://localhost:{backend.port}" }}', ROUTES)
    start, test, reload = (shlex.split(line) for line in (*settings(UNIT)["ExecStart"], *settings(UNIT)["ExecReload"]))
    assert start[0] == test[0] == WHERE_IT_SAYS
    confined = [sys.executable, str(ROOT / "tests" / "deploy" / "confined.py"), str(UNIT)]
    own = {"GATEWAY_WORKERS": workers, "GATEWAY_AUTH_MODE": ""}
    path, size = backend.serve(reply(200, b"x" * (8 << 20))), 8 << 20
    with notify_socket(tmp_path / "notify") as sock:
        manager = {"NOTIFY_SOCKET": sock.address, "WATCHDOG_USEC": "1000000"}
        with running(config, start[1], program=[*confined, str(PROGRAM)], **variables | own | manager) as gateway:
            sock.await_state("READY")
            sock.await_state("WATCHDOG")
            for _ in range(4):
                answer = gateway.send("POST", path, body=bytes(size))
                assert (answer.status, len(answer.data)) == (200, size)
            piece = chunked(bytes(1 << 16), end=b"0\r\n\r\n")
            assert gateway.ask(request("POST", path, "Transfer-Encoding: chunked") + piece).status == 200
            assert gateway.admin("/metrics").status == gateway.admin("/").status == 200
            environ = variables | own | {"GATEWAY_CONFIG": str(config)}
            subprocess.run([*confined, str(PROGRAM), *test[1:]], env=environ, check=True, timeout=60)
            reload = [str(gateway.process.pid) if word == "$MAINPID" else word for word in reload]
            subprocess.run(reload, check=True, timeout=60)
            sock.await_state("RELOADING")
            assert sock.await_state("READY").lines["STATUS"] == "Serving"
            if workers == "2":
                before = set(children(gateway.process.pid))
                os.kill(min(before), signal.SIGKILL)
                eventually(lambda: set(children(gateway.process.pid)) - before, "a worker is replaced", within=20)
            gateway.process.send_signal(signal.SIGTERM)
            sock.await_state("STOPPING")
            gateway.ended()


@pytest.mark.parametrize(
    "forbidden",
    [
        "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)",
        "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
        "import socket; socket.socket(socket.AF_IPX, socket.SOCK_RAW)",
        "import ctypes; ctypes.CDLL(None).unshare(0x10000000)",
        "import os; os.chown('/nowhere', 0, 0)",
        "import os; os.sched_setaffinity(0, {0})",
    ],
)
def test_what_the_unit_forbids_would_end_a_program_in_that_test(forbidden: str) -> None:
    confined = [sys.executable, str(ROOT / "tests" / "deploy" / "confined.py"), str(UNIT), sys.executable, "-c"]
    assert subprocess.run([*confined, "pass"], timeout=60, check=False).returncode == 0
    assert subprocess.run([*confined, forbidden], timeout=60, check=False).returncode == -signal.SIGSYS
