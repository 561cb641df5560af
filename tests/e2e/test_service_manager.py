"""The program as a service manager sees it: ready, reloading, stopping, alive."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.notify_socket import NotifySocket, notify_socket
from tests.programs import stand_still

from .harness import Backend, Gateway, children, eventually, reply, run_to_exit, running, write_table

# Seconds of silence after which the watchdog would end the program.
WATCHDOG = 2.0
ROUTE = '[[route]]\npath = "/b/{rest:path}"\nupstream = "main"\nauth = "public"\n'


@pytest.fixture
def sock(tmp_path: Path) -> Iterator[NotifySocket]:
    with notify_socket(tmp_path / "notify") as listening:
        yield listening


@pytest.fixture
def config(tmp_path: Path, backend: Backend) -> Path:
    return write_table(tmp_path / "config", f'main = {{ url = "{backend.url}" }}', ROUTE)


@contextlib.contextmanager
def watched(config: Path, sock: NotifySocket, workers: int, **settings: str) -> Iterator[Gateway]:
    """The program, under a watchdog, once it said that it is ready."""
    variables = {"NOTIFY_SOCKET": sock.address, "WATCHDOG_USEC": f"{WATCHDOG * 1e6:.0f}"} | settings
    with running(config, GATEWAY_WORKERS=str(workers), **variables) as gateway:
        assert sock.await_state("READY").sender == gateway.process.pid
        yield gateway


@pytest.mark.parametrize("workers", [1, 2])
def test_a_life_is_ready_reloading_ready_stopping_each_said_once_by_the_first_process(
    config: Path, sock: NotifySocket, backend: Backend, workers: int
) -> None:
    path = backend.serve(reply(200, b"ok"), under="/new")
    with watched(config, sock, workers, GATEWAY_DRAIN_DELAY="1", GATEWAY_DRAIN_TIMEOUT="20") as gateway:
        assert [gateway.get(path).status for _ in range(10)] == [404] * 10
        (config / "routes" / "test.toml").write_text(ROUTE.replace("/b/", "/new/"))
        gateway.process.send_signal(signal.SIGHUP)
        said = [sock.await_state("RELOADING"), sock.await_state("READY")]
        assert [gateway.get(path).status for _ in range(20)] == [200] * 20, "it was not ready"
        gateway.process.send_signal(signal.SIGTERM)
        said.append(sock.await_state("STOPPING"))
        assert int(said[-1].lines["EXTEND_TIMEOUT_USEC"]) > 21e6
        gateway.ended()
        said += (rest := sock.rest())
    assert {message.sender for message in said} == {gateway.process.pid}
    assert not [message for message in rest if message.lines.keys() & {"READY", "RELOADING", "STOPPING"}]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_refused_reload_is_over_too_and_the_status_says_so(config: Path, sock: NotifySocket, workers: int) -> None:
    with watched(config, sock, workers) as gateway:
        (config / "routes" / "test.toml").write_text("nonsense")
        gateway.process.send_signal(signal.SIGHUP)
        sock.await_state("RELOADING")
        assert "old configuration" in sock.await_state("READY").lines["STATUS"]
        (config / "routes" / "test.toml").write_text(ROUTE)
        gateway.process.send_signal(signal.SIGHUP)
        sock.await_state("RELOADING")
        assert sock.await_state("READY").lines["STATUS"] == "Serving"


@pytest.mark.parametrize("workers", [1, 2])
def test_the_watchdog_hears_of_it_while_every_loop_turns_and_no_longer(
    config: Path, sock: NotifySocket, workers: int
) -> None:
    with watched(config, sock, workers) as gateway:
        for _ in range(3):
            assert sock.await_state("WATCHDOG").sender == gateway.process.pid
        frozen = max(children(gateway.process.pid), default=0) if workers > 1 else gateway.process.pid
        stand_still(frozen)
        try:
            # A few were said before, or go by a sign of life that is still good.
            assert any(sock.silent("WATCHDOG", WATCHDOG * 0.6) for _ in range(6))
            assert sock.silent("WATCHDOG", WATCHDOG * 1.5)
        finally:
            os.kill(frozen, signal.SIGCONT)
        sock.await_state("WATCHDOG")


def test_a_worker_that_dies_is_replaced_and_the_watchdog_hears_of_life_meanwhile(
    config: Path, sock: NotifySocket
) -> None:
    with watched(config, sock, 2) as gateway:
        before = set(children(gateway.process.pid))
        os.kill(max(before), signal.SIGKILL)
        eventually(lambda: len(set(children(gateway.process.pid)) - before) == 1, "it is replaced", within=20)
        for _ in range(4):
            sock.await_state("WATCHDOG")


def test_what_ends_before_it_serves_never_says_that_it_is_ready(sock: NotifySocket) -> None:
    code, _ = run_to_exit(["serve"], NOTIFY_SOCKET=sock.address, GATEWAY_TIMEOUT_SHORT="x")
    assert code == 1
    assert sock.rest() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_manager_that_can_t_be_told_is_no_reason_not_to_serve(config: Path, tmp_path: Path, workers: int) -> None:
    with running(config, GATEWAY_WORKERS=str(workers), NOTIFY_SOCKET=str(tmp_path / "nobody")) as gateway:
        eventually(lambda: "the service manager can't be told" in gateway.output, "it is logged")
        assert gateway.get("/healthz").status == 200
