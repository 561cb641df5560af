"""The store that the settings ask for."""

from __future__ import annotations

import time

from aiogateway.caching.entry import Store
from aiogateway.caching.memory_store import MemoryStore
from aiogateway.caching.notices import Notices
from aiogateway.settings import Settings


def store_from(settings: Settings, notices: Notices) -> Store:
    """A worker's store (`GATEWAY_CACHE_STORE`), which whoever gets it closes.

    :param notices: of what all workers are to forget.
    """
    return MemoryStore(settings.cache_max_bytes, settings.cache_max_object, time.time, notices)
