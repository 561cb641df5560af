"""Small programs that tests run in an interpreter of their own, where they may fork, die and change what is global."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

# Seconds that any one wait of a test may take.
PATIENCE = 60.0


def run(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end. Warnings are errors in it, as they are here."""
    command = [sys.executable, "-W", "error", "-c", text, *arguments]
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="surrogateescape", timeout=PATIENCE, check=False
    )


class Program:
    """A program that runs, and what it prints on stdout."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._selector = selectors.DefaultSelector()
        assert process.stdout is not None
        self._stdout = process.stdout
        self._selector.register(self._stdout, selectors.EVENT_READ)
        self._held = b""

    def line(self) -> str:
        """The next line it prints; empty when it has ended."""
        while b"\n" not in self._held:
            assert self._selector.select(PATIENCE), f"nothing was printed within {PATIENCE} s"
            data = os.read(self._stdout.fileno(), 65536)
            if not data:
                return ""
            self._held += data
        line, _, self._held = self._held.partition(b"\n")
        return line.decode()

    def lines(self, beginning: str, count: int) -> list[str]:
        """The next so many lines that begin so, without that beginning."""
        found: list[str] = []
        while len(found) < count:
            line = self.line()
            assert line, f"it ended before it printed {beginning!r} {count} times"
            if line.startswith(beginning):
                found.append(line.removeprefix(beginning).strip())
        return found

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """End it and the workers it forked, which share its process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        self._selector.close()
        self._stdout.close()


@contextlib.contextmanager
def running(text: str, *arguments: str) -> Iterator[Program]:
    """A program in a process group of its own, ended at the end."""
    command = [sys.executable, "-W", "error", "-c", text, *arguments]
    program = Program(subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True))
    try:
        yield program
    finally:
        program.close()


def stand_still(pid: int) -> None:
    """Stop a process, and return once it has stopped: the signal alone leaves it some more steps."""
    os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + PATIENCE
    while _state(pid) != "T":
        assert time.monotonic() < end, f"{pid} goes on"
        time.sleep(0.001)


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0]


def gone(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if _state(pid) == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False
