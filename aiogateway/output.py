"""Standard output, as far as logs are concerned: lines are handed over at once and written by a thread.

Rules: the event loop never waits for whoever reads the log. What finds too many bytes waiting is dropped and counted,
and once there is room a line says how many were. Lines are never written in part, as far as that is in our hands:
several processes that share a pipe write pieces of whole lines that the kernel doesn't mix.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Iterator
from typing import Final

import orjson

# Bytes that may wait.
CAPACITY: Final = 4 << 20
# Bytes written at once: of a pipe that others write to, so many that they stay together (POSIX, PIPE_BUF).
ALONE: Final = 64 << 10
SHARED: Final = select.PIPE_BUF
# Seconds between tries to write where nothing can be written.
PAUSE: Final = 0.2
# Seconds that the end of the program waits for what is still to be written.
CLOSING: Final = 2.0


class Output:
    """Lines on their way out. Before `start` they are written at once, by whoever hands them over.

    :param descriptor: of the file they go to.
    :param capacity: bytes that may wait.
    :ivar lost: lines that were dropped.
    """

    def __init__(self, descriptor: int = 1, capacity: int = CAPACITY) -> None:
        self.lost = 0
        self._told = 0
        self._descriptor = descriptor
        self._capacity = capacity
        self._at_once = ALONE
        self._lines: list[bytes] = []
        self._batches: deque[list[bytes]] = deque()
        self._handed = 0
        self._done = 0
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def start(self, *, shared: bool = False) -> None:
        """Write in a thread from now on; call it after a fork.

        :param shared: whether other processes write to the same file.
        """
        self._at_once = SHARED if shared else ALONE
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Take a line, with its end."""
        if self._thread is None:
            self._put(line)
        elif self._handed - self._done + len(line) > self._capacity:
            self.lost += 1
        else:
            self._handed += len(line)
            self._lines.append(line)

    def flush(self) -> None:
        """Hand over what was taken."""
        if self._lines:
            self._batches.append(self._lines)
            self._lines = []
            self._wake.set()

    def close(self) -> None:
        """Write what can be written within `CLOSING` seconds."""
        if self._thread is None:
            return
        self.flush()
        self._closing = True
        self._wake.set()
        self._thread.join(CLOSING)
        if not self._thread.is_alive():
            self._thread = None

    def _run(self) -> None:
        while not self._closing or self._batches:
            self._wake.wait()
            self._wake.clear()
            while self._batches:
                batch = self._batches.popleft()
                for piece, count in self._pieces(batch):
                    if not self._put(piece):
                        self.lost += count
                    self._done += len(piece)
                self._confess()
        self._confess()

    def _confess(self) -> None:
        """Tell how many lines were lost since that was told last; more may be while this is written."""
        lost = self.lost
        event = {"event": "log lines were lost", "level": "warning", "count": lost - self._told}
        if lost > self._told and self._put(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)):
            self._told = lost

    def _pieces(self, lines: list[bytes]) -> Iterator[tuple[bytes, int]]:
        """Whole lines together, as many as may be written at once, and how many they are."""
        some: list[bytes] = []
        size = 0
        for line in lines:
            if some and size + len(line) > self._at_once:
                yield b"".join(some), len(some)
                some, size = [], 0
            some.append(line)
            size += len(line)
        if some:
            yield b"".join(some), len(some)

    def _put(self, data: bytes) -> bool:
        """Write all of it, however long that takes; False when the file takes none."""
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # somebody else made the pipe non-blocking
                select.select((), (self._descriptor,), (), PAUSE)
            except OSError:  # nobody reads, or the disk is full: the next line may have more luck
                return False
        return True
