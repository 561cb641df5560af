"""The real program as a process: started with an environment of its own, ended by its pid, its output judged."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_port

from .client import Client, Response
from .polling import STEP
from .wire import Cut

PROJECT = Path(__file__).resolve().parents[3]
SECRET = "e2e-tests-" + "k" * 38
# Keys of an upstream that is never given up, whatever becomes of its requests.
PATIENT = "eject_after = 1000, eject_rate = 1.0"
READY_WITHIN = 60.0
GONE_WITHIN = 40.0
# How the program is started, unless a test says otherwise.
PROGRAM = (sys.executable, "-m", "aiogateway")
FORBIDDEN = ("Traceback", "Unclosed", "never retrieved", "Task was destroyed", "never awaited")


def write_table(folder: Path, upstreams: str, routes: str) -> Path:
    """Write a configuration folder: `upstreams.toml` and one route file, `routes/test.toml`. Returns the folder."""
    (folder / "routes").mkdir(parents=True)
    (folder / "upstreams.toml").write_text(upstreams)
    (folder / "routes" / "test.toml").write_text(routes)
    return folder


@dataclass
class Gateway:
    """A running gateway: its ports, its process, and short ways to speak to it."""

    process: subprocess.Popen[bytes]
    port: int
    admin_port: int
    log: Path

    def client(self, timeout: float = 30.0, window: int | None = None) -> Client:
        """A new connection to the public listener."""
        return Client(self.port, timeout, window)

    def ask(self, data: bytes, timeout: float = 30.0) -> Response:
        """Bytes over a connection of their own, and the answer to them."""
        with self.client(timeout) as client:
            return client.ask(data)

    def send(
        self, method: str, target: str, *fields: str, body: bytes | None = None, timeout: float = 30.0
    ) -> Response:
        """One request over a connection of its own; `fields` are whole lines, a body comes with its length."""
        return self.ask(request(method, target, *fields, body=body), timeout)

    def get(self, target: str, *fields: str) -> Response:
        """A GET over a connection of its own."""
        return self.send("GET", target, *fields)

    def admin(self, target: str) -> Response:
        """A GET to the admin listener."""
        with Client(self.admin_port) as client:
            return client.ask(request("GET", target))

    def limit_descriptors(self, count: int) -> None:
        """Let the process have so many descriptors, from now on."""
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (count, hard))

    @property
    def output(self) -> str:
        """What the program wrote so far, both streams."""
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        """End the program with SIGTERM and judge it (`ended`)."""
        self.process.send_signal(signal.SIGTERM)
        self.ended()

    def ended(self) -> None:
        """Wait for the end. Raises AssertionError when the exit code is not 0, or the output tells of a fault."""
        try:
            code = self.process.wait(GONE_WITHIN)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still there {GONE_WITHIN} s after SIGTERM: {self.output[-2000:]}") from None
        assert code == 0, f"exit code {code}: {self.output[-2000:]}"
        told = [line for line in self.output.splitlines() if any(word in line for word in FORBIDDEN)]
        assert not told, f"the output tells of a fault: {told[:3]}, all of it: {self.output[-4000:]}"


def request(method: str, target: str, *fields: str, body: bytes | None = None) -> bytes:
    """The bytes of a request; Host is added, and Content-Length where there is a body."""
    lines = [f"{method} {target} HTTP/1.1"]
    if not any(line.lower().startswith("host:") for line in fields):
        lines.append("Host: gateway.test")
    lines.extend(fields)
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin1") + (body or b"")


def environment(port: int, admin_port: int, settings: dict[str, str]) -> dict[str, str]:
    """A clean environment for the program, `settings` laid over the tests' own defaults; an empty value unsets."""
    clean = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    defaults = {
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "GATEWAY_ADMIN_HOST": "127.0.0.1",
        "GATEWAY_ADMIN_PORT": str(admin_port),
        "GATEWAY_DRAIN_DELAY": "0",
        "GATEWAY_AUTH_MODE": "off",
        "GATEWAY_RATE_LIMIT": "off",
        "JWT_SECRET": SECRET,
    }
    return {name: value for name, value in (clean | defaults | settings).items() if value}


def _await_ready(gateway: Gateway) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while True:
        code = gateway.process.poll()
        assert code is None, f"exited {code} before it was ready: {gateway.output[-3000:]}"
        assert time.monotonic() < deadline, f"not ready within {READY_WITHIN} s: {gateway.output[-3000:]}"
        with contextlib.suppress(OSError, Cut):
            if gateway.admin("/readyz").status == 200:
                return
        time.sleep(STEP * 4)


@contextlib.contextmanager
def running(
    config: Path | None, command: str = "serve", program: Sequence[str] = PROGRAM, **settings: str
) -> Iterator[Gateway]:
    """Run the program until the block ends, then end it with SIGTERM and judge its exit (`Gateway.stop`).

    `config` is a folder (`write_table`), None for the packaged table. A test may have ended the program itself.
    """
    port, admin_port = free_port(), free_port()
    if config is not None:
        settings = {"GATEWAY_CONFIG": str(config)} | settings
    with tempfile.TemporaryDirectory(prefix="gateway-e2e-") as folder:
        log = Path(folder) / "output"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [*program, command],
                env=environment(port, admin_port, settings),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=PROJECT,
                start_new_session=True,
            )
        gateway = Gateway(process, port, admin_port, log)
        try:
            _await_ready(gateway)
            yield gateway
            if process.poll() is None:
                gateway.stop()
            else:
                gateway.ended()
        finally:
            with contextlib.suppress(ProcessLookupError):  # what a failed test left behind, workers included
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def run_to_exit(arguments: Sequence[str], **settings: str) -> tuple[int, str]:
    """Run the program where it is expected to end by itself; its exit code and all it wrote. Gives up after 20 s."""
    port, admin_port = free_port(), free_port()
    done = subprocess.run(
        [*PROGRAM, *arguments],
        env=environment(port, admin_port, dict(settings)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=PROJECT,
        timeout=READY_WITHIN,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout
