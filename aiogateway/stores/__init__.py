"""Counters of rate limits: what they decide (`windows`), where they are kept, and who decides (`limiter`)."""

from __future__ import annotations

from aiogateway.settings import Settings
from aiogateway.stores.limiter import Limiter
from aiogateway.stores.shared_memory import SharedCounters
from aiogateway.stores.windows import LOGGED_UP_TO, Policy, Verdict

__all__ = ["LOGGED_UP_TO", "Limiter", "Policy", "SharedCounters", "Verdict", "limiter_from"]


def limiter_from(settings: Settings, counters: SharedCounters) -> Limiter:
    """The limiter that the settings ask for.

    :param counters: of this machine.
    :raises ValueError: `GATEWAY_REDIS_URL` can't be used; nothing of it is in the text.
    """
    if settings.redis_url is None:
        return Limiter(counters, None)
    from aiogateway.stores.redis import RedisCounters  # a tenth of a second and 7 MiB, which most don't need

    return Limiter(counters, RedisCounters(settings.redis_url.get_secret_value(), settings.redis_timeout))
