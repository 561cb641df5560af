"""What Linux tells about a process: its children, its memory, whose sockets are whose (proc(5))."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
ESTABLISHED = "01"


def children(pid: int) -> list[int]:
    """The direct children of a process, by all of its threads."""
    found: list[int] = []
    for task in (PROC / str(pid) / "task").glob("*/children"):
        with contextlib.suppress(OSError):
            found.extend(int(child) for child in task.read_text().split())
    return found


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    return [pid, *(below for child in children(pid) for below in tree(child))]


def memory(pid: int, line: str = "VmRSS") -> int:
    """Resident bytes of a process and all below it; `line` "VmHWM" gives the peaks instead."""
    total = 0
    for process in tree(pid):
        status = (PROC / str(process) / "status").read_text()
        total += next(int(entry.split()[1]) for entry in status.splitlines() if entry.startswith(f"{line}:")) << 10
    return total


@dataclass
class Growth:
    """Resident bytes before a block and at their peak within it."""

    before: int
    peak: int = 0

    @property
    def added(self) -> int:
        """Bytes by which the peak lies above the beginning."""
        return self.peak - self.before

    def __str__(self) -> str:
        mib = 1 << 20
        return f"{self.before / mib:.1f} MiB before, {self.peak / mib:.1f} at most, {self.added / mib:+.1f}"


@contextmanager
def peak_memory_of(pid: int) -> Iterator[Growth]:
    """Measure what a block adds to the resident memory of a process and all below it, by the kernel's own peak."""
    for process in tree(pid):
        (PROC / str(process) / "clear_refs").write_text("5")  # the peak starts anew at what is resident now
    growth = Growth(memory(pid))
    yield growth
    growth.peak = memory(pid, "VmHWM")


def connections_held(pid: int, port: int) -> int:
    """How many established connections to a local port this one process has open."""
    table = [line.split() for line in (PROC / "net" / "tcp").read_text().splitlines()[1:]]
    inodes = {row[9] for row in table if row[3] == ESTABLISHED and int(row[1].partition(":")[2], 16) == port}
    held = 0
    for descriptor in (PROC / str(pid) / "fd").iterdir():
        with contextlib.suppress(OSError):
            held += os.readlink(descriptor).removeprefix("socket:[").removesuffix("]") in inodes
    return held
