"""The service manager that started the program, where one did and wants to be told how it fares (sd_notify(3)).

Rules: what it left in the environment is taken out, so that no other process speaks in this one's name; a message that
can't be delivered is logged once and is no reason to stop serving.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import MutableMapping
from typing import Final, Protocol

import structlog

log = structlog.get_logger(__name__)

# Seconds that a message may wait for a manager that doesn't read; signs of life, which others follow, don't.
PATIENCE: Final = 0.5
_ADDRESS: Final = "NOTIFY_SOCKET"
_INTERVAL: Final = "WATCHDOG_USEC"
_WHOSE: Final = "WATCHDOG_PID"
# Digits that a number of 64 bits has at most.
_DIGITS: Final = 20


class Overseer(Protocol):
    """Who is told how a serving process fares: the service manager, or the parent of several.

    :ivar pace: seconds between two signs of life; None when nobody waits for any.
    """

    pace: float | None

    def alive(self) -> None:
        """The event loop turns."""

    def ready(self) -> None:
        """The listeners answer."""

    def reloading(self) -> None:
        """The configuration is about to be read again."""

    def reloaded(self, *, refused: bool) -> None:
        """That is over: what was read is in force, or was refused."""

    def stopping(self) -> None:
        """A drain begins."""


class ServiceManager:
    """Speaks to the manager's socket; does nothing where there is none.

    :param address: the socket's path, or its name in the abstract namespace after an `@`; None when nobody listens.
    :param watchdog: seconds of silence after which the manager ends the program; None when it doesn't.
    :param stops_within: seconds that a stop may take.
    """

    def __init__(self, address: str | None, watchdog: float | None = None, stops_within: float = 0.0) -> None:
        self._address = address and (f"\0{address[1:]}" if address.startswith("@") else address)
        self.pace = None if watchdog is None or not self._address else watchdog / 2
        self._stops_within = stops_within
        self._failing = False
        self._stopping = False
        self._socket: socket.socket | None = None

    @property
    def listens(self) -> bool:
        """Whether there is somebody to tell."""
        return bool(self._address)

    def alive(self) -> None:
        self._tell("WATCHDOG=1", patient=False)

    def ready(self) -> None:
        self._tell("READY=1", "STATUS=Serving")

    def reloading(self) -> None:
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell_unless_stopping("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=Reading the configuration again")

    def reloaded(self, *, refused: bool) -> None:
        how = ", by the old configuration: the new one has faults" if refused else ""
        self._tell_unless_stopping("READY=1", f"STATUS=Serving{how}")

    def crashing(self, crashing: bool) -> None:
        """Workers begin to die again and again, or that is over."""
        self._tell_unless_stopping("STATUS=" + ("Workers die again and again" if crashing else "Serving"))

    def stopping(self) -> None:
        self._stopping = True
        # Whatever the unit says of it, a drain may take as long as the settings do.
        self._tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={round(self._stops_within * 1e6)}", "STATUS=Draining")

    def _tell_unless_stopping(self, *lines: str) -> None:
        if not self._stopping:
            self._tell(*lines)

    def close(self) -> None:
        """Nothing more is said."""
        self._address = None
        if self._socket is not None:
            self._socket.close()

    def _tell(self, *lines: str, patient: bool = True) -> None:
        if not self._address:
            return
        try:
            self._speak().sendto("\n".join(lines).encode(), 0 if patient else socket.MSG_DONTWAIT, self._address)
        except OSError as exc:
            if not self._failing:
                log.error("the service manager can't be told", reason=exc.strerror or str(exc), message=lines[0])
            self._failing = True
        else:
            self._failing = False

    def _speak(self) -> socket.socket:
        """What is spoken through. It is kept: a program whose clients hold all descriptors has to say that it lives."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            # The kernel's timeout: with Python's own it would be tried over and over.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, int(PATIENCE * 1e6)))
        return self._socket


def from_environment(environ: MutableMapping[str, str], stops_within: float) -> ServiceManager:
    """The manager that an environment names, which names none afterwards.

    :param stops_within: as `ServiceManager`'s.
    """
    address, interval, whose = (environ.pop(name, None) for name in (_ADDRESS, _INTERVAL, _WHOSE))
    if not address or address[0] not in "/@" or len(address) < 2:
        return ServiceManager(None)
    meant = whose is None or whose == str(os.getpid())
    number = interval is not None and interval.isascii() and interval.isdecimal() and len(interval) <= _DIGITS
    watched = meant and number and int(interval or 0) > 0
    return ServiceManager(address, int(interval or 0) / 1e6 if watched else None, stops_within)
