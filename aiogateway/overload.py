"""Whether this worker has more to do than it can, so that new requests are better refused than made to wait.

Rules: what is in flight always finishes. A mark that was passed counts as passed until things have been calm for a
moment, or clearly better, lest requests be let in and refused by turns.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger(__name__)

LAG: Final = "lag"
MEMORY: Final = "memory"
CONNECTIONS: Final = "connections"
# Seconds without lag until the loop is thought to keep up again.
CALM: Final = 1.0
# Share by which memory must fall below its mark.
BETTER: Final = 0.02
PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Pressure:
    """:param most_lag: seconds by which the event loop may be late (`GATEWAY_OVERLOAD_LAG`).
    :param most_memory: share of the memory there is (`GATEWAY_OVERLOAD_MEMORY`).
    :ivar reason: why new requests are refused, `LAG` or `MEMORY`; None when they are not.
    """

    def __init__(self, most_lag: float, most_memory: float) -> None:
        self.reason: str | None = None
        self._most_lag = most_lag
        self._most_memory = most_memory
        self._late_until = 0.0
        self._full = False

    def lag(self, late: float, now: float) -> None:
        """Take note of how late the loop is.

        :param late: seconds.
        :param now: seconds, monotonic.
        """
        if late > self._most_lag:
            self._late_until = now + CALM
        elif self.reason != LAG:
            return
        self._decide(now, lag=round(late, 3))

    def memory(self, share: float, now: float) -> None:
        """Take note of how full the memory is.

        :param share: of what there is.
        :param now: seconds, monotonic.
        """
        self._full = share > self._most_memory - (BETTER if self._full else 0.0)
        self._decide(now, memory=round(share, 3))

    def _decide(self, now: float, **measured: float) -> None:
        reason = MEMORY if self._full else LAG if now < self._late_until else None
        if reason == self.reason:
            return
        self.reason = reason
        if reason is None:
            log.info("no longer overloaded", **measured)
        else:
            log.warning("overloaded, new requests are refused", reason=reason, **measured)


def memory_gauge(workers: int, root: Path = Path("/")) -> Callable[[], float]:
    """What reads how full the memory is, as a share: of the control group's limit if it has one, else of the machine's.

    :param workers: processes like this one, where only this one's use can be read.
    :param root: where `proc` and `sys` are.
    """
    total = _field((root / "proc/meminfo").read_text(), "MemTotal:") << 10
    for limit, used, stat, inactive in _groups(root):
        most = _number(limit)
        if most is not None and most < total:
            return lambda: (int(used.read_text()) - _field(stat.read_text(), inactive)) / most
    statm = root / "proc/self/statm"
    return lambda: int(statm.read_text().split()[1]) * PAGE * workers / total


def _groups(root: Path) -> list[tuple[Path, Path, Path, str]]:
    """Files of the control groups this process may be in: limit, use, statistics; and the field of idle file pages.

    The kernel takes those pages back when it needs them (cgroups(7); both versions).
    """
    found = []
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, names, inactive = "sys/fs/cgroup", ("memory.max", "memory.current"), "inactive_file"
        elif "memory" in controllers.split(","):
            mount, inactive = "sys/fs/cgroup/memory", "total_inactive_file"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        for base in (root / mount / path.lstrip("/"), root / mount):  # in a container, the latter is its own
            found.append((base / names[0], base / names[1], base / "memory.stat", inactive))
    return found


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _field(text: str, name: str) -> int:
    found = re.search(rf"^{re.escape(name)}\s+(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0
