"""What becomes known of a request on its way through the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiogateway.caching import cache_status as status
from aiogateway.caching.entry import Entry, Key
from aiogateway.caching.flights import Asking
from aiogateway.caching.freshness import Wish
from aiogateway.caching.storing import Asked
from aiogateway.proxy.request import Request


@dataclass(slots=True)
class Visit:
    """A request, and what is known of it.

    :ivar entry: what is stored for it, and is not good enough.
    :ivar reason: why the upstream is asked: a `FWD_…` of `cache_status`.
    :ivar alike: names of fields that answers of its URI were selected by.
    """

    request: Request
    asking: Asking
    key: Key
    asked: Asked
    wish: Wish
    entry: Entry | None = None
    reason: str = status.FWD_URI_MISS
    alike: tuple[str, ...] = ()

    def know(self, variants: Sequence[Entry], entry: Entry | None, now: float) -> None:
        """Take note of what is stored of its URI.

        :param entry: for this request.
        """
        self.entry = entry
        if variants:
            self.alike = variants[0].named
            self.reason = status.FWD_VARY_MISS
        if entry is not None:
            stale = entry.ttl(now) <= 0 or entry.freshness.validate
            self.reason = status.FWD_STALE if stale else status.FWD_REQUEST
