"""The store that the settings ask for."""

from __future__ import annotations

import time

from aiogateway.caching.entry import Store
from aiogateway.caching.memory_store import MemoryStore
from aiogateway.caching.notices import Notices
from aiogateway.metrics import Metrics
from aiogateway.settings import Settings


def store_from(settings: Settings, notices: Notices, metrics: Metrics) -> Store:
    """A worker's store (`GATEWAY_CACHE_STORE`), which whoever gets it closes.

    :param notices: of what all workers are to forget.
    :raises ValueError: `GATEWAY_REDIS_URL` can't be used; nothing of it is in the text.
    """
    if settings.cache_store == "redis" and settings.redis_url is not None:
        from aiogateway.caching.redis_store import RedisStore  # it takes a tenth of a second, which most don't need

        url = settings.redis_url.get_secret_value()
        return RedisStore(url, settings.cache_max_object, time.time, notices, metrics)
    return MemoryStore(settings.cache_max_bytes, settings.cache_max_object, time.time, notices)
