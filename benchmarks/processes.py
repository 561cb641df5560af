"""Starting, pinning, ending processes, and reading from /proc what a process and its descendants used.

Rules: each process is started in a session of its own, and only that process group is ever signalled. CPU is
utime + stime + those of reaped children, so a worker that ends in between is not lost. Peak memory is the kernel's
own high-water mark, reset before the measurement, so no peak falls between two samples.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PROC = Path("/proc")
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
REPOSITORY = Path(__file__).resolve().parent.parent
READY_SECONDS = 20.0
STOP_SECONDS = 5.0
IDLE_SECONDS = 0.1
FAULT_CHARACTERS = 400


class BenchError(Exception):
    """Something of the measurement did not run; the text says what, and what it said."""


def cores() -> tuple[str, str]:
    """The core of the proxy and the cores of load and backend, as `taskset -c` takes them."""
    allowed = sorted(os.sched_getaffinity(0))
    others = allowed[1:] or allowed
    return str(allowed[0]), ",".join(map(str, others))


@contextlib.contextmanager
def running(
    argv: Sequence[str],
    core: str,
    log: Path,
    environ: Mapping[str, str] | None = None,
    output: int = subprocess.DEVNULL,
) -> Iterator[int]:
    """Run a command pinned to `core` for as long as the block lasts; gives its pid.

    :param log: keeps its standard error.
    :param output: takes its standard output, the access log; left out, that is dropped, as all contenders' is.
    """
    with log.open("wb") as errors:
        process = subprocess.Popen(
            ["taskset", "-c", core, *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            cwd=REPOSITORY,
            env={**os.environ, **(environ or {})},
            start_new_session=True,
        )
    try:
        yield process.pid
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the group, SIGKILL to what is left of it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def call(argv: Sequence[str], core: str, seconds: float) -> str:
    """Run a command on `core` to its end and give its standard output.

    Raises BenchError when it fails or takes longer than `seconds`.
    """
    process = subprocess.Popen(
        ["taskset", "-c", core, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as late:
        raise BenchError(f"{argv[0]} took more than {seconds:.0f} s") from late
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        raise BenchError(f"{' '.join(argv[:3])}: {(err or out).strip()[-FAULT_CHARACTERS:]}")
    return out


def wait_for_port(port: int, pid: int, log: Path, seconds: float = READY_SECONDS) -> None:
    """Return once something accepts on 127.0.0.1:`port`; raises BenchError when `pid` ends or takes too long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if state(pid) in "ZX":
            break
        time.sleep(0.02)
    raise BenchError(f"nothing listens on port {port}: {log.read_text(errors='replace').strip()[-FAULT_CHARACTERS:]}")


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command name (which may hold blanks), so `state` comes first."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def state(pid: int) -> str:
    """The one-letter state of a process; `X` when it is gone."""
    try:
        return stat_fields(pid)[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def tree(root: int) -> list[int]:
    """`root` and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                children.setdefault(int(stat_fields(int(entry.name))[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def cpu_seconds(root: int) -> float:
    """CPU seconds of user and system time of `root`, its descendants, and those it has reaped."""
    ticks = 0
    for pid in tree(root):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            ticks += sum(map(int, stat_fields(pid)[11:15]))
    return ticks / TICKS_A_SECOND


def waited_seconds(pid: int) -> float:
    """Seconds that a process, its first thread, was ready to run and had no core (the kernel's sched-stats)."""
    return int((PROC / str(pid) / "schedstat").read_text().split()[1]) / 1e9


def settle(root: int) -> None:
    """Return once the tree used no CPU for a moment: what clients left behind is no part of the next measurement.

    Raises BenchError when it is never idle.
    """
    deadline = time.monotonic() + READY_SECONDS
    before = -1.0
    while (now := cpu_seconds(root)) != before:
        if time.monotonic() > deadline:
            raise BenchError(f"still busy {READY_SECONDS:.0f} s after its last client left")
        before = now
        time.sleep(IDLE_SECONDS)


class MemoryGrowth:
    """How far the resident memory of a process tree rises above what it is now, in MiB, at its peak.

    Each process' high-water mark less what it held at the start: pages shared since a fork cancel out.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._before = {}
        for pid in tree(root):
            (PROC / str(pid) / "clear_refs").write_text("5")  # proc(5): resets VmHWM to the present VmRSS
            self._before[pid] = _status_kib(pid, "VmRSS")

    def peak_mib(self) -> float:
        """The sum over the processes of peak less start, in MiB."""
        growth = (_status_kib(pid, "VmHWM") - self._before.get(pid, 0) for pid in tree(self._root))
        return sum(growth) / 1024


def resident_mib(root: int) -> float:
    """Resident memory of the tree, in MiB; shared pages are counted once (proportional set size)."""
    total = 0
    for pid in tree(root):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def _status_kib(pid: int, field: str) -> int:
    for line in (PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    return 0  # a process that is just ending has no memory any more
