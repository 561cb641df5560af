"""What is asked of the kernel and the C library, in processes where it may be changed."""

from __future__ import annotations

import os
import platform
import signal
from pathlib import Path

import pytest

from aiogateway import linux
from tests.programs import gone, run, running


def test_the_descriptor_limit_is_raised_as_far_as_it_goes() -> None:
    ended = run(
        "import resource; from aiogateway import linux\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))\n"
        "print(linux.raise_descriptor_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))\n"
        "print(linux.raise_descriptor_limit())"
    )
    assert (ended.stdout.split(), ended.returncode) == (["512", "512", "512", "512"], 0)


def test_the_allocator_takes_the_thresholds() -> None:
    ended = run("from aiogateway import linux; print(linux.tune_allocator())")
    expected = platform.libc_ver()[0] == "glibc"
    assert (ended.stdout.strip().endswith(str(expected)), ended.returncode) == (True, 0)


def test_a_large_buffer_is_no_mapping_of_its_own_any_more() -> None:
    """What it is for: a buffer of a quarter MiB stays on the heap, below the program's break."""
    if platform.libc_ver()[0] != "glibc":
        pytest.fail("these thresholds are glibc's; say here what this C library does instead")
    ended = run(
        "import ctypes; from aiogateway import linux\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p\n"
        "libc.malloc.argtypes = [ctypes.c_size_t]; libc.sbrk.argtypes = [ctypes.c_long]\n"
        "mapped = libc.malloc(256 << 10) > libc.sbrk(0)\n"
        "linux.tune_allocator()\n"
        "print(mapped, libc.malloc(256 << 10) > libc.sbrk(0))"
    )
    assert ended.stdout.split() == ["True", "False"]


CHILD = """
import os, signal, time
from aiogateway import linux

pid = os.fork()
if pid == 0:
    linux.die_with_parent(os.getppid())
    os.write(1, b"child %d\\n" % os.getpid())
time.sleep(60)
"""


def test_a_child_dies_with_its_parent() -> None:
    with running(CHILD) as program:
        (child,) = map(int, program.lines("child", 1))
        os.kill(program.process.pid, signal.SIGKILL)
        program.ended()
        assert gone(child)


def test_neighbours_in_memory_of_their_own_are_one_mapping() -> None:
    def mappings() -> int:
        return len(Path("/proc/self/maps").read_bytes().splitlines())

    before = mappings()
    kept = [linux.apart(bytes([number % 256]) * linux.APART) for number in range(300)]
    assert mappings() - before < 150
    assert all(data == bytes([number % 256]) * linux.APART for number, data in enumerate(kept))


def test_what_can_not_have_memory_of_its_own_stays_where_it_is() -> None:
    ended = run(
        "import resource; from pathlib import Path; from aiogateway import linux\n"
        "data = bytes(64 << 20)\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * linux.PAGE\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20), resource.RLIM_INFINITY))\n"
        "print(linux.apart(data) is data)"
    )
    assert (ended.stdout.strip(), ended.returncode) == ("True", 0)
