"""STUB, to be overwritten by whoever writes stores."""

from __future__ import annotations

from aiogateway.stores.shared_memory import Checks, SharedCounters
from aiogateway.stores.windows import Verdict


class Limiter:
    def __init__(self, local: SharedCounters, remote: None) -> None:
        self.local = local
        self.remote = remote
        self.backend = "local"

    async def take(self, checks: Checks) -> list[Verdict]:
        return self.local.take(checks)

    async def start(self) -> None: ...

    async def close(self) -> None: ...
