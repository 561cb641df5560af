"""How much of the memory it may use this program uses: readings of /proc and /sys, each a small file.

The limit is the tightest of the own control group and those around it (cgroup v2, else v1). Pages of files that nobody
uses lately count for nothing: the kernel takes them back before it ends anybody. Without such a limit it is the
machine's memory, and what is in use is this process' share times the workers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import structlog

log = structlog.get_logger(__name__)

PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Group(NamedTuple):
    """A control group with a limit.

    :ivar idle: the line of `memory.stat` that says what the kernel could take back.
    """

    limit: int
    current: Path
    stat: Path
    idle: bytes

    def used(self) -> int:
        """Bytes in use, less what the kernel could take back."""
        idle = 0
        for line in self.stat.read_bytes().splitlines():
            name, _, value = line.partition(b" ")
            if name == self.idle:
                idle = int(value)
        return int(self.current.read_bytes()) - idle


def _groups(proc: Path, sys: Path) -> Iterator[Group]:
    """The own groups that have a limit, and those around them."""
    for line in (proc / "self/cgroup").read_text().splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        top = sys / "fs/cgroup" / ("memory" if kinds else "")
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if kinds else ("memory.max", "memory.current")
        idle = b"total_inactive_file" if kinds else b"inactive_file"
        folder = top.joinpath(*Path(path).parts[1:])
        # In a container the path may be one that only the host knows: its own group is at the top then.
        for each in (folder, *folder.parents):
            limit = each / names[0]
            if limit.is_file() and (text := limit.read_text().strip()) != "max":
                yield Group(int(text), each / names[1], each / "memory.stat", idle)
            if each == top:
                break


def reading(workers: int, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> Callable[[], float] | None:
    """What answers the share of the memory limit that is in use; None where the system says nothing of it.

    :param workers: how many processes share the machine's memory, this one included.
    """
    try:
        total = next(
            int(line.split()[1]) * 1024
            for line in (proc / "meminfo").read_text().splitlines()
            if line.startswith("MemTotal:")
        )
        group = min(_groups(proc, sys), default=None)
    except (OSError, ValueError, IndexError, StopIteration) as exc:
        log.warning("memory can't be watched", reason=str(exc))
        return None
    if group is not None and group.limit < total:
        limit = group
        return lambda: limit.used() / limit.limit
    resident = proc / "self/statm"
    return lambda: int(resident.read_bytes().split()[1]) * PAGE * workers / total


class Watch:
    """Tells how much memory is in use. Where that can't be read, it says so once.

    :param read: as `reading` answers.
    :param saw: told the share, and the time in seconds.
    """

    def __init__(self, read: Callable[[], float] | None, saw: Callable[[float, float], None]) -> None:
        self._read = read
        self._saw = saw
        self._failed = False

    def look(self, now: float) -> None:
        """:param now: seconds, monotonic."""
        if self._read is None:
            return
        try:
            self._saw(self._read(), now)
        except (OSError, ValueError, IndexError) as exc:
            if not self._failed:
                log.warning("memory can't be watched", reason=str(exc))
            self._failed = True
        else:
            self._failed = False
