"""A cache that many clients share (RFC 9111). Begin with `cache`.

`freshness`, `storing` and `conditions` decide, by `fields`; `flights` ask upstreams, and `giving` makes answers.
`stores` keep them.
"""

from __future__ import annotations

from aiogateway.caching.cache import Cache
from aiogateway.caching.flights import Asking
from aiogateway.caching.inquiry import key_of
from aiogateway.caching.notices import Notices
from aiogateway.caching.stores import store_from

__all__ = ["Asking", "Cache", "Notices", "key_of", "store_from"]
