"""Room for what of answers waits for clients that read slowly, so that they hold no connection to an upstream.

Owns how much of one worker's memory that may take in all: clients that ask and never read must not be able to fill it.
"""

from __future__ import annotations

from typing import Final

# Bytes of one answer, and of all.
MOST: Final = 512 * 1024
ROOM: Final = 64 << 20


class Shelf:
    """:param room: bytes in all.
    :param most: bytes of one answer.
    """

    def __init__(self, room: int = ROOM, most: int = MOST) -> None:
        self.room = room
        self._most = most

    def has_room(self, count: int) -> bool:
        """Whether `take` would take so many bytes."""
        return 0 < count <= min(self._most, self.room)

    def take(self, count: int) -> bool:
        """Have room for so many bytes, if there is any; what is taken must be given back."""
        if not self.has_room(count):
            return False
        self.room -= count
        return True

    def give_back(self, count: int) -> None:
        self.room += count
