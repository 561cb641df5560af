"""What a full store gives up: S3-FIFO, weighed in bytes (Yang et al., "FIFO Queues are All You Need", SOSP 2023).

Owns three queues and no contents. Rules:

- What is new goes into the small queue, a tenth of the room. What was used there by the time it comes to the end goes
  on to the main one, else it is given up, and only its mark is kept for a while: among the ghosts.
- What comes again while its ghost is there goes into the main queue at once. At the end of that, what was used since it
  was last there begins anew, with one use less.
- What has expired is given up whenever it comes to an end, however often it was used.
- There are never more ghosts than items, so that an item's weight can have its ghost's in it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, TypeVar

# The small queue's share of the room.
SMALL: Final = 0.1
# Uses that are counted, and how many of them in the small queue make a place in the main one.
MOST_USES: Final = 3
PROMOTED: Final = 1


class Item:
    """Something with a weight.

    :ivar mark: the same for what takes its place later.
    :ivar weight: bytes.
    :ivar until: when it is of no use any more, in seconds.
    """

    __slots__ = ("main", "mark", "until", "uses", "weight")

    def __init__(self, mark: int, weight: int, until: float) -> None:
        self.mark = mark
        self.weight = weight
        self.until = until
        self.uses = 0
        self.main = False


T = TypeVar("T", bound=Item)


class Queues(Generic[T]):
    """Items that together weigh no more than a bound.

    :param room: the bound, in bytes.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self._few = int(room * SMALL)
        # A dict's first item is found by walking over all that were taken out before it; this one has a list inside.
        self._small: OrderedDict[T, None] = OrderedDict()
        self._main: OrderedDict[T, None] = OrderedDict()
        self._ghosts: OrderedDict[int, None] = OrderedDict()
        self._small_weight = self._main_weight = 0

    @property
    def weight(self) -> int:
        """Bytes that all items weigh."""
        return self._small_weight + self._main_weight

    def __len__(self) -> int:
        return len(self._small) + len(self._main)

    @property
    def ghosts(self) -> int:
        """How many marks are kept of what was given up."""
        return len(self._ghosts)

    def used(self, item: T) -> None:
        """Take note of a use."""
        if item.uses < MOST_USES:
            item.uses += 1

    def add(self, item: T, now: float, instead_of: T | None = None) -> list[T]:
        """Take an item in.

        :param item: weighs no more than the whole room.
        :param instead_of: whose place and uses it gets; that one is out afterwards.
        :return: what was given up for it.
        """
        known = item.mark in self._ghosts
        if known:
            del self._ghosts[item.mark]
        if instead_of is not None:
            known = instead_of.main
            item.uses = instead_of.uses
            self.remove(instead_of)
        given_up = self._make_room(item.weight, now)
        item.main = known
        self._put(item)
        return given_up

    def weigh(self, item: T, weight: int, now: float) -> list[T]:
        """Have an item weigh something else; answers what was given up for it, which may be itself."""
        more = weight - item.weight
        item.weight = weight
        if item.main:
            self._main_weight += more
        else:
            self._small_weight += more
        return self._make_room(0, now)

    def remove(self, item: T) -> None:
        """Take an item out."""
        self._take(item)
        self._forget_ghosts()

    def _make_room(self, weight: int, now: float) -> list[T]:
        given_up: list[T] = []
        while self.weight + weight > self.room:
            small = bool(self._small) and (self._small_weight > self._few or not self._main)
            item = next(iter(self._small if small else self._main))
            self._take(item)
            stays = item.until > now and item.uses >= (PROMOTED if small else 1)
            if stays:
                item.uses = 0 if small else item.uses - 1
                item.main = True
                self._put(item)
                continue
            given_up.append(item)
            if small:
                self._ghosts[item.mark] = None
        self._forget_ghosts()
        return given_up

    def _put(self, item: T) -> None:
        if item.main:
            self._main[item] = None
            self._main_weight += item.weight
        else:
            self._small[item] = None
            self._small_weight += item.weight

    def _take(self, item: T) -> None:
        if item.main:
            del self._main[item]
            self._main_weight -= item.weight
        else:
            del self._small[item]
            self._small_weight -= item.weight

    def _forget_ghosts(self) -> None:
        while len(self._ghosts) > len(self):
            self._ghosts.popitem(last=False)
