"""Pipes that bodies go through inside the kernel, kept for the next one while nothing is in them."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import Final

import structlog

log = structlog.get_logger(__name__)

# Bytes that a pipe is to hold, while there are few bodies; the kernel may give less.
CAPACITY: Final = 512 * 1024
# Empty pipes that are kept: to make one costs as much as to copy 100 KB.
SPARE: Final = 16


class Impossible(Exception):
    """There are no descriptors for it; nothing was moved."""


class Pipes:
    """A worker's pipes that nothing is in."""

    def __init__(self) -> None:
        self._spare: list[tuple[int, int]] = []
        self._told = False

    def take(self) -> tuple[int, int]:
        """One to read from and to write to; to be given back.

        :raises Impossible: no descriptors are left.
        """
        if self._spare:
            return self._spare.pop()
        try:
            outlet, inlet = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as exc:
            self.tell(exc)
            raise Impossible from exc
        with contextlib.suppress(OSError):  # whoever has many pipes gets small ones
            fcntl.fcntl(inlet, fcntl.F_SETPIPE_SZ, CAPACITY)
        return outlet, inlet

    def give_back(self, pipe: tuple[int, int], *, empty: bool) -> None:
        if empty and len(self._spare) < SPARE:
            self._spare.append(pipe)
            return
        for descriptor in pipe:
            os.close(descriptor)

    def tell(self, exc: OSError) -> None:
        """Log, the first time, that there are no descriptors."""
        if not self._told:
            self._told = True
            log.warning("bodies are copied, for the kernel can't move them", reason=str(exc))


PIPES: Final = Pipes()
