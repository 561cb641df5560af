"""The parent of several workers, with real processes."""

from __future__ import annotations

import os
import re
import signal
import time
from itertools import pairwise

import pytest

from aiogateway.parent import BACKOFF, LOOP
from tests.programs import gone, running

# A worker prints its pid and waits for SIGTERM, which it says it got. What it answers then is the first argument.
STEADY = """
import os, signal, sys, time
from aiogateway import logs
from aiogateway.oversight import Oversight
from aiogateway.parent import Parent
from aiogateway.service_manager import ServiceManager

logs.configure("info", "json")
stopped = []

def read():
    os.write(1, b"reading %d\\n" % os.getpid())
    time.sleep(0.1)
    return int(sys.argv[2])

def ended(code):
    os.write(1, b"ended %d\\n" % code)

def work(slot):
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"told %d\\n" % os.getpid()))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGUSR1})
    os.write(1, b"up %d\\n" % os.getpid())
    while not stopped:
        time.sleep(0.005)
    os.write(1, b"down %d\\n" % os.getpid())
    if sys.argv[1] == "raise":
        raise RuntimeError("on purpose")
    return int(sys.argv[1])

nobody = Oversight(ServiceManager(None), 2)
release = lambda: os.write(1, b"released\\n")
sys.exit(Parent(2, work, release, read=read, read_ended=ended, tell=lambda on: None, oversight=nobody).run())
"""
# A worker ends at once. The time of its start is printed.
HASTY = """
import os, sys, time
from aiogateway import logs
from aiogateway.oversight import Oversight
from aiogateway.parent import Parent
from aiogateway.service_manager import ServiceManager

logs.configure("info", "json")

def work(slot):
    os.write(1, b"up %.3f\\n" % time.monotonic())
    return 1

def tell(on):
    os.write(1, b"crashing %d\\n" % on)

nobody, nothing = Oversight(ServiceManager(None), 1), lambda *told: 0
sys.exit(Parent(1, work, nothing, read=nothing, read_ended=nothing, tell=tell, oversight=nobody).run())
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
        least = [0.0, BACKOFF[0], 2 * BACKOFF[0]]  # the first is no sign of anything
        assert all(wait > 0.95 * expected for wait, expected in zip(waits, least, strict=True)), waits


def test_a_crash_loop_is_told() -> None:
    with running(HASTY) as program:
        seen = iter_to(program.line, "crashing")
        assert seen[-1].strip() == "crashing 1"
        assert sum(line.startswith("up") for line in seen) == LOOP


def test_what_is_read_again_is_read_once_and_told_to_every_worker() -> None:
    with running(STEADY, "0", "0") as program:
        pids = program.lines("up", 2)
        program.signal(signal.SIGHUP)
        assert program.lines("ended", 1) == ["0"]
        assert sorted(program.lines("told", 2)) == sorted(pids)
        program.signal(signal.SIGTERM)
        assert program.ended() == 0


def test_asking_while_it_is_read_has_it_read_once_more() -> None:
    with running(STEADY, "0", "0") as program:
        program.lines("up", 2)
        program.signal(signal.SIGHUP)
        iter_to(program.line, "reading")
        for _ in range(5):
            program.signal(signal.SIGHUP)
        seen = iter_to(program.line, "ended") + iter_to(program.line, "ended")
        assert sum(line.startswith("reading") for line in seen) == 1
        program.signal(signal.SIGTERM)
        rest = list(iter(program.line, ""))
        assert not [line for line in rest if line.startswith("reading")]
        assert program.ended() == 0


def test_a_reader_that_fails_is_told_to_every_worker_too() -> None:
    with running(STEADY, "0", "3") as program:
        pids = program.lines("up", 2)
        program.signal(signal.SIGHUP)
        assert program.lines("ended", 1) == ["3"]
        assert sorted(program.lines("told", 2)) == sorted(pids)
        program.signal(signal.SIGTERM)
        assert program.ended() == 0


def test_a_stop_ends_the_reading_and_nobody_is_told_of_it() -> None:
    with running(STEADY.replace("time.sleep(0.1)", "time.sleep(60)"), "0", "0") as program:
        program.lines("up", 2)
        program.signal(signal.SIGHUP)
        (reader,) = re.findall(r"\d+", iter_to(program.line, "reading")[-1])
        program.signal(signal.SIGTERM)
        rest = list(iter(program.line, ""))
        assert not [line for line in rest if line.startswith(("ended", "told"))]
        assert program.ended() == 0
        assert gone(int(reader))


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
