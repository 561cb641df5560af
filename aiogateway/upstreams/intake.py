"""Where what comes from an upstream is read to.

The event loop's own buffer takes 250 KB at once: of an answer that long nothing would be left for the kernel to move
(decision 16), and each byte would be copied twice. So what begins an answer is read into little room, and what follows
into much. The room is the worker's, not the connection's: what is read is taken out of it before the loop goes on.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

# Bytes read at once while a head is waited for, and within a body.
FIRST: Final = 64 * 1024
MORE: Final = 256 * 1024

_ROOM: Final = memoryview(bytearray(MORE))
_FIRST: Final = _ROOM[:FIRST]


class Reader(Protocol):
    """What takes the bytes, and what else a transport tells.

    :ivar answered: whether a byte came since the request was sent.
    :ivar full: told that a read took as much as there was room for, and may have left something behind.
    """

    answered: bool
    full: bool

    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool | None: ...
    def connection_lost(self, exc: BaseException | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class Intake(asyncio.BufferedProtocol):
    """Stands between a transport and its reader."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def get_buffer(self, sizehint: int) -> memoryview:
        return _ROOM if self._reader.answered else _FIRST

    def buffer_updated(self, nbytes: int) -> None:
        if nbytes in (FIRST, MORE):
            self._reader.full = True
        self._reader.data_received(bytes(_ROOM[:nbytes]))

    def eof_received(self) -> bool | None:
        return self._reader.eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._reader.connection_lost(exc)

    def pause_writing(self) -> None:
        self._reader.pause_writing()

    def resume_writing(self) -> None:
        self._reader.resume_writing()
