"""The image, made without an engine: what the Dockerfile runs is run, and what it starts is started, read-only."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import compose, driver
from tests.deploy.dockerfile import ROOT
from tests.deploy.image import PLACE, Image, sent
from tests.e2e.harness.gateway import SECRET
from tests.e2e.harness.processes import children
from tests.ports import free_port
from tests.test_frame import PINS

# Seconds that any one wait may take.
PATIENCE = 30.0
PROGRAMS = {"prometheus": ["prometheus"]}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    services = compose.resolved(compose.TRIAL)["services"]
    made = Image(tmp_path_factory.mktemp("image"), compose.names(services))
    try:
        made.build()
    except subprocess.CalledProcessError as error:
        raise AssertionError(f"{error}\n{error.stdout.decode()}{error.stderr.decode()}") from None
    return made


def output(command: list[str]) -> str:
    return subprocess.run(command, check=True, timeout=PATIENCE, capture_output=True, text=True).stdout


class Container:
    """The image's command, the first process of its own there."""

    def __init__(self, image: Image, log: Path, **environ: str) -> None:
        self.port, self.admin_port = free_port(), free_port()
        self._image, self._log = image, log
        self._environ = {
            "JWT_SECRET": SECRET,
            "GATEWAY_PORT": str(self.port),
            "GATEWAY_ADMIN_PORT": str(self.admin_port),
            "GATEWAY_DRAIN_DELAY": "0",
            **environ,
        }
        command = image.inside(image.own_command(), self._environ, options=("--unshare-pid", "--as-pid-1"))
        with log.open("wb") as sink:
            self.process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)

    @property
    def output(self) -> str:
        return self._log.read_text()

    def status(self) -> dict[str, str]:
        """What the kernel says of the gateway, by proc(5)'s names."""
        (first,) = children(self.process.pid)
        lines = Path(f"/proc/{first}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def healthy(self) -> bool:
        command = self._image.inside(self._image.stage.command("HEALTHCHECK"), self._environ)
        return subprocess.run(command, timeout=PATIENCE, capture_output=True, check=False).returncode == 0

    def await_health(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.healthy():
            assert self.process.poll() is None and time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def stop(self) -> int:
        """The exit code after the image's signal."""
        (first,) = children(self.process.pid)
        os.kill(first, getattr(signal, self._image.stage.one("STOPSIGNAL")))
        return self.process.wait(PATIENCE)


@contextlib.contextmanager
def container(image: Image, log: Path, **environ: str) -> Iterator[Container]:
    made = Container(image, log, **environ)
    try:
        yield made
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(made.process.pid, signal.SIGKILL)
        made.process.wait()


@pytest.mark.parametrize("workers", [1, 2])
def test_it_serves_read_only_as_nobody_is_healthy_and_ends_well_when_told(
    image: Image, tmp_path: Path, workers: int
) -> None:
    with container(image, tmp_path / "log", GATEWAY_WORKERS=str(workers)) as gateway:
        assert not gateway.healthy()  # so soon
        gateway.await_health()
        status = gateway.status()
        assert (status["NSpid"].split()[-1], status["CapEff"]) == ("1", "0" * 16)
        assert gateway.stop() == 0
    told = [json.loads(line) for line in gateway.output.splitlines()]
    noted = {line["event"] for line in told if line["level"] != "info"}
    assert len(noted) == 1 and "RECAPTCHA_SECRET_KEY" in noted.pop()


def test_that_it_found_nowhere_to_write_would_be_noticed(image: Image, tmp_path: Path) -> None:
    with container(image, tmp_path / "log", TMPDIR="/opt") as gateway:
        gateway.await_health()
        gateway.stop()
    assert "there was no warming up" in gateway.output


def test_nothing_can_be_written_but_memory_and_the_user_is_the_images(image: Image) -> None:
    tries = f"for each in / /etc /usr {PLACE} /dev/shm; do touch $each/written 2>/dev/null && echo $each; done; id -u"
    assert output(image.inside(["sh", "-c", tries])).split() == ["/dev/shm", "65532"]


def test_it_holds_what_is_pinned_and_nothing_else(image: Image) -> None:
    text = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()), sep='\\n')"
    found = {re.sub(r"[-_.]+", "-", line).lower() for line in output(image.inside(["python", "-c", text])).splitlines()}
    pins = {re.sub(r"[-_.]+", "-", f"{name}{pin.specifier}") for name, pin in PINS.items()}
    own = {line for line in found if line.startswith("aiogateway==")}
    assert found - own == pins and len(own) == 1


def test_its_modules_are_compiled(image: Image) -> None:
    (package,) = image.mounts[PLACE].glob("lib/python*/site-packages/aiogateway")
    sources = {path.relative_to(package).with_suffix("") for path in package.rglob("*.py")}
    compiled = {path.relative_to(package) for path in package.rglob("__pycache__/*.pyc")}
    assert sources == {path.parent.parent / path.name.partition(".")[0] for path in compiled}


def test_all_of_compose_but_grafana_runs_and_works_together(image: Image) -> None:
    services = compose.resolved(compose.TRIAL)["services"]
    asked = []
    for name in ("redis", "demo", "gateway", "prometheus"):
        service = services[name]
        own = service["image"] == compose.IMAGE
        command, entrypoint = service.get("command") or [], service.get("entrypoint")
        health = service.get("healthcheck", {}).get("test", ["CMD", *image.stage.command("HEALTHCHECK")])[1:]
        # The other images have entry points of their own: Redis' takes a command, Prometheus' only options.
        words = image.own_command(entrypoint, command) if own else [*PROGRAMS.get(name, ()), *command]
        asked.append({"name": name, "words": words, "environ": service.get("environment", {}), "health": health})
    place = image.inside(
        ["python", "/driver.py"],
        options=("--unshare-net", "--unshare-pid", "--tmpfs", "/prometheus"),
        mounts={"/driver.py": Path(driver.__file__), "/etc/prometheus": ROOT / "deploy" / "prometheus"},
    )
    done = subprocess.run(place, input=json.dumps(asked), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["chatbots"] and found["counters in Redis"] > 0
    assert len(found["upstreams"]) == 20 and set(found["upstreams"].values()) == {"1"}
    assert found["ended"] == dict.fromkeys(found["ended"], 0)


def test_the_build_is_sent_what_it_needs_and_nothing_else() -> None:
    named = "LICENSE README.md pyproject.toml requirements.txt setup.cfg setup.py deploy/docker/health.py"
    packaged = {str(path.relative_to(ROOT)) for path in (ROOT / "aiogateway").rglob("*") if path.is_file()}
    packaged = {name for name in packaged if not name.endswith(".pyc")}
    assert sent() - {".dockerignore"} == {*named.split(), *packaged}


def test_what_is_secret_or_only_lies_about_is_not_sent(tmp_path: Path) -> None:
    wanted = tmp_path / "aiogateway" / "cli.py"
    unwanted = (
        ".env aiogateway/.env .git/config deploy/.env deploy/compose.yaml tests/test_cli.py key.pem .venv/pyvenv.cfg "
        "aiogateway/__pycache__/cli.cpython-311.pyc aiogateway/old.pyc deploy/docker/.env"
    )
    for path in (wanted, *(tmp_path / name for name in unwanted.split())):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert sent(tmp_path) == {"aiogateway/cli.py"}
