"""Which store the settings ask for."""

from __future__ import annotations

import time

from aiogateway.caching.entry import Store
from aiogateway.caching.memory_store import MemoryStore
from aiogateway.caching.notices import Notices
from aiogateway.metrics import Metrics, families
from aiogateway.settings import Settings


def store_from(settings: Settings, notices: Notices, metrics: Metrics) -> Store:
    """The store that the settings ask for; whoever asks closes it.

    :param notices: of this machine; whoever made them closes them.
    :raises ValueError: `GATEWAY_REDIS_URL` can't be used; nothing of it is in the text.
    """
    if settings.cache_store == "memory" or settings.redis_url is None:
        return MemoryStore(settings.cache_max_bytes, settings.cache_max_object, time.time, notices)
    from aiogateway.caching.redis_store import RedisStore  # a tenth of a second and 7 MiB, which most don't need

    url, faults = settings.redis_url.get_secret_value(), metrics.count(families.CACHE_STORE_FAULTS)
    return RedisStore(url, settings.redis_timeout, settings.cache_max_object, time.time, notices, faults)
