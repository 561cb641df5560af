"""Locks between processes, some of which die."""

from __future__ import annotations

import os
import signal

from aiogateway.stores.locks import Locks
from tests.programs import running

HOLDING = """
import os, time
from aiogateway.stores.locks import Locks, Stuck

def hold(number):
    try:
        locks.hold(number)
    except Stuck:
        print("stuck", flush=True)
        hold(number)

locks = Locks(2)
locks.hold(0)
pid = os.fork()
if pid == 0:
    locks.let_go()  # what its parent holds is not the child's
    locks.hold(1)
    print("holds", flush=True)
    hold(0)
    print("has both", flush=True)
    locks.let_go()
    time.sleep(60)
time.sleep(60)
"""


def test_who_dies_with_a_lock_leaves_it_to_the_next() -> None:
    with running(HOLDING) as program:
        program.lines("holds", 1)
        os.kill(program.process.pid, signal.SIGKILL)
        assert program.lines("has both", 1) == [""]


def test_who_is_stopped_with_a_lock_stops_nobody_else() -> None:
    with running(HOLDING) as program:
        program.lines("stuck", 2)
        os.kill(program.process.pid, signal.SIGKILL)
        assert program.lines("has both", 1) == [""]


def test_a_lock_that_is_held_already_stays_held() -> None:
    locks = Locks(3)
    locks.hold(1)
    locks.hold(1)
    locks.hold(2)
    locks.let_go()
    locks.let_go()
    locks.hold(1)
    locks.let_go()
    locks.close()


def test_closing_twice_is_harmless() -> None:
    locks = Locks(1)
    locks.close()
    locks.close()
