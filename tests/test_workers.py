"""The parent of several workers, with real processes; and listening sockets."""

from __future__ import annotations

import os
import signal
import socket
import time
from itertools import pairwise

import pytest

from aiogateway.workers import BACKOFF, CannotListen, listen
from tests.programs import gone, run, running

# A worker prints its pid and waits for SIGTERM, which it says it got. What it answers then is the first argument.
STEADY = """
import os, signal, sys, time
from aiogateway import logs
from aiogateway.workers import Parent

logs.configure("info", "json")
stopped = []

def work(slot):
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.write(1, b"up %d\\n" % os.getpid())
    while not stopped:
        time.sleep(0.005)
    os.write(1, b"down %d\\n" % os.getpid())
    if sys.argv[1] == "raise":
        raise RuntimeError("on purpose")
    return int(sys.argv[1])

sys.exit(Parent(2, work, lambda: os.write(1, b"released\\n")).run())
"""
# A worker ends at once. The time of its start is printed.
HASTY = """
import os, sys, time
from aiogateway import logs
from aiogateway.workers import Parent

logs.configure("info", "json")

def work(slot):
    os.write(1, b"up %.3f\\n" % time.monotonic())
    return 1

sys.exit(Parent(1, work, lambda: None).run())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_passed_on_and_a_clean_end_is_0(number: int) -> None:
    with running(STEADY, "0") as program:
        pids = program.lines("up", 2)
        program.signal(number)
        assert program.lines("released", 1)
        assert sorted(program.lines("down", 2)) == sorted(pids)
        assert program.ended() == 0


@pytest.mark.parametrize("answer", ["1", "raise"])
def test_a_worker_that_ends_badly_after_a_stop_makes_it_1(answer: str) -> None:
    with running(STEADY, answer) as program:
        program.lines("up", 2)
        program.signal(signal.SIGTERM)
        assert program.ended() == 1


def test_a_worker_that_is_killed_is_replaced_and_that_is_no_fault_at_the_end() -> None:
    with running(STEADY, "0") as program:
        first, second = map(int, program.lines("up", 2))
        os.kill(first, signal.SIGKILL)
        (line,) = [line for line in iter_to(program.line, "up") if line.startswith("{")]
        assert '"code":-9' in line and f'"pid":{first}' in line
        program.signal(signal.SIGTERM)
        down = {int(pid) for pid in program.lines("down", 2)}
        assert second in down and first not in down and len(down) == 2
        assert program.ended() == 0


def iter_to(line: object, beginning: str) -> list[str]:
    """Lines up to the first that begins so."""
    assert callable(line)
    lines: list[str] = []
    while not (lines and lines[-1].startswith(beginning)):
        lines.append(str(line()))
        assert lines[-1], "it ended"
    return lines


def test_a_worker_that_dies_at_once_is_replaced_ever_more_slowly() -> None:
    with running(HASTY) as program:
        starts = [float(text) for text in program.lines("up", 4)]
        waits = [later - earlier for earlier, later in pairwise(starts)]
        least = [BACKOFF[0] * 2**step for step in range(3)]
        assert all(wait > 0.95 * expected for wait, expected in zip(waits, least, strict=True)), waits


def test_a_stop_ends_the_wait_for_a_replacement() -> None:
    with running(HASTY) as program:
        for _ in range(4):
            while "worker ended" not in program.line():
                pass
        begun = time.monotonic()
        program.signal(signal.SIGTERM)
        assert program.ended() == 0
        assert time.monotonic() - begun < 5.0


def test_workers_end_with_a_parent_that_is_killed() -> None:
    with running(STEADY, "0") as program:
        pids = [int(pid) for pid in program.lines("up", 2)]
        program.signal(signal.SIGKILL)
        program.ended()
        assert all(map(gone, pids))


def test_a_worker_s_failure_is_logged_with_its_reason() -> None:
    with running(STEADY, "raise") as program:
        program.lines("up", 2)
        program.signal(signal.SIGTERM)
        line = next(line for line in iter(program.line, "") if "worker failed" in line)
        assert "on purpose" in line and '"level":"error"' in line


def test_listening_takes_an_address_and_keeps_it() -> None:
    with listen("127.0.0.1", 0) as listener:
        port: int = listener.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"^can't listen on 127\.0\.0\.1 port {port}: Address already in use"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "not a name", "256.0.0.1", "a..b", "a" * 64])
def test_an_address_that_is_not_ours_is_one_line(host: str) -> None:
    with pytest.raises(CannotListen) as caught:
        listen(host, 0)
    assert str(caught.value).startswith(f"can't listen on {host} port 0: ")
    assert "\n" not in str(caught.value)


def test_both_families_can_be_listened_on() -> None:
    for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
        with listen(host, 0) as listener:
            assert listener.family == family
            assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1


def test_the_module_imports_without_side_effects() -> None:
    ended = run("import signal, aiogateway.workers; print(signal.pthread_sigmask(signal.SIG_BLOCK, []))")
    assert (ended.stdout.strip(), ended.returncode) == ("set()", 0)
