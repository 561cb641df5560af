"""What is said to a service manager, over a real socket."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from aiogateway.oversight import Oversight
from aiogateway.service_manager import PATIENCE, ServiceManager, from_environment
from tests.notify_socket import NotifySocket, notify_socket


@pytest.fixture(params=["a path", "an abstract name"])
def sock(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NotifySocket]:
    address = str(tmp_path / "notify") if request.param == "a path" else f"@aiogateway-test/{os.getpid()}"
    with notify_socket(address) as listening:
        yield listening


Speak = Callable[[str], ServiceManager]


@pytest.fixture
def speak() -> Iterator[Speak]:
    """A manager's other side, until the test ends."""
    with ExitStack() as stack:
        yield lambda address: stack.enter_context(closing(ServiceManager(address)))


def environment(address: str, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": address, "PATH": "/bin", **more}


def test_each_state_is_a_message_of_its_own(sock: NotifySocket) -> None:
    with closing(from_environment(environment(sock.address, WATCHDOG_USEC="10000000"), stops_within=33.5)) as manager:
        assert manager.pace == 5.0
        life(manager, sock)


def life(manager: ServiceManager, sock: NotifySocket) -> None:
    manager.ready()
    assert sock.next().lines == {"READY": "1", "STATUS": "Serving"}
    before = time.monotonic_ns() // 1000
    manager.reloading()
    reloading = sock.next().lines
    assert reloading["RELOADING"] == "1"
    assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    manager.reloaded(refused=False)
    assert sock.next().lines == {"READY": "1", "STATUS": "Serving"}
    manager.reloaded(refused=True)
    assert "old configuration" in sock.next().lines["STATUS"]
    manager.alive()
    assert sock.next().lines == {"WATCHDOG": "1"}
    manager.stopping()
    stopping = sock.next()
    assert stopping.lines == {"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "33500000", "STATUS": "Draining"}
    assert stopping.sender == os.getpid()
    manager.reloading()
    manager.reloaded(refused=False)
    manager.crashing(False)
    manager.alive()
    assert [message.lines for message in sock.rest()] == [{"WATCHDOG": "1"}], "it stops, and does nothing else"


def test_who_is_named_in_the_environment_is_named_there_no_more() -> None:
    environ = environment("/run/notify", WATCHDOG_USEC="1", WATCHDOG_PID="1")
    from_environment(environ, 0)
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("variables", "pace"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getppid())}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "9" * 400}, None),
        ({"WATCHDOG_USEC": "9" * 5000}, None),
    ],
)
def test_signs_of_life_are_given_to_who_waits_for_this_process_s(variables: dict[str, str], pace: float | None) -> None:
    assert from_environment(environment("/run/notify", **variables), 0).pace == pace


@pytest.mark.parametrize("address", ["", "/", "@", "vsock:2:1234", "relative"])
def test_without_a_socket_nothing_is_said_nor_logged(address: str) -> None:
    with capture_logs() as lines:
        manager = from_environment(environment(address, WATCHDOG_USEC="3000000"), 0)
        manager.ready()
    assert (manager.listens, manager.pace, lines) == (False, None, [])


def test_a_manager_that_is_gone_is_logged_once_until_it_is_back(tmp_path: Path, speak: Speak) -> None:
    manager = speak(str(tmp_path / "notify"))
    with capture_logs() as lines:
        manager.ready()
        manager.alive()
        with notify_socket(tmp_path / "notify") as sock:
            manager.alive()
            assert sock.next().lines == {"WATCHDOG": "1"}
        manager.alive()
    assert [line["event"] for line in lines] == ["the service manager can't be told"] * 2


def test_a_manager_that_reads_nothing_holds_nobody_up_for_long(tmp_path: Path, speak: Speak) -> None:
    with notify_socket(tmp_path / "notify") as sock, capture_logs() as lines:
        manager = speak(sock.address)
        while not lines:  # until the socket's queue is full
            manager.alive()
        begun = time.monotonic()
        for _ in range(20):  # each is followed by another: a loop that waited for them would serve nobody
            manager.alive()
        assert time.monotonic() - begun < PATIENCE
        manager.stopping()
        assert PATIENCE <= time.monotonic() - begun < 10


def test_a_program_without_a_descriptor_left_says_that_it_lives(sock: NotifySocket, speak: Speak) -> None:
    manager = speak(sock.address)
    manager.ready()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            os.dup(0)
        manager.alive()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [message.lines for message in sock.rest()][1:] == [{"WATCHDOG": "1"}]


def test_a_parent_is_ready_when_every_worker_is(sock: NotifySocket, speak: Speak) -> None:
    oversight = Oversight(speak(sock.address), 2)
    for slot in (0, 1):
        oversight.born(slot)
    first, second = oversight.worker(0), oversight.worker(1)
    first.ready()
    oversight.look({0, 1})
    oversight.look({0})  # the other one died before it was ready
    assert sock.rest() == []
    second.ready()
    oversight.look({0, 1})
    oversight.look({0, 1})
    assert [message.lines["READY"] for message in sock.rest()] == ["1"]


@pytest.mark.parametrize("refused", [False, True])
def test_a_reload_is_over_when_every_worker_that_lives_serves_by_it(
    sock: NotifySocket, speak: Speak, refused: bool
) -> None:
    oversight = Oversight(speak(sock.address), 2)
    workers = [oversight.worker(0), oversight.worker(1)]
    for slot, worker in enumerate(workers):
        oversight.born(slot)
        worker.ready()
    oversight.look({0, 1})
    oversight.reloading()
    oversight.look({0, 1})
    oversight.read(refused=refused)
    workers[0].reloading()
    workers[0].reloaded(refused=refused)
    oversight.look({0, 1})
    assert [next(iter(message.lines)) for message in sock.rest()] == ["READY", "RELOADING"]
    oversight.look({0})  # the other one died; who takes its place begins with what was read
    (ready,) = sock.rest()
    assert ready.lines["READY"] == "1" and ("old configuration" in ready.lines["STATUS"]) is refused


def test_a_worker_that_began_before_a_reading_has_yet_to_take_it_up(sock: NotifySocket, speak: Speak) -> None:
    oversight = Oversight(speak(sock.address), 1)
    oversight.born(0)
    worker = oversight.worker(0)
    oversight.reloading()
    oversight.read(refused=False)
    worker.ready()
    oversight.look({0})
    assert "READY" not in sock.next().lines and sock.rest() == []
    worker.reloading()
    worker.reloaded(refused=False)
    oversight.look({0})
    assert sock.next().lines["READY"] == "1"
