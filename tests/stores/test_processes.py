"""Shared counters under processes that are forked, hammer, die and are replaced."""

from __future__ import annotations

import os
import signal

import pytest

from tests.programs import run, running

COMMON = """
import os, sys, time
from aiogateway.stores import Policy, SharedCounters

def forked(work):
    pid = os.fork()
    if pid == 0:
        work()
        sys.stdout.flush()
        os._exit(0)
    return pid

def ended(pids):
    assert all(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 for pid in pids)
"""

HAMMERING = (
    COMMON
    + """
tries, limit, logged, how = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "log", sys.argv[4]
policy = Policy("p", limit, 3600, "s", logged)
other = Policy("q", 10**9, 3600, "t", False)
counters = SharedCounters(8000)
if how == "shared":  # until no place is left
    for number in range(40_000):
        counters.take([(other, str(number))])
begin = time.monotonic() + 0.1

def hammer():
    admitted = 0
    while time.monotonic() < begin:
        pass
    for number in range(tries):
        checks = [(policy, f"{os.getpid()} {number}" if how == "shared" else "a")]
        if how == "several":  # in either order, with a third one
            checks += [(policy, "b"), (other, str(number % 50))]
            checks = checks[:: 1 if number % 2 else -1]
        admitted += all(verdict.admitted for verdict in counters.take(checks))
    os.write(1, b"admitted %d\\n" % admitted)

ended([forked(hammer) for _ in range(4)])
ended([forked(hammer)])  # one that takes a place of those
print("left", counters.peek(policy, "a").remaining, flush=True)
"""
)


@pytest.mark.parametrize(
    ("limit", "kind", "how"),
    [(7, "log", "single"), (3000, "sub-windows", "single"), (10, "log", "several"), (3000, "sub-windows", "shared")],
)
def test_over_all_processes_exactly_the_limit_passes(limit: int, kind: str, how: str) -> None:
    said = run(HAMMERING, "2000", str(limit), kind, how)
    assert (said.returncode, said.stderr) == (0, "")
    *hammered, left, end = said.stdout.split("\n")
    assert sum(int(line.removeprefix("admitted ")) for line in hammered) == limit
    assert (len(hammered), left, end) == (5, "left 0", "")


DYING = (
    COMMON
    + """
dying = False

def clock():
    if dying:  # asked for while all locks are held
        print("holds", os.getpid(), flush=True)
        time.sleep(60)
    return time.monotonic_ns()

policy = Policy("p", 5, 3600, "s", True)
counters = SharedCounters(1, clock)
counters.take([(policy, "a")])

def die():
    global dying
    dying = True
    while True:  # whoever holds the locks may take its time to die
        counters.take([(policy, "a"), (policy, "b")])

for pid in [forked(die) for _ in range(int(sys.argv[1]))]:
    os.waitpid(pid, 0)
print("left", *(counters.take([(policy, "a"), (policy, "b")])[0].remaining for _ in range(5)), flush=True)
ended([forked(lambda: print("replaced", counters.peek(policy, "a").remaining, flush=True))])
"""
)


def test_a_process_that_is_killed_while_it_holds_a_lock_holds_up_nobody() -> None:
    with running(DYING, "2") as program:
        for _ in range(2):  # the second gets the lock when the first dies
            (holder,) = map(int, program.lines("holds", 1))
            os.kill(holder, signal.SIGKILL)
        assert program.lines("left", 1) == ["3 2 1 0 0"]
        assert program.lines("replaced", 1) == ["0"]
        assert program.ended() == 0


KILLED = (
    COMMON
    + """
import signal

policy = Policy("p", 300, 3600, "s", False)
log = Policy("q", 9, 3600, "t", True)
counters = SharedCounters(1)
read, write = os.pipe()

def hammer(told):
    while True:
        for number in range(60):  # more than have a place
            counters.take([(policy, str(number)), (log, str(number))])
        if counters.take([(policy, "one")])[0].admitted and told:
            os.write(write, b".")

def told():
    hammer(True)

def untold():
    hammer(False)

survivor = forked(told)
for _ in range(40):
    pid = forked(untold)
    time.sleep(0.003)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
os.kill(survivor, signal.SIGKILL)
os.waitpid(survivor, 0)
os.close(write)
own = [counters.take([(policy, "one")])[0].admitted for _ in range(400)]
print(len(os.read(read, 10_000)) + sum(own) <= 300, own[-1], counters.peek(policy, "one").remaining)
"""
)


def test_processes_killed_at_any_time_hold_up_nobody_and_let_nobody_through_twice() -> None:
    said = run(KILLED)
    assert (said.stdout, said.stderr, said.returncode) == ("True False 0\n", "", 0)


MEMORY = (
    COMMON
    + """
import re

def kib(name):
    with open("/proc/self/status") as file:
        return int(re.search(name + r":\\s*(\\d+) kB", file.read())[1])

policy = Policy("p", 5, 3600, "s", True)
before = kib("VmSize"), kib("RssShmem")
counters = SharedCounters(1_000_000)
for number in range(100):
    counters.take([(policy, str(number))])
    counters.peek(policy, "nobody" + str(number))
print(kib("VmSize") - before[0], kib("RssShmem") - before[1])
"""
)


def test_a_million_counters_have_room_in_128_mib_and_take_it_only_as_they_come() -> None:
    said = run(MEMORY)
    assert (said.stderr, said.returncode) == ("", 0)
    most, touched = (int(kib) for kib in said.stdout.split())
    assert 64 << 10 < most <= 128 << 10
    assert touched < 2 << 10
