"""`aiogateway serve` with a clock on its event loop: `python -m benchmarks.callback_clock FOLDER serve`.

All CPU that the loop's thread uses falls into one of two kinds of spans: a callback (a step of a task, a timer, a call
of a protocol), or what lies between two of them, which is the loop's own work: polling, writing, accepting. What is
called in a way not known here lies between two, and makes that span longer, never shorter: no CPU goes unseen. It is
the thread's own CPU clock that measures, so others on the machine don't count.

A thread looks every other millisecond, and takes the stack of what has run for long. When the loop ends, all spans that
were long, and all runs of the garbage collector, are in a file of `FOLDER` named after the process.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, NamedTuple

import uvloop

from aiogateway.cli import main

# CPU in nanoseconds from which a span is kept, and from which its stack is taken.
KEPT: Final = 2_000_000
LOOKED_AT: Final = 5_000_000
# Seconds between looks, and frames that are told of a stack.
LOOK: Final = 0.002
FRAMES: Final = 8
METHODS: Final = (
    *("connection_made", "connection_lost", "pause_writing", "resume_writing"),
    *("data_received", "eof_received", "get_buffer", "buffer_updated"),
)
BETWEEN: Final = "between callbacks"


class Span(NamedTuple):
    """:ivar at: seconds, monotonic, of its end.
    :ivar cpu: seconds.
    :ivar gc: seconds of it that the garbage collector took.
    """

    at: float
    cpu: float
    what: str
    gc: float
    stack: str


class Clock:
    """Measures the thread that makes it."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.callbacks = 0
        # Seconds of each generation's longest collection, and how many objects it found.
        self.collected = [(0.0, 0)] * 3
        self._cpu_clock = time.pthread_getcpuclockid(threading.get_ident())
        self._thread = threading.get_ident()
        self._ended = time.thread_time_ns()
        self._inside = False
        self._seen: tuple[int, str] = (-1, "")
        self._collecting = 0
        self._collected = 0
        gc.callbacks.append(self._collect)
        threading.Thread(target=self._look, daemon=True).start()

    def run(self, callback: Callable[..., Any], *args: Any) -> Any:
        """Call it, and take note of what it used; one inside another is part of that one."""
        if self._inside or threading.get_ident() != self._thread:
            return callback(*args)
        self._close(BETWEEN)
        self._inside = True
        try:
            return callback(*args)
        finally:
            self._inside = False
            self.callbacks += 1
            self._close(callback)

    def _close(self, what: object) -> None:
        """A span ends, and the next begins."""
        now = time.thread_time_ns()
        used = now - self._ended
        if used >= KEPT:
            stack = self._seen[1] if self._seen[0] == self._ended else ""
            self.spans.append(Span(time.monotonic(), used / 1e9, name(what), self._collected / 1e9, stack))
            now = time.thread_time_ns()
        self._ended, self._collected = now, 0

    def _look(self) -> None:
        while True:
            time.sleep(LOOK)
            began = self._ended
            if self._seen[0] != began and time.clock_gettime_ns(self._cpu_clock) - began >= LOOKED_AT:
                frame = sys._current_frames()[self._thread]
                lines = [
                    f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in traceback.extract_stack(frame)
                ]
                self._seen = began, " < ".join(reversed(lines[-FRAMES:]))

    def _collect(self, phase: str, info: dict[str, int]) -> None:
        if threading.get_ident() != self._thread:
            return
        if phase == "start":
            self._collecting = time.thread_time_ns()
        else:
            took = time.thread_time_ns() - self._collecting
            self._collected += took
            at = info["generation"]
            self.collected[at] = max(self.collected[at], (took / 1e9, info["collected"]))


def name(what: object) -> str:
    """What a callback is, in words."""
    if isinstance(what, str):
        return what
    while isinstance(what, functools.partial):
        what = what.func
    owner = getattr(what, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return f"a step of {getattr(owner.get_coro(), '__qualname__', owner.get_coro())}"
    return str(getattr(what, "__qualname__", what))


class Loop(uvloop.Loop):
    """uvloop's, each of whose callbacks goes by the clock."""

    def __init__(self) -> None:
        self.clock = Clock()

    # The stubs tie a callback's arguments to it, which nobody needs here.
    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        return super().call_soon(self.clock.run, callback, *args, context=context)

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        return super().call_soon_threadsafe(self.clock.run, callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        return super().call_later(delay, self.clock.run, callback, *args, context=context)


def clocked(method: Callable[..., Any]) -> Callable[..., Any]:
    """A protocol's method that goes by the clock of the loop that runs."""

    @functools.wraps(method)
    def call(*args: Any) -> Any:
        loop = asyncio._get_running_loop()
        return loop.clock.run(method, *args) if isinstance(loop, Loop) else method(*args)

    return call


def watch_protocols(kind: type[asyncio.BaseProtocol] = asyncio.BaseProtocol) -> None:
    """Have the methods of all protocols there are go by the clock."""
    for each in kind.__subclasses__():
        for called in METHODS:
            if called in vars(each):
                setattr(each, called, clocked(vars(each)[called]))
        watch_protocols(each)


def serve(folder: Path, run: Callable[..., Any], work: Coroutine[Any, Any, None]) -> None:
    """What takes the place of `uvloop.run`."""
    watch_protocols()
    made: list[Loop] = []

    def make() -> Loop:
        made.append(Loop())
        return made[0]

    run(work, loop_factory=make)
    clock = made[0].clock
    told = {"spans": clock.spans, "callbacks": clock.callbacks, "collected": clock.collected}
    (folder / f"{os.getpid()}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    uvloop.run = functools.partial(serve, Path(sys.argv.pop(1)), uvloop.run)  # type: ignore[assignment]
    main()
