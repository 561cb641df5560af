"""A TCP proxy that does to connections what networks and dying machines do.

It stands before a backend. Which fault holds can be changed while it runs, and is decided when a connection is made.
`at` counts bytes of the direction that the fault is in; what came before them is passed on unharmed.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from .backend import PATIENCE
from .client import reset

CHUNK = 64 << 10


@dataclass(frozen=True)
class Fault:
    """What happens, in one direction, once `at` bytes have passed.

    :ivar does: `reset`, `close`, `half_close` (of the direction), `stall` (nothing more passes), `delay` (once, for
        `seconds`), `trickle` (`size` bytes every `seconds`), `corrupt` (`size` bytes are inverted), or nothing.
    :ivar towards: `backend` or `gateway`.
    """

    does: str = ""
    at: int = 0
    towards: str = "gateway"
    seconds: float = 0.0
    size: int = 1


NONE = Fault()
BLACKHOLE = Fault("blackhole")
"""Connections are made, and nothing is ever read or said."""


class Broken(Exception):
    """The fault ended the connection."""


class FaultyProxy:
    """Listens on a port of 127.0.0.1 and passes on to another, as `fault` lets it."""

    def __init__(self, port: int, fault: Fault = NONE) -> None:
        self._backend = port
        self.fault = fault
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._ending = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections = 0
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(PATIENCE)

    def cut(self) -> None:
        """End every connection, as a network does that goes away and comes back."""
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ending.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._hold, client, self.fault)

    def _hold(self, client: socket.socket, fault: Fault) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(client.close)
            try:
                if fault is BLACKHOLE:
                    self._ending.wait(PATIENCE)
                    return
                there = stack.enter_context(socket.create_connection(("127.0.0.1", self._backend), PATIENCE))
            except OSError:
                return
            with self._lock:
                self._open |= {client, there}
            passed = {"backend": 0, "gateway": 0}
            ways = {client: (there, "backend"), there: (client, "gateway")}
            with contextlib.suppress(OSError, Broken):
                while ways and not self._ending.is_set():
                    for source in select.select(list(ways), (), (), 0.1)[0]:
                        target, towards = ways[source]
                        data = source.recv(CHUNK)
                        if not data:
                            del ways[source]
                            target.shutdown(socket.SHUT_WR)
                            continue
                        own = fault if fault.towards == towards else NONE
                        self._pass_on(data, target, source, own, passed[towards])
                        passed[towards] += len(data)
            with self._lock:
                self._open -= {client, there}

    def _pass_on(self, data: bytes, target: socket.socket, source: socket.socket, fault: Fault, before: int) -> None:
        """Pass on what comes before the fault, do it, and pass on the rest if it lets any."""
        if not fault.does or before + len(data) <= fault.at:
            target.sendall(data)
            return
        good = max(fault.at - before, 0)
        target.sendall(data[:good])
        rest, first = data[good:], before <= fault.at
        if fault.does == "corrupt":
            if first:
                rest = bytes(byte ^ 0xFF for byte in rest[: fault.size]) + rest[fault.size :]
            target.sendall(rest)
        elif fault.does == "delay":
            if first:
                self._ending.wait(fault.seconds)
            target.sendall(rest)
        elif fault.does == "trickle":
            for start in range(0, len(rest), fault.size):
                target.sendall(rest[start : start + fault.size])
                self._ending.wait(fault.seconds)
        elif fault.does == "half_close":
            target.shutdown(socket.SHUT_WR)
            self._ending.wait(PATIENCE)
            raise Broken
        elif fault.does == "stall":
            end = time.monotonic() + PATIENCE
            while not self._ending.is_set() and time.monotonic() < end:
                # The other side's leaving is still seen, so that a stalled connection is not held for ever.
                if select.select([target], (), (), 0.05)[0] and not target.recv(1, socket.MSG_PEEK):
                    break
            raise Broken
        elif fault.does == "reset":
            for sock in (target, source):
                with self._lock:
                    self._open.discard(sock)
                reset(sock)
            raise Broken
        else:
            raise Broken
